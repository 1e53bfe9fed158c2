"""What schemathesis loads: a check of each answer by the same means as in the tests, and a count of the requests."""

from __future__ import annotations

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from schemathesis import Case, CheckContext, Response

from tests import openapi

_answers: Counter[str] = Counter()


@schemathesis.check
def as_described(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Compare an answer with the description, and count it by its status."""
    _answers[str(response.status_code)] += 1
    assert response.status_code < 500 or response.status_code == 503, "the server failed"
    request = response.request
    url = urlsplit(str(request.url))
    headers = [(name, value) for name, values in response.headers.items() for value in values]
    openapi.check(
        f"{url.path}?{url.query}",
        os.environ["MAILUSERS_FUZZ_PREFIX"],
        str(request.method),
        {name: _text(value) for name, value in request.headers.items()},
        response.status_code,
        headers,
        response.content,
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


@atexit.register
def _write() -> None:
    Path(os.environ["MAILUSERS_FUZZ_COUNTS"]).write_text(json.dumps(_answers), encoding="utf-8")

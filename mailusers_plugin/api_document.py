"""The description of the HTTP API in OpenAPI 3.1: ``openapi.yaml``, filled in for one server."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from mailusers_plugin._version import __version__

_LOGIN_PATHS: Final = (
    *("/login", "/logout", "/mail/users/sessions", "/mail/users/sessions/end"),
    *("/mfa/status", "/mfa/totp/enable", "/mfa/disable"),
)


def api_document(url: str, *, has_login: bool) -> dict[str, Any]:
    """Return the document. The first call reads the file, which takes some 50 ms.

    :param url: of the API: origin and prefix
    :param has_login: whether callers are known to us. What a panel of its own takes for a credential, and why it
        refuses one, is not ours to say
    """
    document = deepcopy(_written())
    document["info"]["version"] = __version__
    document["servers"] = [{"url": url or "/"}]
    if not has_login:
        for path in _LOGIN_PATHS:
            del document["paths"][path]
        del document["security"], document["components"]["securitySchemes"]
        for operations in document["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
        document["components"]["schemas"]["Refusal"] = {"type": "string", "minLength": 1}
    return document


@cache
def _written() -> dict[str, Any]:
    text = resources.files("mailusers_plugin").joinpath("openapi.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found

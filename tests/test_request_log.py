"""Lines of the log: one a record whatever strangers send, with the request's id."""

from __future__ import annotations

import io
import json
import logging
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailusers_plugin.request_log import (
    FORMATS,
    JSON,
    MAX_LENGTH,
    TEXT,
    RequestFilter,
    current,
    fields,
    formatter,
    harmless,
    new_id,
    well_formed,
)

HOSTILE = {
    "LF": "a\n2026-01-01 00:00:00,000 INFO mailusers_plugin.access: forged",
    "CR": "a\rforged",
    "CR LF": "a\r\nforged",
    "escape sequence": "a\x1b[2J\x1b]0;title\x07",
    "C1 escape": "a\x9b2J",
    "backspace": "secret\b\b\b\b\b\bshown ",
    "NUL": "a\0b",
    "U+2028": "a\u2028forged",
    "U+0085": "a\x85forged",
    "right to left": "a\u202egnp.exe",
    "lone surrogate": "a\ud800b",
    "quotation mark": '"}, {"level": "forged',
}


@contextmanager
def logging_to(kind: str) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger whose handler is set up as that of ``mailusers serve``."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(kind))
    handler.addFilter(RequestFilter())
    logger = logging.Logger("tested")
    logger.addHandler(handler)
    yield logger, stream


def line_of(kind: str, *args: Any, request_id: str | None = None, **kwargs: Any) -> str:
    """Log once; return what was written, without the end of the line."""
    with logging_to(kind) as (logger, stream):
        token = current.set(request_id)
        try:
            logger.warning(*args, **kwargs)
        finally:
            current.reset(token)
    written = stream.getvalue()
    assert written.endswith("\n")
    return written[:-1]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_one_line(kind: str, text: str) -> None:
    """Whatever stands in a message, it is one line, without a character that a terminal obeys or half of one."""
    line = line_of(kind, "Failed login of %s", text, extra=fields(path=text))
    assert len(line.splitlines()) == 1
    assert all(character.isprintable() for character in line)
    line.encode()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_exceptions(kind: str, text: str) -> None:
    """An exception's text is not taken for lines of the log either: those of a traceback are moved in."""
    try:
        raise ValueError(text)
    except ValueError:
        line = line_of(kind, "failed", exc_info=True)
    assert "ValueError" in line
    first, *others = line.split("\n")
    assert first.endswith(": failed") or kind == JSON
    assert all(other.startswith("    ") for other in others)
    assert all(character.isprintable() for character in "".join((first, *others)))
    assert bool(others) == (kind == TEXT)


def test_an_exception_that_was_written_before() -> None:
    """What another handler has made of an exception is not taken over as it is."""
    try:
        raise ValueError("a\nforged")
    except ValueError:
        record = logging.LogRecord("tested", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    plain = logging.Formatter().format(record)
    assert "\nforged" in plain
    assert "\nforged" not in formatter(TEXT).format(record)
    assert logging.Formatter().format(record) == plain


def test_plain_text_stays() -> None:
    """What is harmless is written as it is, in any script."""
    for text in ("ann@example.com", "bücher", "用户", "GRÜẞE 😀", "a\\nb"):
        assert harmless(text) == text


def test_a_line_of_json() -> None:
    """A line of JSON has the time with its zone, level, logger, message, the request's id and the fields."""
    more = fields(method="GET", path="/admin/users", status=200, duration_ms=1.5, user=None, via="basic")
    found = json.loads(line_of(JSON, "%d users", 7, request_id="an-id", extra=more))
    time = datetime.fromisoformat(found.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)
    assert found == {
        "level": "WARNING",
        "logger": "tested",
        "message": "7 users",
        "request_id": "an-id",
        "method": "GET",
        "path": "/admin/users",
        "status": 200,
        "duration_ms": 1.5,
        "via": "basic",
    }


def test_a_line_of_text() -> None:
    """A line of text has the request's id behind the logger's name, and nothing there outside of a request."""
    assert line_of(TEXT, "hello", request_id="an-id").endswith(" WARNING tested [an-id]: hello")
    assert line_of(TEXT, "hello").endswith(" WARNING tested: hello")


def test_new_ids() -> None:
    """An id is a UUID of version 7: unique, well formed, and in the order of time."""
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in made} == {(7, uuid.RFC_4122)}
    assert [well_formed(each) for each in made] == made
    stamps = [each[:13] for each in made]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("given", ["a", "A1._:=+/@~-", "0" * MAX_LENGTH, "4bf92f35-77b3-4da6:1"])
def test_ids_that_are_taken_over(given: str) -> None:
    """Ids in the forms that proxies make are kept."""
    assert well_formed(given) == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "-a",
        "a b",
        "a\n",
        "a\r\nSet-Cookie: x",
        "<b>",
        'a"',
        "ü",
        "٣",
        "a;b",
        "0" * (MAX_LENGTH + 1),
    ],
)
def test_ids_that_are_not(given: str | None) -> None:
    """What is too long, or could be more than a name in a header, a page or a log, is not taken over."""
    assert well_formed(given) is None

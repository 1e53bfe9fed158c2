"""Which request something belongs to, and how lines of the log are written: by request, and never more than a line.

What strangers send (addresses, paths, headers) is in the log too. A line break in it would forge a line, an escape
sequence would be obeyed by the terminal that shows the log: neither is written as it came.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)
MAX_LENGTH: Final = 128
"""Characters of a request id that is taken over from a proxy."""
_WELL_FORMED: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:=+/@~-]{{0,{MAX_LENGTH - 1}}}")
_LOW_BITS: Final = (1 << 62) - 1
_TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s%(mailusers_request)s: %(message)s"
_FIELDS: Final = "mailusers_fields"

current: ContextVar[str | None] = ContextVar("mailusers_request_id", default=None)
"""The id of the request that is being answered; ``None`` outside of one."""


def new_id() -> str:
    """Return a new id in the form of a UUID of version 7 (RFC 9562, section 5.7): a later one sorts behind."""
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 0x7 << 76 | (chance >> 68) << 64 | 0b10 << 62 | chance & _LOW_BITS
    # In half the time that uuid.UUID takes, for every request.
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def well_formed(given: str | None) -> str | None:
    """Return an id that somebody else made, ``None`` where it is none that can stand in a log, a header and a page."""
    return given if given is not None and _WELL_FORMED.fullmatch(given) else None


def harmless(text: str) -> str:
    """Return a text of foreign origin with all escaped that a log or a terminal could take for more than text."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def fields(**values: Any) -> dict[str, Any]:
    """Return what to give a logging call as ``extra``, so that it stands under these names in a line of JSON."""
    return {_FIELDS: values}


class RequestFilter(logging.Filter):
    """Puts the id of the request that is being answered on each record, as ``request_id``.

    It refuses nothing. It belongs on a handler, since a logger's filters do not see what its children log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it."""
        if not hasattr(record, "request_id"):
            record.request_id = current.get()
        return True


class TextFormatter(logging.Formatter):
    """One line a record, with the request's id in brackets; a traceback has more, each moved in."""

    def __init__(self) -> None:
        """Take the format."""
        super().__init__(_TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        request_id = getattr(record, "request_id", None)
        record.mailusers_request = f" [{request_id}]" if request_id else ""
        # Another handler may have left its own there.
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape what the message has from outside."""
        record.message = harmless(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Escape what the exception's text has from outside, and let no line of it look like one of the log."""
        return _moved_in(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """Do the same with a stack."""
        return _moved_in(super().formatStack(stack_info))


class JSONFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: whatever stands in a value, the line ends where the object does."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object. Its keys are those of ``docs/host.md``; those that do not apply are left out."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", None),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            values["exception"] = "".join(traceback.format_exception(*record.exc_info))
        if record.stack_info:
            values["stack"] = record.stack_info
        return json.dumps({name: _clean(value) for name, value in values.items() if value is not None})


def _moved_in(text: str) -> str:
    return "\n".join(f"    {harmless(line)}" for line in text.split("\n"))


def _clean(value: Any) -> Any:
    """Return a value that every reader of JSON takes: half of a surrogate pair is none."""
    if isinstance(value, (bool, int, float)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def formatter(kind: str) -> logging.Formatter:
    """Return the formatter of a setting's value.

    :param kind: one of :data:`FORMATS`
    """
    return JSONFormatter() if kind == JSON else TextFormatter()

"""How entries of the audit trail are read by pages, and written into files, by the page, the API and the command."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from mailusers_plugin import csv_text
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.store import audit
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_
from mailusers_plugin.trail_models import Kept, Position, TrailFilter

CSV_COLUMNS: Final = ("seq", "time", "type", "email", "actor", "via", "ip", "detail", "id", "hash")
_AT_ONCE: Final = 1000
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MAX_TIME_LENGTH: Final = 40
_TIME: Final = N_(
    "Give the time as a day, such as 2026-01-31, or with its zone, such as 2026-01-31T12:00:00Z or "
    "2026-01-31T12:00:00+01:00."
)


async def everything(state: Database, wanted: TrailFilter) -> AsyncIterator[Sequence[Kept]]:
    """Yield all entries that are wanted, newest first, some at a time; those that come meanwhile are not among them.

    :raises UnavailableError: if the database is away
    """
    behind: Position | None = None
    while True:
        found = await state.read(audit.page, wanted, behind, _AT_ONCE)
        if found.entries:
            yield found.entries
        if found.next is None:
            return
        behind = found.next


def head() -> str:
    """Return what a CSV file begins with."""
    return csv_text.BYTE_ORDER_MARK + csv_text.lines([CSV_COLUMNS])


def csv_lines(entries: Sequence[Kept]) -> bytes:
    """Return entries as lines of CSV."""
    return csv_text.lines(map(_cells, entries)).encode()


def json_lines(entries: Sequence[Kept]) -> bytes:
    """Return entries as lines of JSON."""
    return b"".join(orjson.dumps(entry.as_dict()) + b"\n" for entry in entries)


def _cells(entry: Kept) -> list[object]:
    shown = entry.as_dict()
    shown["detail"] = json.dumps(entry.detail, sort_keys=True, ensure_ascii=False)
    return [shown[name] for name in CSV_COLUMNS]


def parse_time(text: str, *, end: bool = False) -> datetime | None:
    """Read a time of a filter, ``None`` where it is empty.

    :param text: a day in UTC, or a time by ISO 8601 with its zone
    :param end: whether it ends a period, so that a day is in it whole
    :raises InvalidInputError: if it is neither
    """
    text = text.strip()
    if not text:
        return None
    try:
        if len(text) > _MAX_TIME_LENGTH or not text.isascii():
            raise ValueError
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1 if end else 0)
        # A plus sign that a client did not encode arrives as a space.
        time = datetime.fromisoformat(text.replace(" ", "+"))
        if time.tzinfo is None:
            raise ValueError
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(_TIME) from None


def cursor(position: Position) -> str:
    """Return a position as it stands in an address."""
    time, seq = position
    text = f"{time.astimezone(UTC).isoformat(timespec='microseconds')} {seq}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def parse_cursor(text: str) -> Position | None:
    """Read a position, ``None`` where it is empty.

    :raises InvalidInputError: if it is not one
    """
    if not text:
        return None
    try:
        if len(text) > 2 * _MAX_TIME_LENGTH or not text.isascii():
            raise ValueError
        time, _, seq = (
            base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            .decode()
            .partition(" ")
        )
        if not (seq.isdecimal() and seq.isascii() and len(seq) < 19):
            raise ValueError
        found = datetime.fromisoformat(time)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC), int(seq)
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidInputError(N_("The cursor is not one that this trail gave.")) from None

"""How users are written into an exported file, by the page and by the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mailusers_plugin import csv_text
from mailusers_plugin.models import Entry
from mailusers_plugin.user_objects import entry_object

CSV_COLUMNS: Final = (
    "email",
    "status",
    "privileges",
    "quota",
    "box_quota",
    "box_size_bytes",
    "percent",
    "archived_at",
    "archived_by",
)
"""Named as in the API's user objects; an import understands the first, and ``status``, ``quota`` and ``privileges``."""
HASH_COLUMN: Final = "password_hash"
"""Only where somebody asks for it."""


def head(*more: str) -> str:
    """Return what a CSV file begins with.

    :param more: columns behind the others
    """
    return csv_text.BYTE_ORDER_MARK + csv_text.lines([(*CSV_COLUMNS, *more)])


def cells(entry: Entry) -> list[object]:
    """Return a user's cells."""
    shown: dict[str, Any] = entry_object(entry, "")
    shown["privileges"] = "|".join(shown["privileges"])
    shown["percent"] = shown["percent"].strip()
    return [shown.get(name) for name in CSV_COLUMNS]


def csv_lines(entries: Sequence[Entry]) -> bytes:
    """Return the lines of users."""
    return csv_text.lines(map(cells, entries)).encode()

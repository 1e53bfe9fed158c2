"""How many lines match a text: counted once, and from then on brought up to date by what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mailusers_plugin.models import Changed, Counts, Selection
from mailusers_plugin.store import directory, directory_lines
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.validation import display_domain, split_address

_KEPT: Final = 200
_CHANGES: Final = 1000
"""Who missed more counts again."""


class TextCounts:
    """The last ones that were asked for."""

    def __init__(self, state: Database) -> None:
        """Begin with none."""
        self._state = state
        self._known: dict[Selection, tuple[int, Counts]] = {}

    async def of(self, selection: Selection) -> Counts:
        """Return how many lines there are; the sum of their sizes is not among what is known.

        :param selection: with a text to look for
        :raises UnavailableError: if the database is away
        """
        known = self._known.pop(selection, None)
        found = await self._state.read(_count, selection, known)
        self._known[selection] = found
        if len(self._known) > _KEPT:
            # The one that was not asked for longest.
            del self._known[next(iter(self._known))]
        return found[1]


def _count(
    connection: Connection, selection: Selection, known: tuple[int, Counts] | None
) -> tuple[int, Counts]:
    # Who has a privilege and who is nearly full is not in the feed, and found without the text.
    if known is not None and not selection.privilege and not selection.nearly_full:
        changes = directory_lines.changes(connection, known[0], _CHANGES)
        if changes is not None and len(changes) < _CHANGES:
            return _brought_up_to_date(known, changes, selection)
    return directory.count_and_state(connection, selection)


def _brought_up_to_date(
    known: tuple[int, Counts], changes: list[Changed], selection: Selection
) -> tuple[int, Counts]:
    newest, counts = known
    for change in changes:
        newest = change.seq
        if change.was != change.became and _matches(change.email, selection):
            counts = _moved(counts, change.was, -1, selection.status)
            counts = _moved(counts, change.became, 1, selection.status)
    return newest, counts


def _moved(counts: Counts, state: int, by: int, status: str) -> Counts:
    if state == 0 and status in ("", "active"):
        return replace(counts, active=counts.active + by)
    if state == 1 and status in ("", "inactive"):
        return replace(counts, archived=counts.archived + by)
    return counts


def _matches(email: str, selection: Selection) -> bool:
    local_part, domain = split_address(email)
    if selection.domain and domain != selection.domain:
        return False
    low = selection.query.lower()
    return low in email.lower() or low in f"{local_part}@{display_domain(domain)}".lower()

"""The list as a whole: lines below their domains, column headings, pages. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mailusers_plugin.handlers.list_state import LIMITS, ListState
from mailusers_plugin.handlers.page_rows import Row
from mailusers_plugin.models import Counts
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import display_domain, split_address

MAX_DOMAINS: Final = 50
"""More than these are looked for by typing, not chosen from a menu."""
_LABELS: Final = {
    "email": N_("Email address"),
    "size": N_("Size"),
    "used": N_("Used"),
    "quota": N_("Quota"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A heading by which the list can be sorted.

    :ivar label: a text to be translated
    :ivar direction: for ``aria-sort``; empty where the list is sorted by another
    :ivar target: the list as it is sorted after choosing it
    """

    name: str
    label: str
    direction: str
    target: ListState


@dataclass(frozen=True, slots=True)
class Group:
    """A domain and those of its users that are on this page.

    :ivar name: as stored
    :ivar label: as people write it
    :ivar counts: of the whole domain, ``None`` where nothing is grouped
    """

    name: str
    label: str
    counts: Counts | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Domains:
    """The domains that the list can be narrowed to.

    :ivar known: as stored and as people write it, those with most users first
    :ivar more: whether there are others, so that they are looked for by typing
    """

    known: tuple[tuple[str, str], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class ListView:
    """All that the page shows of the users.

    :ivar state: what is shown
    :ivar everybody: how many there are on the box
    :ivar found: how many match, on all pages together
    :ivar previous: the page before, ``None`` on the first
    :ivar next: the page behind, ``None`` on the last
    :ivar limits: how many users a page may have, and the list with so many
    """

    state: ListState
    everybody: Counts
    found: Counts
    domains: Domains
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    previous: ListState | None
    next: ListState | None
    limit: int
    limits: tuple[tuple[int, ListState], ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lines of the page."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def matches(self) -> int:
        """How many users match, active or not."""
        return self.found.active + self.found.archived


def columns(state: ListState) -> tuple[Column, ...]:
    """Return the headings."""
    now = "descending" if state.descending else "ascending"
    return tuple(
        Column(name, label, now if name == state.sort_name else "", state.sorted_by(name))
        for name, label in _LABELS.items()
    )


def groups(state: ListState, rows: Sequence[Row], counts: Mapping[str, Counts]) -> tuple[Group, ...]:
    """Return the lines below their domains, in one group where they are sorted by something else.

    :param counts: of each domain
    """
    if not state.grouped:
        return (Group("", "", None, tuple(rows)),) if rows else ()
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(split_address(row.email)[1], []).append(row)
    return tuple(
        Group(name, display_domain(name), counts.get(name), tuple(some)) for name, some in found.items()
    )


def domain_choice(found: Sequence[tuple[str, Counts]], chosen: str) -> Domains:
    """Return the domains to choose from, by name.

    :param found: at least one more than :data:`MAX_DOMAINS`, if there are so many
    :param chosen: the one that the list is narrowed to, which is always among them
    """
    names = sorted({name for name, _ in found[:MAX_DOMAINS]} | ({chosen} if chosen else set()))
    known = tuple((name, display_domain(name)) for name in names)
    return Domains(known, len(found) > MAX_DOMAINS)


def limits(state: ListState, default: int) -> tuple[tuple[int, ListState], ...]:
    """Return how many users a page may have, each with the list of so many.

    :param default: how many there are where nothing is chosen
    """
    return tuple(
        (number, state.limited(0 if number == default else number)) for number in sorted({*LIMITS, default})
    )

"""What a program asks of the list: which users, in which order, how many, from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlencode

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.models import Selection
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import MAX_EMAIL_LENGTH, stored_domain

PAGING: Final = frozenset(("limit", "cursor", "q", "domain", "status", "privilege", "sort"))
"""Any of these asks for a page in place of everything."""
CATCH_UP_SECONDS: Final = 0.3
"""How long a list waits for what another program has just changed."""
LIST_CATCH_UP_SECONDS: Final = 10.0
"""The same for the whole list, which scripts take for the truth: to compare a million users takes some seconds."""
BUILDING_SECONDS: Final = 30.0
"""How long it waits for the directory to be made for the first time: 10 s for 100 000 users were measured."""
_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One page of a selection."""

    selection: Selection
    sort: str
    cursor: str
    limit: int

    @classmethod
    def of(cls, given: Parameters) -> Self:
        """Read a request's parameters.

        :raises InvalidInputError: if one of them is not possible
        """
        status = given.text("status")
        if status not in ("", "active", "inactive"):
            raise InvalidInputError(N_("The status is active or inactive."))
        query = given.text("q").strip()
        if len(query) > MAX_EMAIL_LENGTH:
            raise InvalidInputError(N_("No address is as long as what is looked for."))
        selection = Selection(
            query,
            stored_domain(given.text("domain").strip()),
            status,
            given.text("privilege").strip(),
        )
        limit = given.get("limit")
        return cls(selection, given.get("sort") or "email", given.text("cursor"), limit_of(limit))

    def query(self, cursor: str) -> str:
        """Return the query string of another page of the same."""
        chosen = self.selection
        values = {
            "format": "json",
            "limit": str(self.limit),
            "sort": self.sort,
            "q": chosen.query,
            "domain": chosen.domain,
            "status": chosen.status,
            "privilege": chosen.privilege,
            "cursor": cursor,
        }
        return urlencode({name: value for name, value in values.items() if value})


def limit_of(given: str | None) -> int:
    """Return how many lines a page is to have.

    :raises InvalidInputError: if that is not possible
    """
    if given is None:
        return _DEFAULT_LIMIT
    # Digits of other scripts are digits for Python, and a number of a million digits takes its time.
    if not (given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= _MAX_LIMIT):
        raise InvalidInputError(N_("The limit is a number from 1 to 1000."))
    return int(given)

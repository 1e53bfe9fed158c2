"""What the list shows, as its address says it: search, filters, order and place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qs, urlencode

from mailusers_plugin.models import Selection
from mailusers_plugin.validation import MAX_EMAIL_LENGTH, stored_domain

SORTS: Final = ("email", "size", "used", "quota")
LIMITS: Final = (25, 50, 100, 200)
"""How many users the reader may have on a page, beside what the setting says."""

_STATUSES: Final = ("active", "inactive")
_MAX_LENGTH: Final = 4000
"""No address of ours is longer."""
_MAX_FIELDS: Final = 40
_CURSOR: Final = re.compile(r"[A-Za-z0-9_=-]{1,2000}", re.ASCII)
_PRIVILEGE: Final = re.compile(r"\S{1,100}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class ListState:
    """What the list shows. What an address says and we do not know is left out, for anybody can write one.

    :ivar query: part of an address
    :ivar domain: one domain only, as stored (ASCII)
    :ivar status: ``active`` or ``inactive``, empty for both
    :ivar privilege: only who has it
    :ivar nearly_full: only mailboxes that are nearly full
    :ivar sort: one of :data:`SORTS`; with ``-`` in front the other way round
    :ivar at: cursor of the page, empty for the first
    :ivar limit: how many users on a page, ``0`` for what the setting says
    """

    query: str = ""
    domain: str = ""
    status: str = ""
    privilege: str = ""
    nearly_full: bool = False
    sort: str = "email"
    at: str = ""
    limit: int = 0

    @classmethod
    def of(cls, value: Callable[[str], str]) -> ListState:
        """Read parameters.

        :param value: returns a parameter by its name, empty where it is missing
        """
        status, privilege, sort, at, limit = (
            value(name).strip() for name in ("status", "privilege", "sort", "at", "limit")
        )
        return cls(
            query=_clean(value("q")),
            domain=stored_domain(_clean(value("domain"))),
            status=status if status in _STATUSES else "",
            privilege=privilege if _PRIVILEGE.fullmatch(privilege) else "",
            nearly_full=value("nearly_full") == "1",
            sort=sort if sort.removeprefix("-") in SORTS else "email",
            at=at if _CURSOR.fullmatch(at) else "",
            limit=next((number for number in LIMITS if str(number) == limit), 0),
        )

    @classmethod
    def of_query(cls, query: str) -> ListState:
        """Read a query string, such as a form sends back to say from where it was opened.

        :param query: from anybody; what is not ours in it is left out
        """
        try:
            given = parse_qs(query[:_MAX_LENGTH], max_num_fields=_MAX_FIELDS)
        except ValueError:
            given = {}
        return cls.of(lambda name: given.get(name, [""])[0])

    @property
    def filtered(self) -> bool:
        """Tell whether it is less than everybody."""
        return self.selection() != Selection()

    @property
    def sort_name(self) -> str:
        """What the list is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Tell whether the largest comes first."""
        return self.sort.startswith("-")

    @property
    def grouped(self) -> bool:
        """Tell whether users stand below their domain."""
        return self.sort_name == "email"

    def selection(self) -> Selection:
        """Return which users that is."""
        return Selection(self.query, self.domain, self.status, self.privilege, self.nearly_full)

    def parameters(self) -> dict[str, str]:
        """Return the parameters that stand for it, without those that go without saying."""
        given = {
            "q": self.query,
            "domain": self.domain,
            "status": self.status,
            "privilege": self.privilege,
            "nearly_full": "1" if self.nearly_full else "",
            "sort": "" if self.sort == "email" else self.sort,
            "limit": str(self.limit or ""),
            "at": self.at,
        }
        return {name: value for name, value in given.items() if value}

    def query_string(self, more: Mapping[str, str] | None = None) -> str:
        """Return a query string, empty for the plain list.

        :param more: other parameters of the same address
        """
        return urlencode({**self.parameters(), **(more or {})})

    def sorted_by(self, name: str) -> ListState:
        """Return the first page in another order; the present one is turned round.

        :param name: one of :data:`SORTS`; sizes begin with the largest
        """
        first = name if name == "email" else f"-{name}"
        other = f"-{name}" if name == "email" else name
        return replace(self, sort=other if self.sort == first else first, at="")

    def placed(self, cursor: str) -> ListState:
        """Return another page of the same."""
        return replace(self, at=cursor)

    def limited(self, limit: int) -> ListState:
        """Return the first page of another length."""
        return replace(self, limit=limit, at="")

    def unfiltered(self) -> ListState:
        """Return everybody, in the same order."""
        return ListState(sort=self.sort, limit=self.limit)

    def of_domain(self, domain: str) -> ListState:
        """Return the users of a domain, in the same order."""
        return ListState(domain=domain, sort=self.sort, limit=self.limit)

    def searching(self, query: str) -> ListState:
        """Return everybody who matches, in the same order."""
        return ListState(query=query, sort=self.sort, limit=self.limit)


def _clean(text: str) -> str:
    return _CONTROL.sub("", text).strip()[:MAX_EMAIL_LENGTH]

"""What the Users page shows, made from the list of users: rows, groups, counts, messages. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin import validation
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.listing import Domain
from mailusers_plugin.models import ADMIN, ArchivedUser, Usage, User
from mailusers_plugin.validation import (
    display_domain,
    display_percent,
    display_size,
    quota_bytes,
    split_address,
)

MAX_ROWS: Final = 500
"""How many users stand on one page."""
WARNING_PERCENT: Final = 80
CRITICAL_PERCENT: Final = 95

NOT_MEASURED: Final = "not measured yet"
_PLAUSIBLE: Final = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")


@dataclass(frozen=True, slots=True)
class Cell:
    """A number on the page.

    :ivar text: what is shown
    :ivar exact: in full, empty where there is nothing more to say
    :ivar why: why it is not known, else empty
    """

    text: str
    exact: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fullness:
    """How full a mailbox is.

    :ivar percent: for the bar, ``None`` where there is no bar
    :ivar text: the same as text
    :ivar level: ``warning`` or ``critical``, else empty
    :ivar why: why it is not known, else empty
    """

    percent: float | None
    text: str
    level: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One user of the page.

    :ivar is_own: whether it is the reader
    :ivar refusal: why archiving and taking the admin privilege away are not offered, else empty
    :ivar others: privileges beside ``admin``
    :ivar raw_quota: for the form field
    :ivar mailbox: the directory of an archived user's mail
    :ivar archived_at: when it was archived, for people
    :ivar archived_time: the same for programs
    :ivar archived_by: who did it, empty where that is not known
    """

    email: str
    archived: bool
    size: Cell
    used: Fullness
    quota: Cell
    raw_quota: str
    is_admin: bool = False
    is_own: bool = False
    refusal: str = ""
    others: tuple[str, ...] = ()
    mailbox: str = ""
    archived_at: str = ""
    archived_time: str = ""
    archived_by: str = ""
    purging: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A domain and those of its users that are on this page.

    :ivar label: the domain as people write it
    :ivar active: how many active users the domain has
    :ivar archived: how many archived ones
    """

    name: str
    label: str
    active: int
    archived: int
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the reader asked to see.

    :ivar query: part of an address
    :ivar domain: one domain only
    :ivar page: number of the page, from 1
    """

    query: str = ""
    domain: str = ""
    page: int = 1

    @property
    def filtered(self) -> bool:
        """Tell whether it is less than everything."""
        return bool(self.query or self.domain)


@dataclass(frozen=True, slots=True)
class UsersView:
    """All that the page shows of the users.

    :ivar groups: domains with their users; in an overview without
    :ivar overview: whether there are too many users to show them unasked
    :ivar found: how many users match, on all pages together
    :ivar page: which of the ``pages`` this is
    """

    groups: tuple[Group, ...]
    overview: bool
    wanted: Wanted
    active: int
    archived: int
    found: int
    page: int
    pages: int
    example: str


def size_cell(usage: Usage | None) -> Cell:
    """Return a mailbox's size."""
    if usage is None:
        return Cell("?", why=NOT_MEASURED)
    return Cell(display_size(usage.box_bytes), f"{usage.box_bytes:,} bytes")


def quota_cell(quota: str | None) -> Cell:
    """Return a quota as people read it."""
    if quota is None:
        return Cell("?", why="not on record")
    limit = quota_bytes(quota)
    if limit is None:
        return Cell(quota or "?", why="not a valid quota")
    return Cell("unlimited") if limit == 0 else Cell(quota, f"{limit:,} bytes")


def fullness(quota: str | None, usage: Usage | None) -> Fullness:
    """Return how full a mailbox is."""
    limit = None if quota is None else quota_bytes(quota)
    if limit == 0:
        return Fullness(None, "")
    if limit is None:
        return Fullness(None, "?", why="the quota is not known")
    if usage is None:
        return Fullness(None, "?", why=NOT_MEASURED)
    percent = usage.box_bytes / limit * 100
    level = "critical" if percent >= CRITICAL_PERCENT else "warning" if percent >= WARNING_PERCENT else ""
    return Fullness(min(percent, 100.0), display_percent(usage.box_bytes, limit).strip(), level)


def active_row(user: User, reader: str | None, administrators: int) -> Row:
    """Return the row of an active user.

    :param reader: address of the one who looks at the page
    :param administrators: how many there are on the box
    """
    is_admin = ADMIN in user.privileges
    refusal = ""
    if user.email == reader:
        refusal = "You cannot archive your own account."
        if is_admin:
            refusal = "You cannot archive your own account or stop being an administrator."
    elif is_admin and administrators == 1:
        refusal = "The last administrator can neither be archived nor become a normal user."
    return Row(
        user.email,
        archived=False,
        size=size_cell(user.usage),
        used=fullness(user.quota, user.usage),
        quota=quota_cell(user.quota),
        raw_quota=validation.display_quota(user.quota),
        is_admin=is_admin,
        is_own=user.email == reader,
        refusal=refusal,
        others=tuple(p for p in user.privileges if p != ADMIN),
    )


def archived_row(user: ArchivedUser) -> Row:
    """Return the row of an archived user."""
    return Row(
        user.email,
        archived=True,
        size=size_cell(user.usage),
        used=fullness(user.quota, user.usage),
        quota=quota_cell(user.quota),
        raw_quota="" if user.quota is None else validation.display_quota(user.quota),
        mailbox=user.mailbox,
        archived_at=_for_people(user.archived_at),
        archived_time=user.archived_at.isoformat() if user.archived_at else "",
        archived_by=user.archived_by or "",
        purging=user.purging,
    )


def _for_people(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time else ""


def users_view(
    domains: Sequence[Domain], wanted: Wanted, reader: str | None, max_rows: int = MAX_ROWS
) -> UsersView:
    """Return what the page shows.

    :param domains: all users of the box
    :param reader: address of the one who looks at the page
    :param max_rows: how many rows stand on one page
    """
    active = sum(len(domain.users) for domain in domains)
    archived = sum(len(domain.archived) for domain in domains)
    overview = not wanted.filtered and active + archived > max_rows and len(domains) > 1
    if overview:
        found, size = active + archived, len(domains)
    else:
        matching = list(_matching(domains, wanted))
        found = size = len(matching)
    pages = max(1, -(-size // max_rows))
    page = min(max(wanted.page, 1), pages)
    here = slice((page - 1) * max_rows, page * max_rows)
    if overview:
        groups = [_group(domain) for domain in domains[here]]
    else:
        administrators = sum(ADMIN in user.privileges for domain in domains for user in domain.users)
        groups = _grouped(matching[here], reader, administrators)
    return UsersView(
        tuple(groups), overview, wanted, active, archived, found, page, pages, example_address(domains)
    )


def _all(domain: Domain) -> list[User | ArchivedUser]:
    return [*domain.users, *domain.archived]


def _matching(domains: Iterable[Domain], wanted: Wanted) -> Iterator[tuple[Domain, User | ArchivedUser]]:
    query = wanted.query.lower()
    for domain in domains:
        if wanted.domain not in ("", domain.name):
            continue
        # People may type the domain as it is shown.
        shown = f"@{display_domain(domain.name)}".lower()
        for user in _all(domain):
            local_part = split_address(user.email)[0].lower()
            if not query or query in user.email.lower() or query in local_part + shown:
                yield domain, user


def _grouped(
    found: Iterable[tuple[Domain, User | ArchivedUser]], reader: str | None, administrators: int
) -> list[Group]:
    domains: dict[str, Domain] = {}
    rows: dict[str, list[Row]] = {}
    for domain, user in found:
        domains[domain.name] = domain
        rows.setdefault(domain.name, []).append(
            active_row(user, reader, administrators) if isinstance(user, User) else archived_row(user)
        )
    return [_group(domain, rows[domain.name]) for domain in domains.values()]


def _group(domain: Domain, rows: Iterable[Row] = ()) -> Group:
    return Group(
        domain.name, display_domain(domain.name), len(domain.users), len(domain.archived), tuple(rows)
    )


def example_address(domains: Iterable[Domain]) -> str:
    """Return an address that is free and could be added, for the examples."""
    for domain in domains:
        taken = {user.email for user in _all(domain)}
        for number in ("", *range(2, len(taken) + 3)):
            email = f"new_user{number}@{domain.name}"
            if domain.users and email not in taken and _could_be_added(email):
                return email
    return "new_user@example.com"


def _could_be_added(email: str) -> bool:
    try:
        validation.check_new_address(email)
    except InvalidInputError:
        return False
    return True


_ACTIVE, _ARCHIVED, _GONE = "active", "archived", "gone"
_DONE: Final[Mapping[str, tuple[str, str]]] = {
    "added": ("{email} was added.", _ACTIVE),
    "quota": ("The quota of {email} is now {quota}.", _ACTIVE),
    "password": ("The password of {email} was set.", _ACTIVE),
    "made-admin": ("{email} is now an administrator.", _ACTIVE),
    "removed-admin": ("{email} is now a normal user.", _ACTIVE),
    "archived": ("{email} was archived. The mailbox is kept.", _ARCHIVED),
    "restored": ("{email} was restored, with its old mailbox.", _ACTIVE),
    "purged": ("The mailbox of {email} was deleted for good.", _GONE),
}


def done_message(done: str, email: str, domains: Iterable[Domain]) -> str:
    """Return what to say after an action, empty where that cannot be true: anybody can make a link.

    :param done: one of the codes
    :param email: of the user that it was done to
    :param domains: all users of the box, as they are now
    """
    text, state = _DONE.get(done, ("", ""))
    if not text or len(email) > validation.MAX_EMAIL_LENGTH or not _PLAUSIBLE.fullmatch(email):
        return ""
    found: User | ArchivedUser | None = None
    for domain in domains:
        if domain.name == split_address(email)[1]:
            found = next((user for user in _all(domain) if user.email == email), None)
    if _state(found) != state or (isinstance(found, User) and not _true(done, found)):
        return ""
    return text.format(email=email, quota=quota_cell(found.quota).text if found else "")


def _state(user: User | ArchivedUser | None) -> str:
    if user is None:
        return _GONE
    return _ACTIVE if isinstance(user, User) else _ARCHIVED


def _true(done: str, user: User) -> bool:
    is_admin = ADMIN in user.privileges
    return is_admin if done == "made-admin" else not is_admin if done == "removed-admin" else True

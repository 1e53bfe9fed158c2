"""Reads the accounts and the directory side by side, in the order of the address, a window at a time.

Each window is a short read of its own: one that lasted would keep Postfix and other programs out of the accounts
where they have a rollback journal. What changes meanwhile is read anew before it is stored, and what comes behind a
window that was read is a change that is noticed as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, String, func, select, type_coerce

from mailusers_plugin.store import schema
from mailusers_plugin.store.directory_lines import RECORD, Size, time_text
from mailusers_plugin.store.positions import plain_rows

_users = schema.users.c
_archive = schema.archive.c
_usage = schema.usage.c
_line = schema.directory.c
_CHECKED_AT: Final = type_coerce(_usage.checked_at, String)
"""As the driver gives it: it is only compared."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """A window of the accounts.

    :ivar users: address, privileges and quota of active ones
    :ivar records: our own of archived ones, by address
    :ivar until: the last address of which everything was read, ``None`` where nothing is left behind
    """

    users: Sequence[tuple[Any, ...]]
    records: dict[str, Row[Any]]
    until: str | None

    def up_to(self, until: str | None) -> Accounts:
        """Return the part of it up to an address."""
        if until is None:
            return self
        records = {email: record for email, record in self.records.items() if email <= until}
        return Accounts([row for row in self.users if row[0] <= until], records, until)


@dataclass(frozen=True, slots=True)
class Known:
    """A window of what we keep.

    :ivar lines: mark and whether archived, by address
    :ivar sizes: by address
    :ivar until: as in :class:`Accounts`
    """

    lines: dict[str, tuple[int, int]]
    sizes: dict[str, Size]
    until: str | None


def users(connection: Connection) -> int:
    """Return how many users and archived ones the accounts have."""
    return sum(
        int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in (schema.users, schema.archive)
    )


def accounts(connection: Connection, after: str, limit: int) -> Accounts:
    """Return the next window.

    :param after: the address behind which it begins
    :param limit: at most so many of each
    """
    query = select(_users.email, _users.privileges, _users.quota)
    active = [
        (r[0], r[1], r[2]) for r in connection.execute(_behind(query, _users.email, after, None, limit))
    ]
    records = connection.execute(_behind(select(*RECORD), _archive.email, after, None, limit)).all()
    ends = [rows[-1][0] for rows in (active, records) if len(rows) == limit]
    return Accounts(active, {row.email: row for row in records}, None).up_to(min(ends, default=None))


def known(connection: Connection, after: str, until: str | None, limit: int) -> Known:
    """Return what is kept of the addresses of a window; parameters as in :func:`accounts`.

    :param until: the end of the window
    """
    query = _behind(select(_line.email, _line.mark, _line.archived), _line.email, after, until, limit)
    lines = plain_rows(connection, query)
    end = lines[-1][0] if len(lines) == limit else None
    if end is not None and (until is None or end < until):
        until = end
    return Known({row[0]: (row[1], row[2]) for row in lines}, sizes(connection, after, until), until)


def sizes(connection: Connection, after: str, until: str | None) -> dict[str, Size]:
    """Return the sizes of the mailboxes of a window."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _CHECKED_AT)
    rows = plain_rows(connection, _behind(query, _usage.email, after, until, None))
    return {row[0]: (row[1], row[2], time_text(row[3])) for row in rows}


def sizes_of(connection: Connection, emails: Sequence[str]) -> dict[str, Size]:
    """Return the sizes of some mailboxes."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _CHECKED_AT)
    rows = plain_rows(connection, query.where(_usage.email.in_(emails)))
    return {row[0]: (row[1], row[2], time_text(row[3])) for row in rows}


def present(connection: Connection, emails: Sequence[str]) -> set[str]:
    """Return which of some addresses have a line."""
    return set(connection.execute(select(_line.email).where(_line.email.in_(emails))).scalars())


def _behind(query: Select[Any], email: Any, after: str, until: str | None, limit: int | None) -> Select[Any]:
    query = query.where(email > after).order_by(email).limit(limit)
    return query if until is None else query.where(email <= until)

"""Makes the directory of a large box from nothing: sorted first, then written from one end to the other.

Line by line into all indexes, a million lines would be written some fifty times over. So the table is made anew
without its indexes, filled in its own order, and the indexes are made at the end. Who else changes lines meanwhile
finds the table slower, but right: what is there already is passed over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, and_, insert, inspect, or_, select, update
from sqlalchemy.schema import CreateTable

from mailusers_plugin.models import Usage
from mailusers_plugin.store import directory_tally, schema
from mailusers_plugin.store.directory_compare import Accounts
from mailusers_plugin.store.directory_lines import Line, Size, active_line, archived_line, lock, time_text
from mailusers_plugin.validation import split_address

_feed = schema.feed.c
_line = schema.directory.c
INDEXES: Final = sorted(str(index.name) for index in schema.directory.indexes)
Person = tuple[Any, ...]
"""Address, whether archived, privileges and quota as stored, when and by whom archived, whether being purged, until
when that can be undone, bytes, messages and the time of its size, and whether there is a record of ours."""


class Sorter:
    """Sorts people into the order of the list in a temporary file, so that they need not all be in the memory."""

    def __init__(self) -> None:
        """Open the file, which has no name and is gone when it is closed."""
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE person (email TEXT PRIMARY KEY, domain TEXT, archived INTEGER, privileges TEXT, quota TEXT, "
            "archived_at TEXT, archived_by TEXT, purging INTEGER, undo_until TEXT, box_bytes INTEGER, "
            "messages INTEGER, checked_at TEXT, recorded INTEGER) WITHOUT ROWID"
        )

    def add(self, people: Iterable[Person]) -> None:
        """Take people; of an address that comes again the first one counts."""
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT OR IGNORE INTO person VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((person[0], split_address(person[0])[1], *person[1:]) for person in people),
        )
        self._connection.execute("COMMIT")

    def sorted(self, limit: int) -> Iterator[list[Line]]:
        """Yield everybody's lines in the order of the list, so many at once."""
        cursor = self._connection.execute("SELECT * FROM person ORDER BY domain, archived, email")
        while rows := cursor.fetchmany(limit):
            yield [_line_of(row) for row in rows]

    def __enter__(self) -> Self:
        """Sort."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Throw everything away."""
        self._connection.close()


def people(accounts: Accounts, sizes: Mapping[str, Size]) -> Iterator[Person]:
    """Yield those of a window of the accounts, users before records of archived ones."""
    nobody = (None, None, None)
    for email, privileges, quota in accounts.users:
        yield email, 0, privileges, quota, None, None, 0, None, *sizes.get(email, nobody), 0
    for email, record in accounts.records.items():
        archived_at, until = (_text(record.archived_at), _text(record.kept_until))
        purging = int(record.purge_name is not None)
        kept = (1, record.privileges, record.quota, archived_at, record.archived_by, purging, until)
        yield email, *kept, *sizes.get(email, nobody), 1


def mailboxes(emails: Iterable[str], sizes: Mapping[str, Size]) -> Iterator[Person]:
    """Yield what is on the disk and nowhere else."""
    for email in emails:
        yield email, 1, None, None, None, None, 0, None, *sizes.get(email, (None, None, None)), 0


def _text(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


class _Record:
    """A record of an archived account, as it came out of the sorter."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.privileges, self.quota = row[3], row[4]
        self.archived_at, self.archived_by = _time(row[5]), row[6]
        self.purge_name = "purging" if row[7] else None
        self.kept_until = _time(row[8])


def _line_of(row: Sequence[Any]) -> Line:
    usage = None if row[9] is None else Usage(row[9], row[10], 0, _known_time(row[11]))
    if not row[2]:
        return active_line((row[0], row[3], row[4]), usage)
    record: Any = _Record(row) if row[12] else None
    return archived_line(row[0], record, usage)


def _known_time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _time(text: str | None) -> datetime | None:
    return None if text is None else _known_time(text)


def begin(connection: Connection, builder: str) -> None:
    """Throw the directory away and say who makes it anew; who was at it before gives up.

    :param builder: chosen at random
    """
    lock(connection)
    connection.execute(
        update(schema.feed).values(newest=_feed.newest + 1, built_at=None, builder=builder, search=0)
    )
    connection.execute(schema.changed.delete())
    directory_tally.forget(connection)
    schema.directory.drop(connection, checkfirst=True)
    connection.execute(CreateTable(schema.directory))


def is_builder(connection: Connection, builder: str) -> bool:
    """Tell whether somebody still is who makes the directory."""
    return connection.execute(select(_feed.builder)).scalar() == builder


def was_interrupted(connection: Connection) -> bool:
    """Tell whether somebody began to make the directory and did not come to an end."""
    return connection.execute(select(_feed.builder)).scalar() is not None


def append(connection: Connection, builder: str, lines: Sequence[Line]) -> bool:
    """Store the next lines, in the order of the list.

    :returns: whether the builder still is who makes the directory; else nothing was stored
    """
    lock(connection)
    if not is_builder(connection, builder):
        return False
    present = _present(connection, lines[0], lines[-1])
    new = [line for line in lines if line["email"] not in present]
    if new:
        connection.execute(insert(schema.directory), new)
        difference = directory_tally.Difference()
        for line in new:
            difference.add(line, 1)
        difference.store(connection)
        connection.execute(update(schema.feed).values(newest=_feed.newest + len(new)))
    return True


def _present(connection: Connection, first: Line, last: Line) -> set[str]:
    """Return the addresses that are there between two lines, for each domain also those that changed their state."""
    domains = {first["domain"], last["domain"]}
    between = and_(_line.domain > first["domain"], _line.domain < last["domain"])
    query = select(_line.email).where(or_(_line.domain.in_(sorted(domains)), between))
    if len(domains) == 1:
        # Of one large domain not everything that is already written, but what others have.
        some = or_(
            and_(
                _line.archived == first["archived"],
                _line.email >= first["email"],
                _line.email <= last["email"],
            ),
            _line.archived != first["archived"],
        )
        query = select(_line.email).where(_line.domain == first["domain"], some)
    return set(connection.execute(query).scalars())


def index(connection: Connection, name: str) -> None:
    """Make one of the indexes where it is missing; nobody else can change lines meanwhile."""
    there = {found["name"] for found in inspect(connection).get_indexes(schema.directory.name)}
    if name not in there:
        (wanted,) = (index for index in schema.directory.indexes if index.name == name)
        wanted.create(connection)


def end(connection: Connection, builder: str) -> bool:
    """Say that it is made.

    :returns: whether the builder still was who makes it
    """
    lock(connection)
    if not is_builder(connection, builder):
        return False
    connection.execute(update(schema.feed).values(builder=None))
    return True

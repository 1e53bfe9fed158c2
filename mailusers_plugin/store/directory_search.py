"""Finds the lines of the directory that have a text in their address.

Where there are many lines, by the database's own index of all three characters that follow one another: FTS5's
trigrams on SQLite, ``pg_trgm`` on PostgreSQL. MariaDB has nothing of the kind, and neither may the other two: then the
addresses are looked through, which a million take some 0.15 s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from mailusers_plugin.models import Counts
from mailusers_plugin.store import schema
from mailusers_plugin.store.positions import behind

_line = schema.directory.c
_feed = schema.feed.c
NONE: Final = 0
BUILDING: Final = 1
WHOLE: Final = 2
IMPOSSIBLE: Final = 3
TABLE: Final = f"{schema.PREFIX}search"
_TERMS: Final = f"{schema.PREFIX}search_terms"
_LENGTH: Final = 3
"""Characters that an index knows together."""
_SAMPLE: Final = 20_000
_OFTEN: Final = 100
"""A short text that so many of the sample have is met soon on the way through any order."""
_MAX_TERMS: Final = 500
_END: Final = "\x02\x02"
"""Stands behind each text, so that its last characters begin three, too."""
Place = tuple[str, int, str]


def state(connection: Connection) -> int:
    """Return how far the index is."""
    return int(connection.execute(select(_feed.search)).scalar_one())


def begin(connection: Connection, builder: str) -> bool:
    """Make an empty index and say who fills it; lines that come from now on are in it.

    :param builder: chosen at random
    :returns: whether it is to be filled
    """
    made = NONE
    try:
        with connection.begin_nested():
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_TERMS}")
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {TABLE}")
                connection.exec_driver_sql(
                    f"CREATE VIRTUAL TABLE {TABLE} USING fts5(address, tokenize='trigram', columnsize=0)"
                )
                connection.exec_driver_sql(f"CREATE VIRTUAL TABLE {_TERMS} USING fts5vocab({TABLE}, 'row')")
                made = BUILDING
            elif connection.dialect.name == "postgresql":
                connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
                for name, column in (("email", "lower(email)"), ("shown", "shown")):
                    connection.exec_driver_sql(
                        f"CREATE INDEX IF NOT EXISTS {TABLE}_{name} ON {schema.directory.name} "
                        f"USING gin (({column}) gin_trgm_ops)"
                    )
                made = WHOLE
            else:
                made = IMPOSSIBLE
    except DBAPIError:
        # Not there, or not allowed to us.
        made = IMPOSSIBLE
    connection.execute(update(schema.feed).values(search=made, builder=builder if made == BUILDING else None))
    return made == BUILDING


def append(connection: Connection, builder: str, after: Place, limit: int) -> Place | None:
    """Put the next lines into the index; the directory must be locked.

    :returns: where to go on, ``None`` at the end, which is remembered, or where somebody else began anew
    """
    if connection.execute(select(_feed.builder)).scalar() != builder:
        return None
    order = (_line.domain, _line.archived, _line.email)
    query = (
        select(*order, _line.shown).where(behind(connection, order, after, downward=False)).order_by(*order)
    )
    rows = connection.execute(query.limit(limit)).all()
    _insert(connection, [(row.email, row.shown) for row in rows])
    if len(rows) < limit:
        connection.execute(update(schema.feed).values(search=WHOLE, builder=None))
        return None
    return rows[-1].domain, rows[-1].archived, rows[-1].email


def add(
    connection: Connection, addresses: Sequence[tuple[str, str | None]], moved: Collection[str] = ()
) -> None:
    """Put lines that come or move into the index, where there is one; the directory must be locked.

    What is in the index twice, or is no more, does no harm: the lines themselves are asked.

    :param addresses: each as it is stored and as it is shown
    :param moved: those of them that had a line before, which are in the index if it is whole
    """
    if connection.dialect.name != "sqlite":
        return
    so_far = state(connection)
    if so_far == WHOLE:
        addresses = [both for both in addresses if both[0] not in moved]
    elif so_far != BUILDING:
        return
    try:
        with connection.begin_nested():
            _insert(connection, addresses)
    except DBAPIError:
        # This interpreter's SQLite cannot: it is made anew by one that can.
        connection.execute(update(schema.feed).values(search=NONE))


def _insert(connection: Connection, addresses: Sequence[tuple[str, str | None]]) -> None:
    if addresses:
        connection.exec_driver_sql(
            # The names in statements here are constants of this module.
            f"INSERT INTO {TABLE} (address) VALUES (?)",  # noqa: S608  # nosec B608
            [(f"{email}{_END}{shown}{_END}" if shown else email + _END,) for email, shown in addresses],
        )


def contains(connection: Connection, query: str) -> ColumnElement[bool]:
    """Return what is true of an address with a text in it, as it is stored or as it is shown."""
    return or_(*_parts(connection, query))


def _parts(connection: Connection, query: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    # SQLite's own lower() knows ASCII only, and takes longer than its LIKE, which does not mind the case of ASCII.
    low = query.lower()
    within = _line.email.contains if connection.dialect.name == "sqlite" else _line.email.icontains
    shown = and_(_line.shown.is_not(None), _line.shown.contains(low, autoescape=True))
    return within(low, autoescape=True), shown


def matching(connection: Connection, query: str, few: int) -> tuple[ColumnElement[bool], bool]:
    """Return what finds the addresses with a text in them, and whether there are few.

    A text that few have is looked for once, so that their lines are found by address; one that many have is met on
    the way through the index of any order, for all of them hold the address.
    """
    email, shown = _parts(connection, query)
    many = or_(email, _line.email.in_(select(_line.email).where(shown)))
    if connection.dialect.name == "sqlite" and state(connection) == WHOLE:
        found = _indexed(connection, query.lower(), few)
        if found is None:
            return many, False
        return and_(_one_of(connection, found), or_(email, shown)), True
    emails: set[str] = set()
    for condition in (email, shown):
        emails.update(connection.execute(select(_line.email).where(condition).limit(few + 1)).scalars())
        if len(emails) > few:
            return many, False
    return _one_of(connection, emails), True


def _one_of(connection: Connection, emails: Collection[str]) -> ColumnElement[bool]:
    if connection.dialect.name != "sqlite":
        return _line.email.in_(sorted(emails))
    # One parameter: a statement with a thousand of them takes longer to put together than to carry out.
    several = func.json_each(orjson.dumps(sorted(emails)).decode()).table_valued("value")
    return _line.email.in_(select(several.c.value))


def _indexed(connection: Connection, low: str, few: int) -> set[str] | None:
    """Return the addresses that the index has for a text, ``None`` where there are many."""
    if len(low) < _LENGTH:
        if _is_often(connection, low):
            return None
        # All three characters that begin with it.
        rows = connection.execute(
            text(f"SELECT term FROM {_TERMS} WHERE term >= :low AND term < :high LIMIT {_MAX_TERMS + 1}"),  # noqa: S608  # nosec B608
            {"low": low, "high": low + "\U0010ffff"},
        )
        terms = list(rows.scalars())
        if len(terms) > _MAX_TERMS:
            return None
    else:
        terms = [low]
    if not terms:
        return set()
    wanted = " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
    found = connection.execute(
        text(f"SELECT address FROM {TABLE} WHERE {TABLE} MATCH :wanted LIMIT :few"),  # noqa: S608  # nosec B608
        {"wanted": wanted, "few": few + 1},
    )
    addresses = found.scalars().all()
    # Rows are counted, not addresses: one that stands there twice must not hide that more were cut off.
    return None if len(addresses) > few else {address.partition(_END)[0] for address in addresses}


def _is_often(connection: Connection, low: str) -> bool:
    some = select(_line.email).limit(_SAMPLE).subquery()
    wanted: Select[Any] = (
        select(literal_column("1")).where(some.c.email.contains(low, autoescape=True)).limit(_OFTEN)
    )
    return len(connection.execute(wanted).all()) == _OFTEN


def count(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> tuple[int, Counts]:
    """Count what matches; return the number of the newest change that is counted, and how many there are."""
    # In one statement, so that it is one state of the directory on every database.
    newest = select(_feed.newest).scalar_subquery()
    wanted = select(func.count(), func.coalesce(func.sum(_line.archived), 0), newest)
    row: Any = connection.execute(wanted.where(*conditions)).one()
    return int(row[2]), Counts(int(row[0] - row[1]), int(row[1]), 0)

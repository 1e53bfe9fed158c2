"""Copies a whole box from one database to another.

All rows go in one transaction, so that a copy that was interrupted has left none (on SQLite, whose tables are in two
files, it may have left the book-keeping, which the next attempt deletes). What cannot be in it, making the tables, is
guarded by a mark: while it is there, nothing but the same copy opens the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from mailusers_plugin.errors import ConfigurationError, StorageError, UnavailableError
from mailusers_plugin.store import audit_guard, audit_schema, counters, directory_search, schema
from mailusers_plugin.store.box import Store
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.migrate import COPY_MARK

BATCH: Final = 5000
"""Rows that are held in memory at once."""
_MODULUS: Final = 2**128
Report = Callable[[str, int, int], None]
"""Told of a step: what is done, how many rows are through, and of how many."""

mark = Table(
    COPY_MARK,
    MetaData(),
    Column("source", String(255), nullable=False),
    Column("started_at", schema.UTCDateTime, nullable=False),
    mysql_charset="utf8mb4",
)
"""Has a row while a box is being copied into its database; not there at any other time."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What tells whether two tables hold the same, in whatever order.

    :ivar rows: how many there are
    :ivar checksum: of all of them
    """

    rows: int
    checksum: str


def tables() -> list[Table]:
    """Return all that are copied: the box's and ours; those first that others refer to."""
    return [table for part in (schema.box, schema.ours, schema.state) for table in part.sorted_tables]


# Looking at the target.


def interrupted(connection: Connection) -> str | None:
    """Return from where a copy into this database was begun and not ended, ``None`` where there was none."""
    if not inspect(connection).has_table(COPY_MARK):
        return None
    return connection.execute(select(mark.c.source)).scalar()


def check_empty(connection: Connection) -> None:
    """Make sure that nothing is lost by copying into a database.

    :raises ConfigurationError: naming the first table with a row in it
    """
    there = set(inspect(connection).get_table_names())
    for table in tables():
        # Their one row is there from the beginning.
        if table.name not in there or table in (schema.feed, schema.usage_pass, audit_schema.chain):
            continue
        if connection.execute(select(text("1")).select_from(table).limit(1)).first() is not None:
            raise ConfigurationError(
                f"The target is not empty: there are rows in {table.name}. Choose an empty database, or move what is "
                "there away."
            )


def begin(connection: Connection, source: str) -> None:
    """Mark a database as the target of a copy, before its tables are made.

    :param source: a name of where the rows come from, without a password
    :raises ConfigurationError: if it is not empty, or a copy from elsewhere was interrupted in it
    """
    source = source[:255]
    before = interrupted(connection)
    if before is None:
        check_empty(connection)
        mark.create(connection, checkfirst=True)
        connection.execute(insert(mark).values(source=source, started_at=datetime.now(UTC)))
    elif before != source:
        raise ConfigurationError(
            f"A copy from {before} into the target was interrupted. Run that one again, or empty the target."
        )


def begin_over(connection: Connection, source: str) -> None:
    """Mark a database as the target of a copy that takes the place of what is in it.

    :param source: a name of where the rows come from
    """
    mark.create(connection, checkfirst=True)
    connection.execute(delete(mark))
    connection.execute(insert(mark).values(source=source[:255], started_at=datetime.now(UTC)))


def end(connection: Connection) -> None:
    """Remove what is left of the mark."""
    mark.drop(connection, checkfirst=True)


# Keeping others out of the source.


def other_sessions(connection: Connection) -> int:
    """Return how many other connections the user of this one has to the database, 0 on SQLite.

    The mail servers have users of their own, so that each is a panel's or a command's.
    """
    if connection.dialect.name == "sqlite":
        return 0
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        if connection.dialect.name == "postgresql"
        else "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
        "AND user = SUBSTRING_INDEX(USER(), '@', 1) AND id <> CONNECTION_ID()"
    )
    return int(connection.execute(text(query)).scalar_one())


@contextmanager
def _held(database: Database, some: Sequence[Table]) -> Iterator[Connection]:
    """Begin a transaction in which nobody else changes some tables; reading them goes on."""
    # On SQLite a transaction that may write keeps all other writers out.
    with database.transaction() as connection:
        dialect = connection.dialect.name
        if dialect == "postgresql":
            connection.execute(text(f"LOCK TABLE {', '.join(t.name for t in some)} IN SHARE MODE"))
        elif dialect != "sqlite":
            connection.execute(text("LOCK TABLES " + ", ".join(f"{table.name} READ" for table in some)))
        try:
            yield connection
        finally:
            if dialect not in ("sqlite", "postgresql") and not connection.invalidated:
                connection.execute(text("UNLOCK TABLES"))


# Copying.


def copy_rows(source: Store, target: Store, report: Report) -> dict[str, Sum]:
    """Copy all tables, and read them back.

    :param target: marked by :func:`begin`, with all tables made
    :param report: called for every batch
    :returns: what each table holds, by name
    :raises StorageError: if something cannot be stored, or was not stored as it is; then nothing was
    :raises UnavailableError: if another copy into the same target is running
    """
    everything = tables()
    _set_counters_outside(source, target, everything)
    with ExitStack() as stack:
        reading = {
            key: stack.enter_context(_held(database, [t for t in everything if _of(source, t) is database]))
            for key, database in _databases(source).items()
        }
        # The last one that is entered is committed first: on SQLite the mark goes with the accounts, at the end.
        writing = {
            key: stack.enter_context(database.transaction(large=True))
            for key, database in _databases(target).items()
        }
        marked = writing[id(target.accounts)]
        _claim(marked)
        # The rows of the audit trail go over as they are, and so does its chain; until then nothing guards them there.
        _set_guard(target, writing[id(target.state)], audit_guard.lift)
        for table in reversed(everything):
            writing[id(_of(target, table))].execute(delete(table))
        sums = {}
        for table in everything:
            into = writing[id(_of(target, table))]
            sums[table.name] = _copy_table(reading[id(_of(source, table))], into, table, report)
            counters.set_counter(reading[id(_of(source, table))], into, table)
        for table in everything:
            found = _sum(writing[id(_of(target, table))], table, sums[table.name].rows, report)
            if found != sums[table.name]:
                raise StorageError(
                    f"The copy of {table.name} is not what was copied: {found.rows} rows with the checksum "
                    f"{found.checksum} instead of {sums[table.name].rows} with {sums[table.name].checksum}. Nothing "
                    "was copied; the source is as it was."
                )
        # Which index of texts there is is a matter of the engine: the target's is made at its first start.
        of_feed = writing[id(_of(target, schema.feed))]
        of_feed.execute(update(schema.feed).values(search=directory_search.NONE, builder=None))
        marked.execute(delete(mark))
        if not _ends_by_triggers(target):
            _set_guard(target, writing[id(target.state)], audit_guard.put)
    if _ends_by_triggers(target):
        # Where it does not come to this, 'mailusers audit verify' says so.
        target.state.write_now(audit_guard.put)
    return sums


def _ends_by_triggers(store: Store) -> bool:
    """Tell whether making triggers ends a transaction, as on MariaDB."""
    return store.state.engine.dialect.name not in ("sqlite", "postgresql")


def _set_guard(target: Store, writing: Connection, change: Callable[[Connection], object]) -> None:
    if _ends_by_triggers(target):
        target.state.write_now(change)
    else:
        change(writing)


def copy_out(connection: Connection, target: Store) -> None:
    """Copy all tables as one transaction sees them, which others may change meanwhile.

    :param target: in SQLite files that nobody else has open, with all tables made
    """
    with ExitStack() as stack:
        # The accounts are committed last: what is not there need not be taken for a box.
        writing = {
            key: stack.enter_context(database.transaction(large=True))
            for key, database in _databases(target).items()
        }
        _set_guard(target, writing[id(target.state)], audit_guard.lift)
        for table in tables():
            into = writing[id(_of(target, table))]
            into.execute(delete(table))
            _copy_table(connection, into, table, lambda *_: None)
            counters.set_counter(connection, into, table)
        _set_guard(target, writing[id(target.state)], audit_guard.put)
        of_feed = writing[id(_of(target, schema.feed))]
        of_feed.execute(update(schema.feed).values(search=directory_search.NONE, builder=None))


def _databases(store: Store) -> dict[int, Database]:
    return {id(database): database for database in (store.accounts, store.state)}


def _of(store: Store, table: Table) -> Database:
    return store.state if table.metadata is schema.state else store.accounts


def _claim(connection: Connection) -> None:
    try:
        found = connection.execute(select(mark.c.source).with_for_update(nowait=True)).first()
    except DBAPIError:
        found = None
    if found is None:
        raise UnavailableError("Another copy into the same target is running, or has just ended.")


def _copy_table(source: Connection, target: Connection, table: Table, report: Report) -> Sum:
    total = int(source.execute(select(func.count()).select_from(table)).scalar_one())
    put = _writer(target, table)
    what = f"copying {table.name}"
    checksum = rows = 0
    report(what, 0, total)
    for batch in _batches(source, table):
        checksum = _add(checksum, batch)
        try:
            put(batch)
        except DBAPIError as error:
            reason = (str(error.orig).splitlines() or [""])[0]
            raise StorageError(
                f"{table.name} holds what cannot be stored in the target: {reason}. Change that in the source; nothing "
                "was copied."
            ) from None
        rows += len(batch)
        report(what, rows, total)
    return Sum(rows, f"{checksum:032x}")


def _writer(connection: Connection, table: Table) -> Callable[[Sequence[tuple[Any, ...]]], None]:
    """Return what inserts rows into a table: on PostgreSQL by COPY, which takes a quarter of the time."""
    names = [column.name for column in table.columns]
    if (connection.dialect.name, connection.dialect.driver) != ("postgresql", "psycopg"):

        def insert_all(rows: Sequence[tuple[Any, ...]]) -> None:
            connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])

        return insert_all
    processors = [
        column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        for column in table.columns
    ]
    quote = connection.dialect.identifier_preparer.quote
    statement = f"COPY {quote(table.name)} ({', '.join(map(quote, names))}) FROM STDIN"

    def copy_all(rows: Sequence[tuple[Any, ...]]) -> None:
        driver: Any = connection.connection.dbapi_connection
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row([p(v) if p else v for p, v in zip(processors, row, strict=True)])
        except _driver_error(connection) as error:
            raise DBAPIError(statement, None, error) from error

    return copy_all


def _driver_error(connection: Connection) -> type[Exception]:
    """Return what the driver's errors have in common."""
    found: type[Exception] = connection.dialect.loaded_dbapi.Error
    return found


def _sum(connection: Connection, table: Table, total: int, report: Report) -> Sum:
    checksum = rows = 0
    for batch in _batches(connection, table):
        checksum = _add(checksum, batch)
        rows += len(batch)
        report(f"checking {table.name}", rows, total)
    return Sum(rows, f"{checksum:032x}")


def _batches(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    streamed = connection.execute(select(table), execution_options={"yield_per": BATCH})
    for partition in streamed.partitions():
        yield [tuple(row) for row in partition]


def _add(checksum: int, rows: Sequence[tuple[Any, ...]]) -> int:
    """Add rows to a checksum. A sum does not mind their order, which differs from one database to the other."""
    for row in rows:
        digest = hashlib.blake2b(orjson.dumps(row, default=_as_json), digest_size=16).digest()
        checksum += int.from_bytes(digest, "big")
    return checksum % _MODULUS


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError


def _set_counters_outside(source: Store, target: Store, some: Sequence[Table]) -> None:
    """Set MariaDB's counters, which would end a transaction, while the tables are empty. They never go back."""

    def change(connection: Connection) -> None:
        for table, last in wanted:
            connection.execute(text(f"ALTER TABLE {table.name} AUTO_INCREMENT = {last + 1}"))

    if target.accounts.is_sqlite or target.accounts.engine.dialect.name == "postgresql":
        return
    wanted = [
        (table, _of(source, table).read_now(counters.last_number, table))
        for table in some
        if counters.counted(table) is not None
    ]
    target.accounts.write_now(change)

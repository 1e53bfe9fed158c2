"""Small reads by an index, at the cost of the read itself.

What a request must know of its sender is one row by its key, which SQLite finds in 2 to 5 µs. The way there through a
pool, a transaction and SQLAlchemy's own rows takes 130 µs, and on a server three more round trips. So such a query is
compiled once, and run on a connection that is kept for it and commits by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, Select

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store.errands import STOPPING, STOPPING_RETRY_SECONDS

R = TypeVar("R")


class Lookup(Generic[R]):
    """A query that finds one row, and what is made of it.

    :ivar query: with a ``bindparam`` for each value
    :ivar names: the names of those, in the order in which values are given
    :ivar make: takes the columns
    """

    def __init__(self, query: Select[Any], make: Callable[..., R], *names: str) -> None:
        """Take them."""
        self.query = query
        self.make = make
        self.names = names


class _Compiled:
    """A look-up as one kind of database wants it."""

    def __init__(self, lookup: Lookup[Any], engine: Engine) -> None:
        compiled = lookup.query.compile(dialect=engine.dialect)
        self.text = str(compiled)
        order = compiled.positiontup if compiled.positional else None
        self._order = None if order is None else tuple(lookup.names.index(name) for name in order)
        self._names = lookup.names
        self._make = lookup.make
        columns = lookup.query.selected_columns
        self._processors = tuple(
            column.type.dialect_impl(engine.dialect).result_processor(engine.dialect, None)
            for column in columns
        )
        self._plain = not any(self._processors)

    def parameters(self, values: tuple[Any, ...]) -> Any:
        if self._order is None:
            return dict(zip(self._names, values, strict=True))
        return tuple(values[place] for place in self._order)

    def made(self, row: Any) -> Any:
        if self._plain:
            return self._make(*row)
        return self._make(
            *(
                value if process is None else process(value)
                for value, process in zip(row, self._processors, strict=True)
            )
        )


class _Kept:
    """A connection that is kept, with one cursor for all that is asked on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        driver: Any = connection.connection.dbapi_connection
        self._cursor = driver.cursor()

    def execute(self, compiled: _Compiled, values: tuple[Any, ...]) -> Any:
        cursor = self._cursor
        cursor.execute(compiled.text, compiled.parameters(values))
        # All of them: SQLite keeps its lock until it was asked for the row behind the last.
        return cursor.fetchall()

    def close(self) -> None:
        self._cursor.close()
        self._connection.close()

    def drop(self) -> None:
        """Close a connection that has failed, rather than give it back to the pool."""
        self._connection.invalidate()
        self._connection.close()


class Lookups:
    """Runs look-ups on one database."""

    def __init__(self, engine: Engine) -> None:
        """Open nothing yet.

        :param engine: whose pool has a connection to spare for each thread that looks something up
        """
        # Where nothing has to be begun and ended a server is asked once instead of three times. SQLite's connections
        # are in that mode already: there SQLAlchemy's own begin is what begins.
        self._is_server = engine.dialect.name != "sqlite"
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT") if self._is_server else engine
        self._compiled: dict[Lookup[Any], _Compiled] = {}
        self._idle: deque[_Kept] = deque()
        self._closed = False
        self._dropped = 0
        dbapi = engine.dialect.dbapi
        self.errors: type[Exception] = Exception if dbapi is None else dbapi.Error
        """What the driver raises."""

    def find(self, lookup: Lookup[R], values: tuple[Any, ...]) -> R | None:
        """Return what a look-up finds, ``None`` where there is nothing. Blocks.

        :raises UnavailableError: if :meth:`close` was called
        """
        compiled = self._compiled.get(lookup)
        if compiled is None:
            compiled = self._compiled[lookup] = _Compiled(lookup, self._engine)
        dropped = self._dropped
        try:
            kept, was_idle = self._idle.pop(), True
        except IndexError:
            kept, was_idle = self._connect(), False
        try:
            rows = kept.execute(compiled, values)
        except self.errors:
            kept.drop()
            if not was_idle or not self._is_server:
                raise
            # The server was restarted, or has ended what was idle for long: all others are gone as well.
            self.close_idle()
            kept = self._connect()
            try:
                rows = kept.execute(compiled, values)
            except self.errors:
                kept.drop()
                raise
        self._idle.append(kept)
        if self._closed or self._dropped != dropped:
            # Meanwhile all were given up, and this one may be to what is not there any more.
            self.close_idle()
        found: R | None = compiled.made(rows[0]) if rows else None
        return found

    def _connect(self) -> _Kept:
        if self._closed:
            raise UnavailableError(STOPPING, STOPPING_RETRY_SECONDS)
        return _Kept(self._engine.connect())

    def close(self) -> None:
        """Close the connections; one that is in use is closed by whoever uses it."""
        self._closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that nobody uses, and those in use when that is over; new ones are made when needed."""
        self._dropped += 1
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

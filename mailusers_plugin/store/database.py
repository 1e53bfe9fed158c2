"""One database: its connections, its transactions, and the threads in which they run."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from mailusers_plugin.errors import ConfigurationError, UnavailableError
from mailusers_plugin.store.commits import Committer, Turns
from mailusers_plugin.store.errands import STOPPING, STOPPING_RETRY_SECONDS, Errands
from mailusers_plugin.store.file_place import FilePlace
from mailusers_plugin.store.file_watch import FileWatch
from mailusers_plugin.store.lookups import Lookup, Lookups
from mailusers_plugin.texts import N_

__all__ = ["Connection", "Database", "taken_on", "translated"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_WRITE: Final = "mailusers_write"
_CONNECT_SECONDS: Final = 5
_ATTEMPTS: Final = 6
"""How often a change is tried that the server has undone because of another one."""
_PAUSE_SECONDS: Final = 0.02
"""Before the second attempt; it doubles, with jitter, so that two do not meet again and again."""
_DEADLOCKS: Final = frozenset(("40001", "40P01"))
"""SQLSTATE of PostgreSQL: serialization_failure and deadlock_detected."""
_MARIADB_DEADLOCKS: Final = frozenset((1213, 1020))
"""ER_LOCK_DEADLOCK and, with MariaDB's snapshot isolation, ER_CHECKREAD."""
_BUSY: Final = N_("The account database is busy. Try again in a moment.")
_SMALL_THREADS: Final = 1
"""For small reads on SQLite: they take some µs each, so more threads would only take the interpreter's lock from each
other. Where a lock of another program makes one wait, it would make all of them wait."""
# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE: the module has a name for it only from Python 3.12 on.
_NO_CHECKPOINT_ON_CLOSE: Final = 1006
_CACHE_KIB: Final = 2000
"""SQLite's own default, for each connection."""
_LARGE_CACHE_KIB: Final = 128 * 1024
"""For a transaction that may be larger than the memory."""


class Database:
    """Runs functions that take a connection, each in one transaction, in threads of its own.

    Every write transaction on SQLite begins with ``BEGIN IMMEDIATE``: with the driver's deferred default two
    writers read the same state and one update is lost. Elsewhere a write transaction sees what is committed now
    (``READ COMMITTED``), so that what it reads under a lock is true, and is tried again where the server has undone
    it to end a deadlock. A reading one sees one state of everything (``REPEATABLE READ``), as on SQLite.
    """

    def __init__(
        self,
        url: str,
        *,
        threads: int = 4,
        busy_timeout_seconds: float = 5.0,
        shared: bool = True,
        pause_seconds: float = 0.0,
    ) -> None:
        """Prepare the connections; none is opened yet.

        :param url: an SQLAlchemy URL that names the driver
        :param threads: how many calls run at once
        :param busy_timeout_seconds: how long a SQLite lock of another program is waited for
        :param shared: whether other programs read a SQLite file that may have a rollback journal, so that commits
            must not wait for reads of ours
        :param pause_seconds: least distance between two commits on SQLite
        :raises ConfigurationError: if the URL is not possible or its driver is not installed
        """
        try:
            self.url = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            small_threads = min(threads, _SMALL_THREADS) if self.is_sqlite else threads
            self.engine = self._make_engine(threads, small_threads, busy_timeout_seconds, shared=shared)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ConfigurationError(
                f"The database URL is not possible ({error}). Use sqlite:///PATH, postgresql+psycopg://… "
                "or mariadb+pymysql://…, and install the extra postgresql or mariadb."
            ) from None
        self.timed: Callable[[str], AbstractContextManager[None]] = _untimed
        """Stands around each call, with ``read`` or ``write``; what single look-ups take is too little to be timed."""
        self._use = threading.Condition()
        self._users = 0
        self._closed = False
        self._writing = writing = self.engine.execution_options(**{_WRITE: True})
        self._reading = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="mailusers-read")
        self._errands = Errands(small_threads, "mailusers-look-up")
        self._lookups = Lookups(self.engine)
        self._turns = Turns() if self.is_sqlite and shared else None
        file = self.url.database if self.is_sqlite else None
        self._watch = FileWatch(Path(file)) if file and shared else None
        self._place = FilePlace(Path(file), self.engine, self._lookups.close_idle) if file else None
        self._committer = (
            Committer(writing, self._turns, pause_seconds, self._watch, self._place)
            if self.is_sqlite
            else None
        )

    def _make_engine(
        self, threads: int, small_threads: int, busy_timeout_seconds: float, *, shared: bool
    ) -> Engine:
        if not self.is_sqlite:
            # A server that does not answer at all is away too, and soon.
            patience = {} if "connect_timeout" in self.url.query else {"connect_timeout": _CONNECT_SECONDS}
            # What is read under a lock must be what is there now, also on MariaDB.
            return create_engine(
                self.url,
                pool_size=threads + small_threads + 1,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                connect_args=patience,
            )
        engine = create_engine(
            self.url,
            pool_size=threads + small_threads + 2,
            max_overflow=2,
            connect_args={"timeout": busy_timeout_seconds, "check_same_thread": False},
        )
        event.listen(engine, "connect", _set_up_sqlite)
        if shared:
            event.listen(engine, "connect", _keep_in_memory)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, in a thread.

        :param function: takes the connection, then the arguments
        :raises UnavailableError: if the database is away, locked for too long, or full
        """
        call = partial(self.read_now, function, *args, **kwargs)
        with taken_on():
            future = asyncio.get_running_loop().run_in_executor(self._readers, call)
        return await future

    async def look_up(self, lookup: Lookup[R], *values: Any) -> R | None:
        """Find one row by an index, in a thread that waits for nothing but small reads.

        :param values: those of the look-up
        :returns: ``None`` where there is no such row
        :raises UnavailableError: if the database is away, or locked for too long
        """
        return await self.looking_up(lookup, *values)

    def looking_up(self, lookup: Lookup[R], *values: Any) -> asyncio.Future[R | None]:
        """Begin to find one row, see :meth:`look_up`; must be called in a running event loop."""
        return self._errands.run(self.look_up_now, lookup, *values)

    async def look_up_with(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that makes several look-ups, see :meth:`look_up`, so that there is one way for all of them.

        :param function: calls :meth:`look_up_now`, of this database or another one, and nothing that takes long
        """
        return await self._errands.run(function, *args)

    def look_up_now(self, lookup: Lookup[R], *values: Any) -> R | None:
        """Find one row by an index, in the calling thread; see :meth:`look_up`."""
        turns = self._turns
        if self._place is not None:
            self._place.check()
        if turns is not None:
            turns.begin_glance()
        try:
            return self._lookups.find(lookup, values)
        except self._lookups.errors as error:
            raise UnavailableError(*_explain(str(error))) from error
        except PoolTimeoutError:
            raise UnavailableError(_BUSY, 2) from None
        except DBAPIError as error:
            raise UnavailableError(*_explain(str(error.orig))) from error.orig
        finally:
            if turns is not None:
                turns.end_glance()

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a write transaction, in a thread; what it raises undoes what it did.

        A change that began is carried out even if its caller goes away meanwhile.

        :param function: takes the connection, then the arguments; has no effect but on the database, or one that may
            come twice
        :raises UnavailableError: if the database is away, locked for too long, or full
        """
        future = self._submit(partial(_with_connection, function, args, kwargs))
        with self.timed("write"), translated():
            result: T = await asyncio.shield(asyncio.wrap_future(future))
            return result

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, in the calling thread; see :meth:`read`."""
        turn = self._turns.reading() if self._turns else nullcontext()
        if self._place is not None:
            self._place.check()
        with self.timed("read"), self._used(), translated(), turn, self._reading.begin() as connection:
            return function(connection, *args, **kwargs)

    def write_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a write transaction and wait for it; see :meth:`write`."""
        future = self._submit(partial(_with_connection, function, args, kwargs))
        with self.timed("write"), translated():
            result: T = future.result()
            return result

    @contextmanager
    def transaction(self, *, large: bool = False) -> Iterator[Connection]:
        """Begin one long write transaction in the calling thread, and commit it where nothing is raised.

        For moving a whole box: it minds neither reads of ours nor what waits to be written.

        :param large: whether it may be more than fits into the memory; nobody else can read a SQLite file then
        :raises UnavailableError: if the database is away, locked for too long, or full
        """
        if self._place is not None:
            self._place.check()
        with self._used(), translated(), self._writing.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            if large and self.is_sqlite:
                # Inside a transaction the first would have no effect. Indexes are written all over.
                driver.execute("PRAGMA cache_spill = ON")
                driver.execute(f"PRAGMA cache_size = -{_LARGE_CACHE_KIB}")
            try:
                with connection.begin():
                    yield connection
            finally:
                if large and self.is_sqlite:
                    driver.execute("PRAGMA cache_spill = OFF")
                    driver.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    def _submit(self, change: Callable[[Connection], Any]) -> Future[Any]:
        with taken_on():
            if self._committer is not None:
                return self._committer.submit(change)
            return self._readers.submit(self._change, change)

    def _change(self, change: Callable[[Connection], T]) -> T:
        pause_seconds = _PAUSE_SECONDS
        for _ in range(_ATTEMPTS - 1):
            try:
                with self.engine.begin() as connection:
                    return change(connection)
            except DBAPIError as error:
                if not _is_deadlock(error):
                    raise
            # No secret: it spreads who tries again.
            time.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311
            pause_seconds *= 2
        with self.engine.begin() as connection:
            return change(connection)

    def long_reading(self) -> Engine:
        """Return an engine for reads that last: each transaction sees one state, on a connection of its own."""
        if not self.is_sqlite:
            return create_engine(self.url, poolclass=NullPool, isolation_level="REPEATABLE READ")
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"check_same_thread": False})
        if self._place is not None:
            self._place.check()
            event.listen(engine, "do_connect", self._place.before_connect)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def foreign_changes(self) -> int:
        """Return how many times another program was seen to have changed a shared SQLite file, else 0. May block."""
        return self._watch.foreign_changes() if self._watch else 0

    @property
    def replacements(self) -> int:
        """How many times another SQLite file was found in place of the one that was used."""
        return self._place.replacements if self._place else 0

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Keep the connections from being closed while a thread that is not one of ours uses one."""
        with self._use:
            if self._closed:
                raise UnavailableError(STOPPING, STOPPING_RETRY_SECONDS)
            self._users += 1
        try:
            yield
        finally:
            with self._use:
                self._users -= 1
                self._use.notify_all()

    def close(self) -> None:
        """Finish what runs and close the connections; whoever comes later is refused."""
        if self._committer is not None:
            self._committer.close()
        self._readers.shutdown()
        self._errands.close()
        with self._use:
            self._closed = True
            self._use.wait_for(lambda: self._users == 0)
        self._lookups.close()
        self.engine.dispose()
        if self._place is not None:
            self._place.close()


def _untimed(_kind: str) -> AbstractContextManager[None]:
    return nullcontext()


def _with_connection(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], connection: Connection
) -> T:
    return function(connection, *args, **kwargs)


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLAlchemy's begin event sends BEGIN itself, so the driver must not.
    connection.isolation_level = None
    if hasattr(connection, "setconfig"):
        connection.setconfig(_NO_CHECKPOINT_ON_CLOSE, True)
    for pragma in ("foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _keep_in_memory(connection: sqlite3.Connection, _record: Any) -> None:
    # A large change must not spill into the file before its commit, for from then on nobody else could read. In a
    # file of our own, which has a write-ahead log, it does no harm, and an index of a million lines is 100 MB.
    connection.execute("PRAGMA cache_spill = OFF")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def taken_on() -> Iterator[None]:
    """Turn a pool's refusal, which comes only after its end, into ours."""
    try:
        yield
    except RuntimeError:
        raise UnavailableError(STOPPING, STOPPING_RETRY_SECONDS) from None


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, without the statement and its parameters."""
    try:
        yield
    except PoolTimeoutError:
        raise UnavailableError(_BUSY, 2) from None
    except DBAPIError as error:
        raise UnavailableError(*_explain(str(error.orig))) from error.orig


def _is_deadlock(error: DBAPIError) -> bool:
    """Tell whether the server has undone a transaction because of another one, and the same may succeed now."""
    if getattr(error.orig, "sqlstate", None) in _DEADLOCKS:
        return True
    number = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return number in _MARIADB_DEADLOCKS


def _explain(driver_text: str) -> tuple[str, int]:
    low = driver_text.lower()
    if "locked" in low or "busy" in low:
        return N_("The account database is locked by another program. Try again in a moment."), 2
    if "full" in low or "no space" in low:
        return N_("The disk that holds the account database is full. Free some space and try again."), 60
    if "readonly" in low or "read-only" in low:
        return N_("The account database cannot be written. Run 'mailusers doctor' on the server."), 60
    return N_("The account database is not available. Run 'mailusers doctor' on the server."), 10

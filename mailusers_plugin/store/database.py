"""One database: its connections, its transactions, and the threads in which they run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mailusers_plugin.errors import ConfigurationError, UnavailableError
from mailusers_plugin.store.commits import Committer, Turns

__all__ = ["Connection", "Database"]

P = ParamSpec("P")
T = TypeVar("T")

_WRITE: Final = "mailusers_write"
# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE: the module has a name for it only from Python 3.12 on.
_NO_CHECKPOINT_ON_CLOSE: Final = 1006


class Database:
    """Runs functions that take a connection, each in one transaction, in threads of its own.

    Every write transaction on SQLite begins with ``BEGIN IMMEDIATE``: with the driver's deferred default two
    writers read the same state and one update is lost.
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
            self.engine = self._make_engine(threads, busy_timeout_seconds)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ConfigurationError(
                f"The database URL is not possible ({error}). Use sqlite:///PATH, postgresql+psycopg://… "
                "or mariadb+pymysql://…, and install the extra postgresql or mariadb."
            ) from None
        writing = self.engine.execution_options(**{_WRITE: True})
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="mailusers-read")
        self._turns = Turns() if self.is_sqlite and shared else None
        self._committer = Committer(writing, self._turns, pause_seconds) if self.is_sqlite else None

    def _make_engine(self, threads: int, busy_timeout_seconds: float) -> Engine:
        if not self.is_sqlite:
            # What is read under a lock must be what is there now, also on MariaDB.
            return create_engine(
                self.url, pool_size=threads + 1, pool_pre_ping=True, isolation_level="READ COMMITTED"
            )
        engine = create_engine(
            self.url,
            pool_size=threads + 2,
            max_overflow=2,
            connect_args={"timeout": busy_timeout_seconds, "check_same_thread": False},
        )
        event.listen(engine, "connect", _set_up_sqlite)
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
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

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
        with _translated():
            result: T = await asyncio.shield(asyncio.wrap_future(future))
            return result

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, in the calling thread; see :meth:`read`."""
        turn = self._turns.reading() if self._turns else nullcontext()
        with _translated(), turn, self.engine.begin() as connection:
            return function(connection, *args, **kwargs)

    def write_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in a write transaction and wait for it; see :meth:`write`."""
        future = self._submit(partial(_with_connection, function, args, kwargs))
        with _translated():
            result: T = future.result()
            return result

    def _submit(self, change: Callable[[Connection], Any]) -> Future[Any]:
        if self._committer is not None:
            return self._committer.submit(change)
        return self._readers.submit(self._change, change)

    def _change(self, change: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return change(connection)

    def close(self) -> None:
        """Finish what runs and close the connections."""
        if self._committer is not None:
            self._committer.close()
        self._readers.shutdown()
        self.engine.dispose()


def _with_connection(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], connection: Connection
) -> T:
    return function(connection, *args, **kwargs)


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLAlchemy's begin event sends BEGIN itself, so the driver must not.
    connection.isolation_level = None
    if hasattr(connection, "setconfig"):
        connection.setconfig(_NO_CHECKPOINT_ON_CLOSE, True)
    # A large change must not spill into the file before its commit, for from then on nobody else could read.
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "cache_spill = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours, without the statement and its parameters."""
    try:
        yield
    except PoolTimeoutError:
        raise UnavailableError("The account database is busy. Try again in a moment.", 2) from None
    except DBAPIError as error:
        raise UnavailableError(*_explain(str(error.orig))) from error.orig


def _explain(driver_text: str) -> tuple[str, int]:
    low = driver_text.lower()
    if "locked" in low or "busy" in low:
        return "The account database is locked by another program. Try again in a moment.", 2
    if "full" in low or "no space" in low:
        return "The disk that holds the account database is full. Free some space and try again.", 60
    if "readonly" in low or "read-only" in low:
        return "The account database cannot be written. Run 'mailusers doctor' on the server.", 60
    return "The account database is not available. Run 'mailusers doctor' on the server.", 10

"""One database: its connections, its transactions, and the threads in which they run."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mailusers_plugin.errors import ConfigurationError, UnavailableError

__all__ = ["Connection", "Database"]

P = ParamSpec("P")
T = TypeVar("T")

_WRITE: Final = "mailusers_write"
# SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE: the module has a name for it only from Python 3.12 on.
_NO_CHECKPOINT_ON_CLOSE: Final = 1006


class Database:
    """Runs functions that take a connection, each in one transaction, in threads of its own.

    Every write transaction on SQLite begins with ``BEGIN IMMEDIATE``: with the driver's deferred default two
    writers read the same state and one update is lost. Writes go through one thread there, since SQLite has one
    writer anyway and waiting for each other inside the busy timeout is neither fair nor quick.
    """

    def __init__(self, url: str, *, threads: int = 4, busy_timeout_seconds: float = 5.0) -> None:
        """Prepare the connections; none is opened yet.

        :param url: an SQLAlchemy URL that names the driver
        :param threads: how many calls run at once
        :param busy_timeout_seconds: how long a SQLite lock of another program is waited for
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
        self._writing = self.engine.execution_options(**{_WRITE: True})
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="mailusers-read")
        self._writers = (
            ThreadPoolExecutor(1, thread_name_prefix="mailusers-write") if self.is_sqlite else self._readers
        )

    def _make_engine(self, threads: int, busy_timeout_seconds: float) -> Engine:
        if not self.is_sqlite:
            return create_engine(self.url, pool_size=threads + 1, pool_pre_ping=True)
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
        return await self._in_thread(self._readers, self.read_now, function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in one write transaction, in a thread; what it raises rolls everything back.

        :param function: takes the connection, then the arguments
        :raises UnavailableError: if the database is away, locked for too long, or full
        """
        return await self._in_thread(self._writers, self.write_now, function, *args, **kwargs)

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, in the calling thread; see :meth:`read`."""
        with _translated(), self.engine.begin() as connection:
            return function(connection, *args, **kwargs)

    def write_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in one write transaction, in the calling thread; see :meth:`write`."""
        with _translated(), self._writing.begin() as connection:
            return function(connection, *args, **kwargs)

    async def _in_thread(
        self, pool: ThreadPoolExecutor, run: Callable[..., T], *args: Any, **kwargs: Any
    ) -> T:
        # A change that began is carried out even if its caller goes away meanwhile.
        future = asyncio.get_running_loop().run_in_executor(pool, lambda: run(*args, **kwargs))
        return await asyncio.shield(future)

    def close(self) -> None:
        """Finish what runs and close the connections."""
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # SQLAlchemy's begin event sends BEGIN itself, so the driver must not.
    connection.isolation_level = None
    if hasattr(connection, "setconfig"):
        connection.setconfig(_NO_CHECKPOINT_ON_CLOSE, True)
    for pragma in ("foreign_keys = ON", "synchronous = FULL"):
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

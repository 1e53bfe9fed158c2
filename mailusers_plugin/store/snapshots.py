"""Long reads: each sees the database in one state from its beginning to its end, whoever changes it meanwhile.

They have connections and threads of their own, so that a reader who takes a list slowly keeps nobody from anything;
between two parts of a list no thread waits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store.database import Database, taken_on, translated
from mailusers_plugin.store.errands import STOPPING, STOPPING_RETRY_SECONDS
from mailusers_plugin.texts import N_

P = ParamSpec("P")
T = TypeVar("T")

MAX_SNAPSHOTS: Final = 20
"""Each costs a connection, on SQLite a file's cache of 2 MB, and keeps the write-ahead log from being shortened."""
_THREADS: Final = 2
_WAIT_SECONDS: Final = 10.0
"""So long whoever comes when there are as many waits for one to end; most lists take less than a second."""
_RETRY_SECONDS: Final = 5


class Snapshot:
    """The database as it was at the first read."""

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor) -> None:
        """Begin with nothing; the connection is opened at the first read."""
        self._engine = engine
        self._threads = threads
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, in a thread.

        :param function: takes the connection, then the arguments
        :raises UnavailableError: if the database is away
        """
        call = partial(self._read, function, *args, **kwargs)
        with taken_on():
            future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        return await future

    def _read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with self._lock, translated():
            if self._closed:
                raise UnavailableError(STOPPING, STOPPING_RETRY_SECONDS)
            if self._connection is None:
                self._connection = self._engine.connect()
                self._connection.begin()
            return function(self._connection, *args, **kwargs)

    def close(self) -> None:
        """Let go of it, once a read that is under way has ended. Blocks as long."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


class Snapshots:
    """Those of one database."""

    def __init__(
        self, database: Database, limit: int = MAX_SNAPSHOTS, wait_seconds: float = _WAIT_SECONDS
    ) -> None:
        """Begin with none.

        :param limit: at most so many at once
        :param wait_seconds: how long one more waits for room
        """
        self._engine = database.long_reading()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mailusers-list")
        self._room = asyncio.Semaphore(limit)
        self._wait_seconds = wait_seconds
        self._open: set[Snapshot] = set()

    def count(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Snapshot]:
        """Give a snapshot, and let go of it at the end however that comes.

        :raises UnavailableError: if there are too many for too long
        """
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._room.acquire()
        except TimeoutError:
            raise UnavailableError(
                N_("Too many lists are being sent at once. Try again in a moment."), _RETRY_SECONDS
            ) from None
        snapshot = Snapshot(self._engine, self._threads)
        self._open.add(snapshot)
        try:
            yield snapshot
        finally:
            try:
                # Also when the request was cancelled: a read that nobody ends would be there for ever.
                await asyncio.shield(asyncio.to_thread(snapshot.close))
            finally:
                self._open.discard(snapshot)
                self._room.release()

    def close(self) -> None:
        """End all of them; who reads is refused. Blocks until reads that are under way have ended."""
        for snapshot in list(self._open):
            snapshot.close()
        self._threads.shutdown()
        self._engine.dispose()

"""The event streams of one application: how many there are, how they end, and what they wait for together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import Changed
from mailusers_plugin.texts import N_

MAX_STREAMS: Final = 1000
"""Each costs a connection and some kilobytes; whoever comes beyond is asked to try again later."""
_RETRY_SECONDS: Final = 30
_WAIT_SECONDS: Final = 3600.0

News = Sequence[Changed] | None
ReadChanges = Callable[[int, float], Awaitable[News]]


@dataclass(slots=True)
class _Wait:
    """A look for the changes behind one number, for all streams that are there."""

    task: asyncio.Future[News]
    streams: int = 0


class Stream:
    """One open stream."""

    def __init__(self, streams: Streams) -> None:
        """Begin."""
        self._streams = streams
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """Whether the reader is gone or the server ends."""
        return self._over.done()

    def end(self) -> None:
        """Stop whatever is waited for."""
        if not self._over.done():
            self._over.set_result(None)

    async def until(self, future: asyncio.Future[Any], timeout_seconds: float) -> bool:
        """Wait for something, but not when the stream is over.

        :returns: whether it is done
        """
        await asyncio.wait((future, self._over), timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        return future.done()

    async def pause(self, seconds: float) -> None:
        """Wait, but not when the stream is over."""
        await asyncio.wait((self._over,), timeout=seconds)

    async def changes(self, after: int, timeout_seconds: float) -> News:
        """Return the changes behind a number; empty when the time or the stream is over.

        :returns: ``None`` where some are not kept any more
        :raises UnavailableError: if the database is away
        """
        return await self._streams.changes(self, after, timeout_seconds)


class Streams:
    """All of them. Streams that are up to date, which is most, share one look into the database."""

    def __init__(self, read: ReadChanges, limit: int = MAX_STREAMS) -> None:
        """Begin with none.

        :param read: returns the changes behind a number, waiting so many seconds for the first
        :param limit: at most so many at once
        """
        self._read = read
        self._limit = limit
        self._open: set[Stream] = set()
        self._waits: dict[int, _Wait] = {}
        self._ended = False

    @contextmanager
    def open(self) -> Iterator[Stream]:
        """Give a stream, for as long as it is read.

        :raises UnavailableError: if there are too many, or the server ends
        """
        if self._ended:
            raise UnavailableError(N_("The server is stopping. Try again in a moment."), 2)
        if len(self._open) >= self._limit:
            raise UnavailableError(
                N_("Too many pages wait for changes. Reload the page by hand, or close some."), _RETRY_SECONDS
            )
        stream = Stream(self)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)

    def end(self) -> None:
        """End all streams, and refuse new ones: the server stops."""
        self._ended = True
        for stream in self._open:
            stream.end()

    async def changes(self, stream: Stream, after: int, timeout_seconds: float) -> News:
        """See :meth:`Stream.changes`."""
        wait = self._waits.get(after)
        if wait is None:
            wait = self._waits[after] = _Wait(asyncio.create_task(self._first(after)))
        wait.streams += 1
        try:
            # The others go on waiting when one is over.
            done = await stream.until(wait.task, timeout_seconds)
            return wait.task.result() if done else ()
        finally:
            wait.streams -= 1
            if wait.streams == 0:
                wait.task.cancel()
            if self._waits.get(after) is wait and (wait.task.done() or wait.streams == 0):
                del self._waits[after]

    async def _first(self, after: int) -> News:
        """Wait for news however long it takes: the streams have a time of their own each, and none wakes the others."""
        while True:
            found = await self._read(after, _WAIT_SECONDS)
            if found is None or found:
                return found

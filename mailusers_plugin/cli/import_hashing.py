"""Hashes the passwords of very many lines, on all processors and with little beside it.

In threads of its own, which step back behind everything else on the machine. A quick scheme takes hardly longer than to
hand a password to another thread and back, so of such a scheme each thread gets several at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from mailusers_plugin.hash_lanes import step_back
from mailusers_plugin.import_models import Row

T = TypeVar("T")

_SECONDS_AT_ONCE: Final = 0.02
_MOST_AT_ONCE: Final = 64


class Hashing:
    """The threads."""

    def __init__(self, threads: int) -> None:
        """Begin none yet.

        :param threads: how many hash at once
        """
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mailusers-import", initializer=step_back)
        self._at_once = 1

    async def each(
        self,
        rows: Sequence[Row],
        function: Callable[[Row], T],
        is_ending: Callable[[], bool],
        on_done: Callable[[int], None],
    ) -> list[T]:
        """Call a function for lines, in the threads.

        :param function: hashes the password of one
        :param is_ending: tells whether no more are to be taken
        :param on_done: told how many more are done
        :returns: what it returned, in the order of the lines; where it ended early, for the first ones
        """
        loop = asyncio.get_running_loop()
        results: dict[int, list[T]] = {}
        taken = 0

        def some(chosen: Sequence[Row]) -> list[T]:
            began = time.thread_time()
            found = [function(row) for row in chosen]
            each = max((time.thread_time() - began) / len(chosen), 1e-6)
            self._at_once = max(1, min(_MOST_AT_ONCE, int(_SECONDS_AT_ONCE / each)))
            return found

        async def work() -> None:
            nonlocal taken
            # Lines are taken in their order, so those that were are the first ones whenever it ends.
            while taken < len(rows) and not is_ending():
                first = taken
                chosen = rows[first : first + self._at_once]
                taken += len(chosen)
                results[first] = await loop.run_in_executor(self._pool, some, chosen)
                on_done(len(chosen))

        async with asyncio.TaskGroup() as workers:
            # One more than are computed at once, so that no processor waits for the next.
            for _ in range(self._threads + 1):
                workers.create_task(work())
        return [one for first in sorted(results) for one in results[first]]

    def close(self) -> None:
        """Let the threads end; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        """Close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

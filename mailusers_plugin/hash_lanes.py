"""Threads that hash passwords, with two lanes in front of them that take turns.

Checking passwords of whoever knocks is one lane, passwords for what somebody does who was let in is the other. So a
flood of log-ins fills its own lane: an administrator who adds a user waits for one hash at the most.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.texts import N_

T = TypeVar("T")

LOGINS: Final = 0
CHANGES: Final = 1
_NICENESS: Final = 10
_FULL: Final = N_("Too many passwords are being checked at once. Try again in a moment.")
_STOPPING: Final = N_("The server is stopping. Try again in a moment.")
_RETRY_SECONDS: Final = 2


def step_back() -> None:
    """Give this thread a lower priority than the event loop's, which must answer while all processors hash."""
    # Linux counts niceness by thread (setpriority(2), "C library/kernel differences").
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class HashLanes:
    """Runs functions in a bounded pool of threads, from two lanes in turns.

    Of the log-ins fewer run at once than there are processors. Whoever guesses passwords then leaves one to the event
    loop, whose threads would otherwise wait at each of their steps until the scheduler takes a processor from a hash.
    """

    def __init__(self, threads: int, logins: int, limit: int) -> None:
        """Start nothing yet.

        :param threads: how many run at once
        :param logins: how many of those may be :data:`LOGINS`, at least one
        :param limit: how many may be in a lane, those that run among them
        """
        self._limit = limit
        self._threads = ThreadPoolExecutor(
            threads, thread_name_prefix="mailusers-hash", initializer=step_back
        )
        self._changing = threading.Lock()
        self._waiting: tuple[deque[tuple[Future[Any], Callable[[], Any]]], ...] = (deque(), deque())
        self._at_once = (logins, threads)
        self._running = [0, 0]
        self._next = LOGINS
        self._closed = False

    def submit(self, lane: int, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a function.

        :param lane: :data:`LOGINS` or :data:`CHANGES`
        :raises UnavailableError: if the lane is full
        """
        future: Future[T] = Future()
        with self._changing:
            self.check_room(lane)
            self._waiting[lane].append((future, partial(function, *args)))
            # A thread takes what is next by the lanes, which need not be this.
            self._threads.submit(self._work)
        return future

    def check_room(self, lane: int) -> None:
        """Refuse what would find no room, before anything else is done for it.

        :raises UnavailableError: if the lane is full
        """
        if self._closed:
            raise UnavailableError(_STOPPING, _RETRY_SECONDS)
        if self._running[lane] + len(self._waiting[lane]) >= self._limit:
            raise UnavailableError(_FULL, _RETRY_SECONDS)

    def load(self, lane: int) -> tuple[int, int, int]:
        """Return how many functions of a lane run, how many wait, and how many may be in it.

        :param lane: :data:`LOGINS` or :data:`CHANGES`
        """
        return self._running[lane], len(self._waiting[lane]), self._limit

    def _work(self) -> None:
        """Do what is next, until there is nothing that may be done now."""
        while taken := self._take():
            lane, future, work = taken
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            with self._changing:
                self._running[lane] -= 1
            # What was hashed is not kept while the thread waits.
            del taken, future, work

    def _take(self) -> tuple[int, Future[Any], Callable[[], Any]] | None:
        with self._changing:
            for lane in (self._next, 1 - self._next):
                if self._waiting[lane] and self._running[lane] < self._at_once[lane]:
                    self._next = 1 - lane
                    self._running[lane] += 1
                    return lane, *self._waiting[lane].popleft()
        return None

    def close(self) -> None:
        """Let the threads end; what waits is dropped, and whoever waits for it is told so."""
        with self._changing:
            self._closed = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            left = [future for lane in self._waiting for future, _ in lane]
            for lane in self._waiting:
                lane.clear()
        for future in left:
            future.cancel()

"""Counts what happens in this process, for whoever watches it: requests, database calls, deliveries to hooks.

Plain numbers, so that counting costs a request less than a microsecond; :mod:`mailusers_plugin.metrics` says them in
Prometheus's format. No address ever becomes a part of a name here.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets of durations, in seconds: from a look-up by an index to a time-out."""

DELIVERED: Final = "delivered"
FAILED: Final = "failed"
TOO_SLOW: Final = "too_slow"


class Durations:
    """How many durations fell into which bucket, and their sum. One writer at a time."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        """Begin with none."""
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Measures:
    """All counts of one application.

    :ivar requests: by route, method and status; counted in the event loop only
    :ivar durations: of requests, by route
    :ivar calls: durations of database calls, waiting for a thread or a lock included, by database and kind
    :ivar deliveries: by implementation, hook and outcome: :data:`DELIVERED`, :data:`FAILED` or :data:`TOO_SLOW`
    :ivar failed_logins: how many log-ins were refused
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.durations: dict[str, Durations] = {}
        self.calls: dict[tuple[str, str], Durations] = {}
        self.deliveries: Counter[tuple[str, str, str]] = Counter()
        self._counting = threading.Lock()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request.

        :param route: the pattern, never the path
        :param seconds: from the request's last byte to the end of the answer
        """
        self.requests[route, method, status] += 1
        durations = self.durations.get(route)
        if durations is None:
            durations = self.durations[route] = Durations()
        durations.add(seconds)

    def delivery(self, implementation: str, hook: str, outcome: str) -> None:
        """Count a call of an implementation."""
        self.deliveries[implementation, hook, outcome] += 1

    @contextmanager
    def call(self, database: str, kind: str) -> Iterator[None]:
        """Count a database call, in any thread.

        :param database: ``accounts`` or ``state``
        :param kind: ``read`` or ``write``
        """
        began = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - began
            with self._counting:
                self.calls.setdefault((database, kind), Durations()).add(seconds)

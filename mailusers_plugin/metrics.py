"""Says in Prometheus's text format what is counted, and how much waits (https://prometheus.io/docs/practices/naming/)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from mailusers_plugin._version import __version__
from mailusers_plugin.directory import Directory
from mailusers_plugin.dispatch import Dispatcher
from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.measures import BOUNDS, Durations, Measures
from mailusers_plugin.models import Counts, Selection
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store.backlog import Waiting

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the format, which is the same whatever the version of the library."""


class Metrics:
    """Makes the text; each application has its own."""

    def __init__(
        self, measures: Measures, passwords: Passwords, dispatcher: Dispatcher, directory: Directory
    ) -> None:
        """Take where the numbers are."""
        self._measures = measures
        self._passwords = passwords
        self._dispatcher = dispatcher
        self._directory = directory

    async def text(self) -> bytes:
        """Return everything. What cannot be read now is left out, and ``mailusers_up`` is 0 then."""
        waiting: Iterable[Waiting] = ()
        users: Counts | None = None
        reachable = True
        try:
            waiting = await self._dispatcher.backlog()
            users = await self._directory.count(Selection())
        except MailUsersError:
            reachable = False
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([*self._counted(), *self._present(waiting, users, reachable)]))
        return generate_latest(registry)

    def _counted(self) -> Iterator[Metric]:
        measures = self._measures
        requests = CounterMetricFamily(
            "mailusers_http_requests", "Answered requests.", labels=("route", "method", "status")
        )
        for (route, method, status), number in list(measures.requests.items()):
            requests.add_metric((route, method, str(status)), number)
        yield requests
        durations = HistogramMetricFamily(
            "mailusers_http_request_duration_seconds",
            "Time from a request to the end of its answer.",
            labels=("route",),
        )
        for route, found in list(measures.durations.items()):
            _add(durations, (route,), found)
        yield durations
        calls = HistogramMetricFamily(
            "mailusers_database_call_duration_seconds",
            "Time of database transactions; of writes with what they wait for.",
            labels=("database", "kind"),
        )
        for names, found in list(measures.calls.items()):
            _add(calls, names, found)
        yield calls
        hooks = CounterMetricFamily(
            "mailusers_hook_calls",
            "Calls of implementations of hooks.",
            labels=("implementation", "hook", "outcome"),
        )
        for labels, number in list(measures.deliveries.items()):
            hooks.add_metric(labels, number)
        yield hooks

    def _present(self, waiting: Iterable[Waiting], users: Counts | None, reachable: bool) -> Iterator[Metric]:
        yield GaugeMetricFamily("mailusers_up", "Whether the databases answered.", value=float(reachable))
        info = GaugeMetricFamily("mailusers_build_info", "The version that runs.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        pool = GaugeMetricFamily(
            "mailusers_hash_pool",
            "Passwords that are being hashed, that wait, and that may be both.",
            labels=("lane", "what"),
        )
        for lane, (running, queued, limit) in self._passwords.load().items():
            for what, number in (("running", running), ("waiting", queued), ("limit", limit)):
                pool.add_metric((lane, what), number)
        yield pool
        depth = GaugeMetricFamily(
            "mailusers_outbox_deliveries", "Deliveries that are not done.", labels=("implementation", "state")
        )
        age = GaugeMetricFamily(
            "mailusers_outbox_oldest_age_seconds",
            "Age of the oldest pending event.",
            labels=("implementation",),
        )
        for one in waiting:
            depth.add_metric((one.implementation, "pending"), one.pending)
            depth.add_metric((one.implementation, "failed"), one.failed)
            age.add_metric((one.implementation,), one.oldest_seconds)
        yield depth
        yield age
        if users is not None:
            family = GaugeMetricFamily("mailusers_users", "Users by status.", labels=("status",))
            family.add_metric(("active",), users.active)
            family.add_metric(("archived",), users.archived)
            yield family


class _Families(Collector):
    """Hands over what was collected already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], found: Durations) -> None:
    # Copied at once, for other threads go on counting.
    numbers, seconds = list(found.buckets), found.seconds
    total, buckets = 0, []
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), numbers, strict=True):
        total += number
        buckets.append((bound, float(total)))
    family.add_metric(labels, buckets, seconds)

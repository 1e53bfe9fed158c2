"""Measures what the Core promises, each figure beside its baseline in the same run.

``python -m tests.benchmarks`` prints tables; it takes some four minutes on two cores.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler

from mailusers_plugin.passwords import Passwords
from tests.benchmarks import latency, rates
from tests.benchmarks.box import ADMIN, PASSWORD, panel_with
from tests.servers.panel import PanelProcess
from tests.support import basic

ADDS = 50
SMALL, LARGE = 10, 10_000


def milliseconds(seconds: float) -> str:
    """Return a duration for the table."""
    return f"{seconds * 1000:.1f} ms"


def row(what: str, *figures: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {' | '.join(figures)} |", flush=True)


def timed(function: Callable[[], Any]) -> float:
    """Return how long a call took, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def add_one_by_one(panel: PanelProcess, label: str) -> list[float]:
    """Add users one after the other; return the durations."""
    return [
        timed(lambda n=number: panel.api("/add", 0, email=f"{label}{n}@example.org", password=PASSWORD))  # type: ignore[misc]
        for number in range(ADDS)
    ]


def compare_adds() -> None:
    """Add to a small and to a large box, in turns, beside the hash alone."""
    passwords = Passwords("ARGON2ID")
    with panel_with(SMALL) as small, panel_with(LARGE) as large:
        add_one_by_one(small, "warm"), add_one_by_one(large, "warm")
        durations: dict[int, list[float]] = {SMALL: [], LARGE: []}
        hashes = []
        for turn in range(3):
            durations[SMALL] += add_one_by_one(small, f"a{turn}-")
            durations[LARGE] += add_one_by_one(large, f"a{turn}-")
            hashes += [timed(lambda: passwords.hash_now(PASSWORD)) for _ in range(ADDS)]
    row("hash alone, median", milliseconds(statistics.median(hashes)))
    for users, found in durations.items():
        row(
            f"add at {users} users, median (90th percentile)",
            milliseconds(statistics.median(found)),
            milliseconds(statistics.quantiles(found, n=10)[-1]),
        )


class Clients:
    """Requests from this process's own loop."""

    def __init__(self, url: str, authorization: str) -> None:
        """Take where to."""
        self._url = url
        self._headers = {"Authorization": authorization}
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_clients=200)

    async def post(self, path: str, body: str) -> None:
        """Send a form and expect success."""
        await self._http.fetch(
            HTTPRequest(self._url + path, "POST", self._headers, body, request_timeout=120)
        )

    async def get(self, path: str) -> float:
        """Return how long a GET took."""
        start = time.perf_counter()
        await self._http.fetch(HTTPRequest(self._url + path, headers=self._headers))
        return time.perf_counter() - start


async def latencies(clients: Clients, path: str, until: asyncio.Future[Any]) -> list[float]:
    """Ask again and again until something else is done."""
    found = []
    while not until.done():
        found.append(await clients.get(path))
        await asyncio.sleep(0.005)
    return found


async def while_adding(panel: PanelProcess) -> tuple[list[float], list[float]]:
    """Return the latencies of a cheap request at rest and while 50 adds hash."""
    login = panel.request("POST", "/admin/login", {}, user=ADMIN, password=PASSWORD).json()
    clients = Clients(panel.url, basic(ADMIN, login["api_key"]))
    path = f"/admin/mail/users/quota?email={ADMIN}"
    rest = await latencies(clients, path, asyncio.ensure_future(asyncio.sleep(3)))
    adds = [
        clients.post("/admin/mail/users/add", f"email=flood{number}@example.org&password={PASSWORD}")
        for number in range(ADDS)
    ]
    busy = await latencies(clients, path, asyncio.ensure_future(asyncio.gather(*adds)))
    return rest, busy


class Hello(RequestHandler):
    """A bare Tornado handler, as the baseline."""

    def get(self) -> None:
        """Say so."""
        self.finish("hello")


async def bare() -> list[float]:
    """Return the latencies of a bare handler in this process."""
    server = Application([("/", Hello)]).listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    clients = Clients(f"http://127.0.0.1:{port}", "")
    found = await latencies(clients, "/", asyncio.ensure_future(asyncio.sleep(1)))
    server.stop()
    return found


def compare_latencies() -> None:
    """A cheap request beside 50 adds that hash, at rest, and a bare handler."""
    row("bare Tornado handler, median", milliseconds(statistics.median(asyncio.run(bare()))))
    with panel_with(LARGE) as panel:
        rest, busy = asyncio.run(while_adding(panel))
    for label, found in (("at rest", rest), (f"while {ADDS} adds hash", busy)):
        worst = statistics.quantiles(found, n=100)[-1] if len(found) > 1 else found[0]
        row(
            f"cheap request {label}, median (99th percentile, of {len(found)})",
            milliseconds(statistics.median(found)),
            milliseconds(worst),
        )


if __name__ == "__main__":
    row("what", "figure", "")
    row("---", "---", "---")
    compare_adds()
    compare_latencies()
    print()
    rates.main()
    print()
    latency.main()

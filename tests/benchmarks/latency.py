"""Measures how long a cheap request takes while the panel is busy, beside a bare handler of the same process.

``python -m tests.benchmarks.latency [USERS]`` prints a table: at rest, while the whole list is asked for again and
again, while passwords are guessed as fast as the panel answers, while an import hashes and adds users, and while
users are added from many connections. Every client is a process of its own.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.benchmarks.box import ADMIN, PASSWORD
from tests.benchmarks.measured import LIST, QUOTA, Measured, measured
from tests.benchmarks.traffic import adds, elsewhere, flood, latencies, stream

USERS = 100_000
SECONDS = 10.0
PAUSE_SECONDS = 0.003
GUESSING_CONNECTIONS = 300
"""More than the setting hash_queue holds, so that some are told to come back later."""
ADDING_CONNECTIONS = 50
IMPORTED = 2000
Run = Callable[..., Future[Any]]


def say(label: str, asked: list[list[float]], remark: str = "") -> None:
    """Print a row: the bare handler, then the cheap request."""
    figures = []
    for found in asked:
        worst = statistics.quantiles(found, n=100)[-1]
        figures += [f"{statistics.median(found) * 1000:.1f} ms", f"{worst * 1000:.1f} ms"]
    print(f"| {label} | {' | '.join(figures)} | {len(asked[0])} | {remark} |", flush=True)


class Import:
    """An import that goes on: one file after the other."""

    def __init__(self, panel: Measured) -> None:
        self._panel = panel
        self._number = 0
        self._path = ""

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> Any:
        headers = {"Accept": "text/html"}
        return self._panel.panel.request(
            method, path, form, user=ADMIN, password=PASSWORD, headers=headers, redirects=False
        )

    def begin(self) -> None:
        """Upload a file and let it be imported."""
        self._number += 1
        lines = (f"i{self._number}-{n}@example.net,{PASSWORD}-{n}\n" for n in range(IMPORTED))
        self._path = self._ask("POST", "/admin/users/import", {"text": "".join(lines)}).headers["Location"]
        assert self._ask("POST", self._path, {"action": "import"}).status == 303

    def runs(self) -> bool:
        """Tell whether it is still going on."""
        return re.search("<progress", self._ask("GET", self._path).text) is not None


def settle(panel: Measured) -> None:
    """Wait until the hooks were told of everything, so that what comes next is measured by itself."""
    pending = re.compile(r'^mailusers_outbox_deliveries\{.*state="pending".*\} (?!0\.0$)', re.MULTILINE)
    while pending.search(
        panel.panel.request("GET", "/admin/mail/users/metrics", user=ADMIN, password=PASSWORD).text
    ):
        time.sleep(0.5)


def measure(panel: Measured, run: Run) -> None:
    """Print the table."""
    port = panel.panel.port
    both = [panel.bare, panel.with_session(QUOTA)]

    def ask(seconds: float = SECONDS) -> Future[list[list[float]]]:
        return run(latencies, both, seconds, PAUSE_SECONDS)

    run(latencies, both, 1.0, PAUSE_SECONDS).result()
    say("at rest", ask().result())

    streaming = run(stream, panel.with_session(LIST), SECONDS + 2)
    time.sleep(1)
    found = ask().result()
    say("whole list", found, f"{streaming.result() / SECONDS / 1e6:.0f} MB/s of the list")

    guessing = run(flood, port, "/admin/login", ADMIN, GUESSING_CONNECTIONS, SECONDS + 2)
    time.sleep(1)
    found = ask().result()
    say("log-in flood", found, ", ".join(f"{n} × {status}" for status, n in guessing.result().items()))
    settle(panel)

    begun = Import(panel)
    begun.begin()
    time.sleep(0.5)
    found = ask().result()
    say("import", found, "went on to the end" if begun.runs() else "ended before")
    while begun.runs():
        time.sleep(0.5)
    settle(panel)

    adding = run(adds, panel.with_session("/admin/mail/users/add"), ADDING_CONNECTIONS, SECONDS + 2)
    time.sleep(1)
    found = ask().result()
    say("adds", found, f"{adding.result()} added")


def main() -> None:
    """Measure a box of as many users as the command line says."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else USERS
    print(
        "| meanwhile | bare: median | 99th percentile | GET quota, session: median | 99th percentile | of | |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with elsewhere() as run, measured(users, throttled=False) as panel:
        measure(panel, run)


if __name__ == "__main__":
    main()

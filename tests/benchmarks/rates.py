"""Measures requests a second with a session, an API key, an API token and a password, beside a bare Tornado handler.

``python -m tests.benchmarks.rates`` prints a table; ``--engines`` also measures PostgreSQL and MariaDB. The server
has one core and the client another, both are kept busy by several connections, and each kind of request has its turn
some times over, so that whatever else the machine does meets all of them. Beside the rate stands the processor time
that the server used for a request, which says the same also where other programs take its core away.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.measured import PRIVILEGES, QUOTA, Measured, measured
from tests.benchmarks.traffic import Asked, elsewhere, rate
from tests.servers.databases import mariadb, postgresql

USERS = 1000
TURNS = 7
SECONDS = 1.0
CONNECTIONS = 8
Run = Callable[..., Future[Any]]


def used_seconds(pid: int) -> float:
    """Return the processor time that a process and its threads have used; Linux counts it in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def measure(label: str, panel: Measured, run: Run, client_core: int | None) -> None:
    """Print the rows of one panel."""
    kinds: dict[str, Asked] = {
        "bare Tornado handler": panel.bare,
        "session, GET quota": panel.with_session(QUOTA),
        "session, GET privileges": panel.with_session(PRIVILEGES),
        "system API key, GET quota": panel.with_key(QUOTA),
        "API token, GET quota": panel.with_token(QUOTA),
        "password, GET quota": panel.with_password(QUOTA),
    }
    process = panel.panel._process
    assert process is not None
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(TURNS):
        for kind, asked in kinds.items():
            before = used_seconds(process.pid)
            found = run(rate, asked, CONNECTIONS, SECONDS, client_core).result()
            costs[kind].append((used_seconds(process.pid) - before) / (found * SECONDS))
            rates[kind].append(found)
    bare_rate, bare_cost = (statistics.median(every["bare Tornado handler"]) for every in (rates, costs))
    for kind in kinds:
        found, cost = statistics.median(rates[kind]), statistics.median(costs[kind])
        print(
            f"| {label} | {kind} | {found:.0f} | {found / bare_rate:.0%} | {cost * 1e6:.0f} µs | "
            f"{bare_cost / cost:.0%} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rates", description=__doc__)
    parser.add_argument("--engines", action="store_true", help="measure PostgreSQL and MariaDB as well")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    print("| accounts in | request | a second | of bare | processor time | of bare |")
    print("| --- | --- | --- | --- | --- | --- |")
    with elsewhere() as run:
        with measured(USERS, core=server_core) as panel:
            measure("SQLite", panel, run, client_core)
        if given.engines:
            for label, server in (("PostgreSQL", postgresql), ("MariaDB", mariadb)):
                with ExitStack() as stack:
                    url = stack.enter_context(server())
                    panel = stack.enter_context(measured(1, core=server_core, database=url))
                    measure(label, panel, run, client_core)


if __name__ == "__main__":
    main()

"""Measures the list of users at several sizes, each figure beside a baseline of the same run.

``python -m tests.benchmarks.lists`` prints a table for 1 000, 10 000, 100 000 and 1 000 000 users; other sizes are
given behind it. The last size takes some minutes and 2 GB in the folder for temporary files.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson

from mailusers_plugin.models import ADMIN as ADMIN_PRIVILEGE
from mailusers_plugin.models import Actor, Change, Selection
from mailusers_plugin.runtime import Runtime
from tests.benchmarks.__main__ import Clients, latencies, milliseconds, row
from tests.benchmarks.box import ADMIN, ENVIRONMENT, PASSWORD, box_of, settings_of
from tests.servers.panel import PanelProcess
from tests.support import basic

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LIST = "/admin/mail/users?format=json"
REPEATED = 30
CHANGES = 40
SORTS = [sign + name for name in ("email", "size", "used", "quota") for sign in ("", "-")]
FILTERS = {
    "all": Selection(),
    "inactive": Selection(status="inactive"),
    "active": Selection(status="active"),
    "largest domain": Selection(domain="domain0.example.com"),
    "its inactive": Selection(domain="domain0.example.com", status="inactive"),
    "admins": Selection(privilege=ADMIN_PRIVILEGE),
    "q: all match": Selection("user"),
    "q: many": Selection("9@domain"),
    "q: few": Selection("user77"),
    "q: one": Selection("user999@"),
    "q: none": Selection("nobody"),
    "q: 2 letters": Selection("99"),
    "q: 1 letter": Selection("7"),
    "q: 2 letters, none": Selection("zq"),
}


def bare_loop(state: Path) -> tuple[float, int]:
    """Read the same rows in the same order, sizes included, and encode each; return seconds and bytes."""
    began, size = time.perf_counter(), 0
    query = (
        "SELECT email, privileges, quota, limit_bytes, box_bytes, percent, checked_at, archived "
        "FROM mailusers_directory ORDER BY domain, archived, email"
    )
    with closing(sqlite3.connect(state)) as connection:
        cursor = connection.execute(query)
        while rows := cursor.fetchmany(500):
            size += sum(
                len(
                    orjson.dumps(
                        {
                            "email": email,
                            "privileges": privileges.split("\n") if privileges else (),
                            "status": "inactive" if archived else "active",
                            "quota": quota,
                            "box_quota": limit,
                            "box_size": f"{box_bytes}",
                            "box_size_bytes": box_bytes,
                            "percent": f"{percent:3.0f}%",
                            "size_checked_at": checked_at,
                        }
                    )
                )
                for email, privileges, quota, limit, box_bytes, percent, checked_at, archived in rows
            )
    return time.perf_counter() - began, size


def memory(pid: int, name: str = "VmRSS") -> int:
    """Return a process's memory in KiB."""
    match = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


def pid_of(panel: PanelProcess) -> int:
    """Return the panel's process id."""
    assert panel._process is not None
    return panel._process.pid


@contextmanager
def asking(panel: PanelProcess, authorization: str, path: str) -> Iterator[socket.socket]:
    """Send a request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", panel.port)) as connection:
        head = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\n\r\n"
        )
        connection.sendall(head.encode())
        yield connection


def whole_list(panel: PanelProcess, authorization: str, path: str = LIST) -> tuple[float, float, int]:
    """Read the whole list as fast as it comes; return seconds until the first byte and the last, and bytes."""
    buffer = bytearray(2**20)
    began, first, size = time.perf_counter(), 0.0, 0
    with asking(panel, authorization, path) as connection:
        while count := connection.recv_into(buffer):
            first = first or time.perf_counter() - began
            size += count
    assert bytes(buffer[:count]).find(b"HTTP/1.1 5") < 0
    return first, time.perf_counter() - began, size


def slowly(panel: PanelProcess, authorization: str, seconds: float) -> int:
    """Take the list at 1 MB a second; return the panel's largest memory meanwhile, in KiB."""
    largest, until = 0, time.perf_counter() + seconds
    with asking(panel, authorization, LIST) as connection:
        while time.perf_counter() < until and connection.recv(100_000):
            largest = max(largest, memory(pid_of(panel)))
            time.sleep(0.1)
    return largest


def median(function: Callable[[], Any], times: int = REPEATED) -> float:
    """Return a call's median duration."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def unchanged(panel: PanelProcess, authorization: str) -> float:
    """Return how long the answer takes that nothing has changed."""
    connection = http.client.HTTPConnection("127.0.0.1", panel.port)
    headers = {"Authorization": authorization}
    connection.request("GET", LIST, headers=headers)
    answer = connection.getresponse()
    tag = answer.headers["ETag"]
    while answer.read(2**20):
        pass

    def ask() -> None:
        connection.request("GET", LIST, headers={**headers, "If-None-Match": tag})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 304

    with closing(connection):
        return median(ask)


async def beside(panel: PanelProcess, authorization: str, during: Callable[[], Any]) -> list[float]:
    """Return the latencies of a cheap request while something else is done in a thread."""
    clients = Clients(panel.url, authorization)
    task = asyncio.get_running_loop().run_in_executor(None, during)
    return await latencies(clients, f"/admin/mail/users/quota?email={ADMIN}", task)


def spread(found: list[float]) -> str:
    """Return median and 99th percentile."""
    return f"{milliseconds(statistics.median(found))}, {milliseconds(statistics.quantiles(found, n=100)[-1])}"


def fetch(panel: PanelProcess, authorization: str, times: int) -> None:
    """Read the whole list some times in a process of its own, so that this one's clock is not disturbed."""
    command = ["curl", "-s", "-o", "/dev/null", "-H", f"Authorization: {authorization}", panel.url + LIST]
    for _ in range(times):
        subprocess.run(command, check=True)


def changed_by_another(database: Path, state: Path) -> None:
    """Change a quota as another program does, and wait until the list has it."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute("UPDATE users SET quota = '77M' WHERE email = ?", (ADMIN,))
    with closing(sqlite3.connect(state)) as connection:
        query = "SELECT quota FROM mailusers_directory WHERE email = ?"
        while connection.execute(query, (ADMIN,)).fetchone() != ("77M",):
            time.sleep(0.1)


def measure_panel(users: int, storage: Path) -> None:
    """Measure what a panel answers."""
    state = storage / "mailusers" / "state.sqlite"
    with PanelProcess(storage, environment=ENVIRONMENT) as panel:
        login = panel.request("POST", "/admin/login", {}, user=ADMIN, password=PASSWORD).json()
        authorization = basic(ADMIN, login["api_key"])
        # What it looks for when it starts is not measured.
        while "ETag" not in panel.request("HEAD", LIST, user=ADMIN, password=login["api_key"]).headers:
            time.sleep(0.5)
        panel.api(f"?{LIST.partition('?')[2]}&limit=50")
        idle = memory(pid_of(panel))
        Path(f"/proc/{pid_of(panel)}/clear_refs").write_text("5")
        turns = [(bare_loop(state)[0], whole_list(panel, authorization)) for _ in range(3)]
        peak = memory(pid_of(panel), "VmHWM")
        bare = min(seconds for seconds, _ in turns)
        first, whole, size = min((found for _, found in turns), key=lambda found: found[1])
        plain = min(whole_list(panel, authorization, "/admin/mail/users")[1] for _ in range(3))
        row(f"{users}: bare loop over the same rows", milliseconds(bare), "")
        row(
            f"{users}: JSON list, first byte, of the bare loop",
            milliseconds(whole),
            milliseconds(first),
            f"{whole / bare:.2f}",
        )
        row(f"{users}: its size, plain list", f"{size / 1e6:.1f} MB", milliseconds(plain))
        row(f"{users}: 304", milliseconds(unchanged(panel, authorization)), "")
        slow = slowly(panel, authorization, 5)
        row(
            f"{users}: memory idle, above it while listing, with a slow reader",
            f"{idle / 1024:.0f} MB",
            f"{(peak - idle) / 1024:.0f} MB",
            f"{(slow - idle) / 1024:.0f} MB",
        )
        rest = asyncio.run(beside(panel, authorization, lambda: time.sleep(3)))
        row(f"{users}: cheap request at rest, median, 99th percentile", spread(rest), "")
        busy = asyncio.run(beside(panel, authorization, lambda: fetch(panel, authorization, 3)))
        row(f"{users}: the same while the list is sent", spread(busy), "")
        began = time.perf_counter()
        database = storage / "mail" / "users.sqlite"
        busy = asyncio.run(beside(panel, authorization, lambda: changed_by_another(database, state)))
        took = milliseconds(time.perf_counter() - began)
        row(f"{users}: the same while everything is compared, which takes", spread(busy), took)
        row(
            f"{users}: memory above idle then", f"{(memory(pid_of(panel), 'VmHWM') - idle) / 1024:.0f} MB", ""
        )


async def measure_pages(users: int, runtime: Runtime) -> None:
    """Measure pages of 50 in the server, count included: the first, and one in the middle."""
    directory = runtime.directory
    for name, selection in FILTERS.items():
        found: dict[str, list[float]] = {sort: [] for sort in SORTS}
        for sort, durations in found.items():
            cursor = ""
            for _ in range(REPEATED // 3):
                began = time.perf_counter()
                page, _ = await directory.page_of_lines(selection, sort, cursor, 50)
                durations.append(time.perf_counter() - began)
                cursor = page.next or ""
        slowest = max(found, key=lambda sort: statistics.median(found[sort]))
        row(
            f"{users}: page of 50, {name}, median of {len(SORTS)} orders, of the slowest ({slowest})",
            milliseconds(statistics.median(duration for each in found.values() for duration in each)),
            milliseconds(statistics.median(found[slowest])),
        )
        # A text is counted once; from then on the count is kept.
        directory._text_counts._known.clear()
        began = time.perf_counter()
        await directory.page_of_lines(selection, "email", "", 50)
        row(f"{users}: the same asked for the first time", milliseconds(time.perf_counter() - began), "")


async def measure_changes(users: int, runtime: Runtime) -> None:
    """Measure single changes, the hash aside."""
    stored = runtime.passwords.hash_now(PASSWORD)

    async def hashed(password: str) -> str:
        return stored

    runtime.passwords.hash = hashed  # type: ignore[method-assign]
    service, actor = runtime.service, Actor(ADMIN, "basic")
    emails = [f"new{number}@domain{number}.example.com" for number in range(CHANGES)]
    quotas = itertools.cycle(("1G", "2G"))
    changes: dict[str, Callable[[str], Awaitable[Change]]] = {
        "add": lambda email: service.add(actor, email, PASSWORD, (), "5G"),
        "set quota": lambda email: service.set_quota(actor, email, next(quotas)),
        "archive": lambda email: service.archive(actor, email),
    }
    for what, change in changes.items():
        found = []
        for email in emails:
            began = time.perf_counter()
            await change(email)
            found.append(time.perf_counter() - began)
        row(f"{users}: {what}, median", milliseconds(statistics.median(found)), "")


async def measure_runtime(users: int, storage: Path) -> None:
    """Measure what needs no panel."""
    # The pause between two commits, which Postfix has on the same machine, is no work.
    runtime = Runtime(settings_of(storage, commit_pause_seconds=0))
    await runtime.dispatcher.subscribe()
    await measure_pages(users, runtime)
    await measure_changes(users, runtime)
    await runtime.stop()


def main() -> None:
    """Print the table."""
    row("what", "", "")
    row("---", "---", "---")
    for users in [int(text) for text in sys.argv[1:]] or SIZES:
        with box_of(users) as storage:
            runtime = Runtime(settings_of(storage))
            began = time.perf_counter()
            runtime.directory.compare_now()
            row(f"{users}: list made for the first time", milliseconds(time.perf_counter() - began), "")
            began = time.perf_counter()
            runtime.directory.compare_now()
            row(f"{users}: everything compared", milliseconds(time.perf_counter() - began), "")
            runtime.close()
            row(
                f"{users}: state.sqlite",
                f"{(storage / 'mailusers' / 'state.sqlite').stat().st_size / 1e6:.0f} MB",
                "",
            )
            measure_panel(users, storage)
            asyncio.run(measure_runtime(users, storage))


if __name__ == "__main__":
    main()

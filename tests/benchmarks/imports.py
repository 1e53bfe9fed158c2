"""Measures importing beside bare hashing: ``python -m tests.benchmarks.imports``; some minutes on two cores.

Beside the time that passes, which on a busy machine says little, stands the processors' time that was used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mailusers_plugin.hash_lanes import step_back
from mailusers_plugin.import_models import Candidate
from mailusers_plugin.models import Actor
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.server_lock import ServerLock
from mailusers_plugin.service_import import event_id
from mailusers_plugin.settings import Settings
from tests.benchmarks.__main__ import milliseconds, row
from tests.benchmarks.box import ENVIRONMENT, PASSWORD
from tests.servers.panel import ROOT

LINES = 1000
MANY = (10_000, 20_000)
HASHED = (20_000, 200_000)
"""Lines whose passwords another system has hashed: what is left of an import without hashing."""
TURNS = 3
ACTOR = Actor("boss@example.com", "cookie")


@dataclass(frozen=True)
class Spent:
    """What something took, in seconds."""

    wall: float
    processors: float


class Clock:
    """Begins to count when it is made."""

    def __init__(self) -> None:
        self._wall, self._processors = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        """Return what was used since."""
        return Spent(time.perf_counter() - self._wall, time.process_time() - self._processors)


def bare(passwords: Passwords) -> Spent:
    """Return what hashing alone takes on all processors, in threads that step back as ours do."""
    clock = Clock()
    with ThreadPoolExecutor(passwords.threads, initializer=step_back) as pool:
        list(pool.map(passwords.hash_now, [PASSWORD] * LINES))
    return clock.spent()


async def imported(runtime: Runtime, name: str) -> tuple[Spent, Spent]:
    """Return what it takes to check a file, and to import it with everything that belongs to it."""
    text = "".join(f"{name}-user{n}@example.org,{PASSWORD}\n" for n in range(LINES))
    clock = Clock()
    job_id = await runtime.imports.upload(ACTOR, "users.csv", text.encode())
    checked, clock = clock.spent(), Clock()
    await runtime.imports.run(ACTOR, job_id, leave_out=False, restore=None)
    held = runtime.imports._memory.peek(job_id)
    assert held is not None
    assert held.task is not None
    await held.task
    assert held.result is not None
    return checked, clock.spent()


# Not ru_maxrss, in which stands what the process that started it had.
_PROGRAM = """
import atexit, pathlib
from mailusers_plugin.cli import main
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
main(prog_name="mailusers")
"""


class Command:
    """``mailusers user import`` as a process of its own, on a box whose events a server delivers."""

    def __init__(self, folder: Path) -> None:
        self._box = folder / "command"
        self._file = folder / "users.csv"
        Runtime(Settings(storage_root=self._box, doveadm=(), password_scheme="ARGON2ID")).close()
        # What delivering takes is no part of this: a lock says that somebody else does it.
        self._lock = ServerLock(self._box / "mailusers" / "server.lock")
        self._lock.share()

    def run(self, lines: Iterable[str], *options: str) -> tuple[Spent, float, float]:
        """Return what all of it takes, how long adding takes, in seconds, and its memory, in MB."""
        with self._file.open("w") as file:
            file.writelines(lines)
        command = [sys.executable, "-c", _PROGRAM, "user", "import", str(self._file), *options]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--storage-root", str(self._box)],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        assert process.returncode == 0, output
        said = re.search(r" in ([0-9.]+) s, ", output)
        adding = float(said[1]) if said else 0.0
        memory = re.search(r"^VmHWM:\s+([0-9]+) kB", output, re.MULTILINE)
        assert memory is not None
        return Spent(wall, usage.ru_utime + usage.ru_stime), adding, int(memory[1]) / 1024


def hashed_lines(count: int, stored: str) -> Iterator[str]:
    """Yield the lines of a file in which all have the same hash."""
    yield "address,password_hash\n"
    for number in range(count):
        yield f'h{number}@example{number % 1000}-{count}.org,"{stored}"\n'


async def log_ins(runtime: Runtime, during: asyncio.Future[object]) -> list[float]:
    """Return how long a password's verification takes, again and again, until something else is done."""
    stored = runtime.passwords.hash_now(PASSWORD)
    found = []
    while not during.done():
        start = time.perf_counter()
        await runtime.passwords.verify(PASSWORD, stored)
        found.append(time.perf_counter() - start)
        await asyncio.sleep(0.3)
    return found


@contextlib.contextmanager
def reader(database: Path) -> Iterator[list[float]]:
    """Look an address up all the time, as Postfix does, and give the spans in which that was refused."""
    spans: list[float] = []
    stop = threading.Event()

    def look() -> None:
        refused_since = 0.0
        while not stop.is_set():
            with contextlib.closing(sqlite3.connect(database, timeout=0)) as connection:
                try:
                    connection.execute("SELECT 1 FROM users WHERE email = 'x'").fetchall()
                except sqlite3.OperationalError:
                    refused_since = refused_since or time.perf_counter()
                    continue
            if refused_since:
                spans.append(time.perf_counter() - refused_since)
                refused_since = 0.0

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield spans
    finally:
        stop.set()
        thread.join()


async def add_many(runtime: Runtime, count: int) -> tuple[float, list[float]]:
    """Return how long adding users takes whose passwords are hashed, and the spans in which readers were refused."""
    stored = runtime.passwords.hash_now(PASSWORD)
    job_id = f"{count:032x}"
    many = [
        Candidate(n, f"many{count}-{n}@example.net", stored, (), "5G", False, event_id(job_id, n))
        for n in range(count)
    ]
    with reader(runtime.settings.database_path) as spans:
        start = time.perf_counter()
        await runtime.imports._bulk.add_all(ACTOR, many, leave_out=False)
        took = time.perf_counter() - start
    return took, spans


async def measure(folder: Path) -> None:
    """Print the table."""
    settings = Settings(
        storage_root=folder / "box", doveadm=(), password_scheme="ARGON2ID", usage_interval_seconds=0
    )
    runtime = Runtime(settings)
    await runtime.start()
    alone, whole, checks, commands, adding = [], [], [], [], []
    command = Command(folder)
    for turn in range(TURNS):
        alone.append(await asyncio.to_thread(bare, runtime.passwords))
        checked, took = await imported(runtime, f"turn{turn}")
        checks.append(checked)
        whole.append(took)
        lines = [f"turn{turn}-user{n}@example.org,{PASSWORD}\n" for n in range(LINES)]
        took, seconds, _ = await asyncio.to_thread(command.run, lines)
        commands.append(took)
        adding.append(seconds)
    for label, found in (
        (f"{LINES} hashes alone on {os.cpu_count()} cores", alone),
        (f"{LINES} lines checked for the preview", checks),
        (f"{LINES} users imported, from the button to the list", whole),
        (f"{LINES} users imported by the command, from its start to its end", commands),
    ):
        wall = statistics.median(one.wall for one in found)
        used = statistics.median(one.processors for one in found)
        row(f"{label}: passed (used), median of {TURNS}", f"{milliseconds(wall)} ({milliseconds(used)})")
    for label, shares in (
        (
            "speed beside bare hashing, by time passed",
            [a.wall / w.wall for a, w in zip(alone, whole, strict=True)],
        ),
        ("the same by time used", [a.processors / w.processors for a, w in zip(alone, whole, strict=True)]),
        (
            "the command beside bare hashing, by time passed",
            [a.wall / c.wall for a, c in zip(alone, commands, strict=True)],
        ),
        (
            "the same without its start and the check",
            [a.wall / seconds for a, seconds in zip(alone, adding, strict=True)],
        ),
        (
            "the same by time used, with its start and the check",
            [a.processors / c.processors for a, c in zip(alone, commands, strict=True)],
        ),
    ):
        row(label, f"{statistics.median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})")
    rest = await log_ins(runtime, asyncio.ensure_future(asyncio.sleep(5)))
    busy = await log_ins(runtime, asyncio.ensure_future(imported(runtime, "log-ins")))
    for label, durations in (("at rest", rest), ("during an import", busy)):
        row(
            f"a log-in's hash {label}, median (longest of {len(durations)})",
            f"{milliseconds(statistics.median(durations))} ({milliseconds(max(durations))})",
        )
    stored = runtime.passwords.hash_now(PASSWORD)
    for count in HASHED:
        for label, options in (("checked by --dry-run", ["--dry-run"]), ("imported", [])):
            hashed = hashed_lines(count, stored)
            took, _, megabytes = await asyncio.to_thread(command.run, hashed, *options)
            row(
                f"{count} lines with hashes {label}: lines a second (memory)",
                f"{count / took.wall:.0f} ({megabytes:.0f} MB)",
            )
    for count in MANY:
        seconds, spans = await add_many(runtime, count)
        row(f"{count} users added in one transaction", milliseconds(seconds))
        row(
            "readers refused meanwhile: times, longest",
            f"{len(spans)}, {milliseconds(max(spans, default=0.0))}",
        )
    await runtime.stop()


if __name__ == "__main__":
    row("what", "figure")
    row("---", "---")
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as temporary:
        asyncio.run(measure(Path(temporary)))

"""Measures reading sizes: ``python -m tests.benchmarks.usage [MAILBOXES]``, with 100 000 by default; some minutes.

Beside each pass over maildirsize files stands a bare loop over the same files in the same run: ``os.stat`` alone where
nothing has changed, ``os.open``, ``os.read`` and ``os.close`` where everything is read. What a pass writes (sizes and
the list) is measured apart from what it reads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailusers_plugin.mailserver.maildir_sizes import MaildirSizes
from mailusers_plugin.mailserver.usage import Pace
from mailusers_plugin.refresh import UsageRefresher
from mailusers_plugin.refresh_sources import ClonedSizes
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.benchmarks.__main__ import milliseconds, row
from tests.support import QUICK, run_sql

MAILBOXES = 100_000
CHANGED = 0.01
SETTLE_SECONDS = 2.1
ROUNDS = 3


def make_mailboxes(root: Path, count: int) -> list[str]:
    """Make mailboxes that hold nothing but their file, in few large domains and many small ones; return the paths."""
    chance = random.Random(1)
    domains = [f"domain{number}.example.com" for number in range(max(1, count // 50))]
    weights = [1 / (rank + 1) for rank in range(len(domains))]
    paths = []
    for number, domain in enumerate(chance.choices(domains, weights, k=count)):
        folder = f"{root}/{domain}/user{number}"
        os.makedirs(folder)  # noqa: PTH103
        path = f"{folder}/maildirsize"
        with Path(path).open("wb") as file:
            file.write(b"5368709120S\n%d %d\n" % (chance.randint(0, 10**9), chance.randint(0, 10**4)))
            file.writelines(b"%d 1\n" % chance.randint(1000, 100000) for _ in range(chance.randint(0, 50)))
        paths.append(path)
    # In the order of the folders, as a scanner meets them.
    return sorted(paths)


def bare_stat(paths: list[str]) -> None:
    """Do the least that it takes to learn that nothing has changed."""
    for path in paths:
        os.stat(path)  # noqa: PTH116


def bare_read(paths: list[str]) -> None:
    """Do the least that it takes to have every file's content."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, 65536)
        os.close(descriptor)


@dataclass(frozen=True)
class Spent:
    """What something took, in seconds: the time that passed, and the processors', which others change less."""

    wall: float
    processors: float

    def __str__(self) -> str:
        """Say both."""
        return f"{milliseconds(self.wall)} ({milliseconds(self.processors)})"

    def beside(self, bare: Spent) -> str:
        """Say how many times a bare loop that is, by both."""
        return f"{self.wall / bare.wall:.1f} ({self.processors / bare.processors:.1f})"


def once(function: Callable[[], object]) -> Spent:
    """Return what a call took."""
    wall, processors = time.perf_counter(), time.process_time()
    function()
    return Spent(time.perf_counter() - wall, time.process_time() - processors)


def best(function: Callable[[], object], rounds: int = ROUNDS) -> Spent:
    """Return the least that some calls took."""
    found = [once(function) for _ in range(rounds)]
    return Spent(min(one.wall for one in found), min(one.processors for one in found))


def touch(paths: list[str], share: float) -> int:
    """Let a message come into some of the mailboxes; return how many."""
    some = random.Random(2).sample(paths, max(1, int(len(paths) * share)))
    for path in some:
        with Path(path).open("ab") as file:
            file.write(b"1234 1\n")
    return len(some)


def drop_caches() -> bool:
    """Let the next look at each file go to the disk; tell whether that is possible here."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


class Ticker:
    """Counts how late an event loop wakes up that wants to every millisecond."""

    def __init__(self) -> None:
        self.late: list[float] = []

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Tick until the end of the block."""
        stop = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._tick(stop)))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    async def _tick(self, stop: threading.Event) -> None:
        while not stop.is_set():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            self.late.append(time.perf_counter() - start - 0.001)

    def figures(self) -> str:
        """Return median, 99th percentile and longest."""
        ordered = sorted(self.late)
        picked = (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])
        return " / ".join(milliseconds(each) for each in picked)


def refresher(runtime: Runtime, share: float = 1.0) -> UsageRefresher:
    """Return one that reads files and tells nobody, so that only itself is measured."""
    return UsageRefresher(runtime.state, MaildirSizes(runtime.mailboxes), lambda _: None, share=share)


def measure_files(runtime: Runtime, count: int) -> None:
    """Print the passes over files."""
    paths = make_mailboxes(runtime.mailboxes.root, count)
    time.sleep(SETTLE_SECONDS)
    reading = refresher(runtime)
    bare_stat(paths)
    stat, read = best(lambda: bare_stat(paths)), best(lambda: bare_read(paths))
    row(f"os.stat of {count} files, bare", str(stat), "1")
    row(f"os.open, os.read, os.close of {count} files, bare", str(read), "1")
    source = MaildirSizes(runtime.mailboxes)

    class Nothing:
        """Nothing is known."""

        def marks(self, emails: object) -> dict[str, int | None]:
            """Return nothing."""
            return {}

        def after(self, email: str) -> list[str]:
            """Return nothing."""
            return []

    first = best(lambda: sum(1 for _ in source.read("", Nothing(), Pace())))
    row("every file read and added up, nothing stored", str(first), first.beside(read))
    took = once(reading.run)
    row("first pass, every size stored", str(took), took.beside(read))
    unchanged = best(reading.run)
    row("pass, nothing changed", str(unchanged), unchanged.beside(stat))
    touched = touch(paths, CHANGED)
    time.sleep(SETTLE_SECONDS)
    took = once(reading.run)
    row(f"pass, {touched} changed", str(took), took.beside(stat))
    if drop_caches():
        cold = once(lambda: bare_stat(paths))
        row("os.stat, bare, from the disk", str(cold), "1")
        drop_caches()
        took = once(reading.run)
        row("pass, nothing changed, from the disk", str(took), took.beside(cold))
    idle = Ticker()
    with idle.beside():
        time.sleep(3)
    row(
        "how late a loop wakes that nothing else runs beside: median / 99th percentile / longest",
        idle.figures(),
        "",
    )
    for share in (1.0, 0.25):
        paced = refresher(runtime, share)
        ticker = Ticker()
        with ticker.beside():
            took = once(paced.run)
        row(f"pass, nothing changed, usage_share {share:g}", str(took), "")
        row("… how late a loop wakes meanwhile: median / 99th percentile / longest", ticker.figures(), "")
    gc.collect()
    tracemalloc.start()
    reading.run()
    row(
        "… memory of Python objects above idle, at the most",
        f"{tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB",
        "",
    )
    tracemalloc.stop()


def measure_clone(folder: Path, count: int) -> None:
    """Print the passes over what Dovecot's quota_clone has written on SQLite."""
    settings = Settings(storage_root=folder / "clone", **{**QUICK, "usage_source": "quota_clone"})
    runtime = Runtime(settings)
    fill = (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
        "INSERT INTO mailusers_quota SELECT 'user' || i || '@domain' || (i % 997) || '.example.com', i, 1 FROM n"
    )
    run_sql(settings.usage_file, fill, count)
    assert isinstance(runtime.usage.source, ClonedSizes)
    reading = UsageRefresher(runtime.state, runtime.usage.source, lambda _: None)
    row(f"quota_clone on SQLite, first pass over {count}", str(once(reading.run)), "")
    row("quota_clone, nothing changed", str(best(reading.run)), "")
    run_sql(
        settings.usage_file, "UPDATE mailusers_quota SET box_bytes = box_bytes + 1 WHERE box_bytes % 100 = 0"
    )
    row("quota_clone, 1 % changed", str(once(reading.run)), "")
    runtime.close()


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MAILBOXES
    folder = Path(tempfile.mkdtemp(prefix="mailusers-bench-"))
    try:
        row("what", "passed (processors used)", "times the bare loop")
        row("---", "---", "---")
        runtime = Runtime(Settings(storage_root=folder / "box", **QUICK))
        measure_files(runtime, count)
        runtime.close()
        measure_clone(folder, count)
        row(
            "memory of the process at the most",
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB",
            "",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

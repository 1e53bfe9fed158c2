"""Measures what several panel processes over one database do, beside a bare loop of the same transactions.

``python -m tests.benchmarks.processes`` takes about three minutes and prints the table of ``docs/scaling.md``.
"""

from __future__ import annotations

import http.client
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from sqlalchemy import select, text

from mailusers_plugin.models import Account
from mailusers_plugin.store import accounts, deliveries, schema
from mailusers_plugin.store.database import Connection
from tests.servers.clients import wait_until
from tests.servers.cluster import Cluster, make_cluster
from tests.servers.databases import mariadb, postgresql
from tests.servers.live import Events
from tests.servers.panel import PanelProcess
from tests.support import basic

CLIENTS = 12
SECONDS = 8.0
USERS = 500
SAMPLES = 20


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    :ivar bare: transactions a second of a bare loop with as many connections, two of them counted as one change
    :ivar told_ms: from a change to the end of its delivery, while one client makes changes
    :ivar live_ms: from the answer to the event on a stream of the last process
    """

    engine: str
    processes: int
    bare: float
    changes: float
    told_ms: float
    live_ms: float


def fill(cluster: Cluster) -> list[str]:
    """Add users without hashing anything, and wait until they are listed."""
    emails = [f"user{number}@example{number % 10}.com" for number in range(USERS)]
    stored = "{SHA512-CRYPT}$6$" + "x" * 86
    with cluster.runtime() as runtime:
        everybody = [Account(email, stored, (), "1G") for email in emails]
        runtime.database.write_now(accounts.add_all, everybody)
        runtime.directory.compare_now()
    return emails


def for_a_while(work: Callable[[int], Iterator[None]]) -> float:
    """Return how often several threads did something, a second."""
    ending = threading.Event()

    def repeat(number: int) -> int:
        done = 0
        for _ in work(number):
            done += 1
            if ending.is_set():
                break
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(repeat, number) for number in range(CLIENTS)]
        time.sleep(SECONDS)
        ending.set()
        return sum(one.result() for one in running) / (time.perf_counter() - began)


def set_quotas(cluster: Cluster, panels: list[PanelProcess], emails: list[str]) -> float:
    """Return how many quotas a second are set through some panels, each client on a connection that it keeps."""
    key = (cluster.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
    headers = {
        "Authorization": basic(key, ""),
        "Content-Type": "application/x-www-form-urlencoded",
    }

    def work(number: int) -> Iterator[None]:
        address = urlsplit(panels[number % len(panels)].url).netloc
        with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
            for turn in itertools.count(2):
                # Each client has users of its own, as administrators mostly have.
                for email in emails[number::CLIENTS]:
                    form = urlencode({"email": email, "quota": f"{turn}G"})
                    connection.request("POST", "/admin/mail/users/quota", form, headers)
                    answer = connection.getresponse()
                    assert answer.status == 200, answer.read()
                    answer.read()
                    yield

    return for_a_while(work)


def bare_changes(cluster: Cluster, emails: list[str]) -> float:
    """Return how many pairs of transactions a second a bare loop makes: one of a user, one of the list's line."""
    with cluster.runtime() as runtime:

        def change(connection: Connection, table: str, email: str, value: str) -> None:
            statement = f"UPDATE {table} SET quota = :value WHERE email = :email"  # noqa: S608
            connection.execute(text(statement), {"value": value, "email": email})

        def work(number: int) -> Iterator[None]:
            for turn in itertools.count(2):
                for email in emails[number::CLIENTS]:
                    runtime.database.write_now(change, "users", email, f"{turn}M")
                    runtime.state.write_now(change, "mailusers_directory", email, f"{turn}M")
                    yield

        return for_a_while(work)


def delivery_ms(cluster: Cluster, emails: list[str]) -> float:
    """Return how long it takes from a change to the end of its delivery, at the median, when nothing else happens."""
    ids = []
    for number, email in enumerate(emails[:SAMPLES]):
        panel = cluster.panels[number % len(cluster.panels)]
        assert panel.api("/quota", 0, email=email, quota=f"{number + 900}G").status == 200
        ids.append(email)
        time.sleep(0.1)
    cluster.wait_until_delivered(60)

    def read(connection: Connection) -> list[float]:
        columns = (schema.event.c.time, schema.delivery.c.updated_at)
        joined = select(*columns).join(schema.delivery, schema.delivery.c.seq == schema.event.c.seq)
        wanted = joined.where(schema.delivery.c.implementation == "dovecot")
        rows = connection.execute(wanted.order_by(schema.event.c.seq.desc()).limit(SAMPLES)).all()
        return [(told - made).total_seconds() * 1000 for made, told in rows]

    with cluster.runtime() as runtime:
        return statistics.median(runtime.state.read_now(read))


def live_ms(cluster: Cluster, emails: list[str]) -> float:
    """Return how long after the first process's answer the last process's stream tells of a change, at the median."""
    found = []
    with closing(Events(cluster.panels[-1])) as events:
        for number, email in enumerate(emails[:SAMPLES]):
            assert cluster.panels[0].api("/quota", 0, email=email, quota=f"{number + 950}G").status == 200
            answered = time.perf_counter()
            name, data = events.next()
            assert (name, data["lines"]) == ("changed", [email])
            found.append((time.perf_counter() - answered) * 1000)
            # Beyond the pause between two events, and at another moment of the polling each time.
            time.sleep(0.6 + 0.037 * number)
    return statistics.median(found)


@contextmanager
def server(engine: str) -> Iterator[str]:
    """Give the URL of a database."""
    if engine == "sqlite":
        yield ""
        return
    with (postgresql if engine == "postgresql" else mariadb)() as url:
        yield url


def measure(engine: str, processes: int) -> Measured:
    """Measure one set-up."""
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as folder, server(engine) as url:
        environment = {"MAILUSERS_USAGE_INTERVAL_SECONDS": "0", "MAILUSERS_COMMIT_PAUSE_SECONDS": "0"}
        cluster = make_cluster(Path(folder), url, Path(folder), panels=processes, environment=environment)
        emails = fill(cluster)
        bare = bare_changes(cluster, emails)
        cluster.start()
        try:
            changes = set_quotas(cluster, list(cluster.panels), emails)
            with cluster.runtime() as runtime:
                wait_until(
                    lambda: not runtime.state.read_now(deliveries.counts).get(deliveries.PENDING),
                    timeout_seconds=300,
                    message="the deliveries",
                )
            return Measured(
                engine, processes, bare, changes, delivery_ms(cluster, emails), live_ms(cluster, emails)
            )
        finally:
            cluster.stop()


def main() -> None:
    """Print the table."""
    print("| database | processes | bare changes/s | changes/s | told after | live after |")
    print("| --- | --- | --- | --- | --- | --- |")
    for engine in ("sqlite", "postgresql", "mariadb"):
        for processes in (1, 3):
            m = measure(engine, processes)
            print(
                f"| {m.engine} | {m.processes} | {m.bare:.0f} | {m.changes:.0f} | {m.told_ms:.0f} ms | "
                f"{m.live_ms:.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()

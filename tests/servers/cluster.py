"""Several panel processes over one database, and clients that change the same box through all of them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit, deliveries, outbox
from mailusers_plugin.store.database import Database
from tests.servers.clients import wait_until
from tests.servers.panel import PanelProcess, Reply
from tests.support import BOSS, PASSWORD, QUICK
from tests.trail_support import events_in

Step = tuple[str, str]
"""An event as a test expects it: its type, and what tells it from others of its address."""


@dataclass
class Cluster:
    """Some panels with one database and one folder, as one machine has them.

    :ivar notes: the file in which the little module notes what it is told of, in every process
    """

    url: str
    storage: Path
    notes: Path
    panels: Sequence[PanelProcess]

    def start(self) -> None:
        """Start all at the same moment, as a machine that boots does."""
        with ThreadPoolExecutor(len(self.panels)) as pool:
            for started in [pool.submit(panel.start) for panel in self.panels]:
                started.result()

    def stop(self) -> None:
        """End all."""
        for panel in self.panels:
            panel.stop()

    @contextlib.contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Open the box in this process, to look into it."""
        runtime = Runtime(Settings(storage_root=self.storage, database=self.url, **QUICK))
        try:
            yield runtime
        finally:
            runtime.close()

    def wait_until_delivered(self, timeout_seconds: float) -> None:
        """Wait until no event waits for anything."""
        with self.runtime() as runtime:

            def done() -> bool:
                counts = runtime.state.read_now(deliveries.counts)
                return not counts.get(deliveries.PENDING) and not _waiting(runtime.database, runtime.state)

            wait_until(done, timeout_seconds=timeout_seconds, message="all deliveries")
            assert deliveries.FAILED not in runtime.state.read_now(deliveries.counts)

    def noted(self) -> list[dict[str, Any]]:
        """Return what the module was told, in the order in which it was."""
        lines = self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
        return [json.loads(line) for line in lines]

    def audited(self) -> list[dict[str, Any]]:
        """Return the changes in the audit trail, oldest first."""
        with self.runtime() as runtime:
            return events_in(runtime.state.read_now(audit.newest, 1_000_000))


def _waiting(database: Database, state: Database) -> int:
    entries = database.read_now(outbox.after, 0, 1000)
    return state.read_now(deliveries.count_open, [entry.id for entry in entries], [])


def make_cluster(
    folder: Path, url: str, site: Path, *, panels: int = 3, environment: dict[str, str] | None = None
) -> Cluster:
    """Make a box with an administrator and panels over it; none is started yet.

    :param site: where the little module is installed
    """
    storage, notes = folder / "box", folder / "notes.jsonl"
    variables = {
        "MAILUSERS_DATABASE": url,
        "MAILUSERS_DOVEADM": "",
        "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
        "NOTES_FILE": str(notes),
        **(environment or {}),
    }
    made = [PanelProcess(storage, python_path=[site], environment=variables) for _ in range(panels)]
    cluster = Cluster(url, storage, notes, made)
    added = made[0].command("user", "add", BOSS, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    return cluster


@dataclass
class Changes:
    """Clients that change users through any of the panels, each client users of its own, one step after the other.

    A request whose answer does not come, because its panel was killed, is sent again to another one: by its answer it
    is known whether the first one was carried out. So it is known exactly which events there must be.

    :ivar steps: by address, what was acknowledged, in that order
    :ivar repeated: how many requests had to be sent again
    :ivar rate: how many changes were acknowledged a second
    """

    cluster: Cluster
    domain: str
    steps: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    repeated: int = 0
    rate: float = 0.0
    _ending: threading.Event = field(default_factory=threading.Event)
    _random: random.Random = field(default_factory=random.Random)

    def run(self, seconds: float) -> float:
        """Make changes for some time; return how many were acknowledged a second."""
        with self.going_on():
            time.sleep(seconds)
        return self.rate

    @contextlib.contextmanager
    def going_on(self, clients: int = 6) -> Iterator[None]:
        """Make changes until the end of the block."""
        began = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(self._client, number) for number in range(clients)]
            try:
                yield
            finally:
                self._ending.set()
                # Where one failed, that is why the block did.
                for client in running:
                    client.result()
        self.rate = sum(map(len, self.steps.values())) / (time.monotonic() - began)

    def _client(self, number: int) -> None:
        users = 0
        while not self._ending.is_set():
            users += 1
            self._life(f"user{number}-{users}@{self.domain}")

    def _life(self, email: str) -> None:
        """Add a user, change it, archive it, and often bring it back."""
        quota = 1
        while True:
            self._step("/add", {"password": PASSWORD, "quota": f"{quota}M"}, email, "UserAdded", f"{quota}M")
            for _ in range(self._random.randint(1, 4)):
                if self._ending.is_set():
                    return
                quota += 1
                self._step("/quota", {"quota": f"{quota}M"}, email, "QuotaChanged", f"{quota}M")
            self._step("/privileges/add", {"privilege": "admin"}, email, "PrivilegesChanged", "admin")
            self._step("/privileges/remove", {"privilege": "admin"}, email, "PrivilegesChanged", "")
            self._step("/remove", {}, email, "UserArchived", f"{quota}M")
            if self._ending.is_set() or self._random.random() < 0.3:
                return
            quota += 1

    def _step(self, action: str, form: dict[str, str], email: str, type_: str, mark: str) -> None:
        first = True
        deadline = time.monotonic() + 60
        while True:
            reply = self._send(action, form, email)
            if reply is not None and reply.status == 200:
                break
            if reply is not None and reply.status == 400 and not first:
                # The first one was carried out before its panel ended.
                assert reply.text in ("User already exists.", f"That's not a user ({email})."), reply
                break
            assert reply is None or reply.status == 503, (action, email, reply)
            assert reply is None or "Retry-After" in reply.headers
            assert time.monotonic() < deadline, (action, email, reply)
            first = False
            self.repeated += 1
            time.sleep(0.05)
        self.steps[email].append((type_, mark))

    def _send(self, action: str, form: dict[str, str], email: str) -> Reply | None:
        try:
            # The change is what counts here, not that the hooks are told of it.
            return self._random.choice(self.cluster.panels).api(action, 0, email=email, **form)
        except (OSError, HTTPException):
            return None


def told(entries: Sequence[dict[str, Any]], domain: str) -> tuple[dict[str, list[Step]], int]:
    """Return by address what was told, in order, and how often it was told again.

    What is told again must be so before anything newer of its address is.
    """
    steps: dict[str, list[Step]] = defaultdict(list)
    newest: dict[str, str] = {}
    again = 0
    for entry in entries:
        email = entry["email"]
        if not email.endswith(f"@{domain}"):
            continue
        event_id = entry.get("id") or entry["event_id"]
        if newest.get(email) == event_id:
            again += 1
            continue
        newest[email] = event_id
        steps[email].append(_as_step(entry))
    return steps, again


def _as_step(entry: dict[str, Any]) -> Step:
    if entry["type"] == "PrivilegesChanged":
        return entry["type"], "".join(entry["new_privileges"])
    return entry["type"], entry.get("new_quota") or entry["quota"]


@contextlib.contextmanager
def restarts(url: str) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Give what stops a private database server and what starts it again; it is stopped at the end."""
    with _restarts_of_postgresql(url) if url.startswith("postgresql") else _restarts_of_mariadb(url) as found:
        yield found


@contextlib.contextmanager
def _restarts_of_postgresql(url: str) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    (program,) = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))[-1:]
    data = str(_asked(url, "SHOW data_directory"))
    options = Path(data, "postmaster.opts").read_text(encoding="utf-8").split(maxsplit=1)[1]
    control = ["runuser", "-u", "postgres", "--", str(program), "-D", data, "-w"]
    starting = [*control, "-l", f"{data}/log", "-o", options.replace('"', "").strip(), "start"]

    def stop() -> None:
        subprocess.run([*control, "-m", "fast", "stop"], check=True, capture_output=True, cwd="/")

    try:
        yield stop, lambda: _run_quietly(starting)
    finally:
        subprocess.run([*control, "-m", "fast", "stop"], check=False, capture_output=True, cwd="/")


def _run_quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def _restarts_of_mariadb(url: str) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    pid_file = Path(
        str(_asked(url, "SELECT CONCAT(IF(LEFT(@@pid_file, 1) = '/', '', @@datadir), @@pid_file)"))
    )
    pid = int(pid_file.read_text(encoding="ascii"))
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    started: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGTERM)
        # It takes the file away when it has written everything out.
        wait_until(lambda: not pid_file.exists(), timeout_seconds=60, message="the end of MariaDB")

    def start() -> None:
        log = pid_file.with_suffix(".log").open("ab")
        started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        log.close()
        wait_until(lambda: _is_up(url), timeout_seconds=60, message="MariaDB")

    try:
        yield stop, start
    finally:
        for process in started:
            process.terminate()
            process.wait(60)


def _asked(url: str, question: str) -> object:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return connection.execute(text(question)).scalar_one()


def _is_up(url: str) -> bool:
    try:
        return _asked(url, "SELECT 1") == 1
    except SQLAlchemyError:
        return False

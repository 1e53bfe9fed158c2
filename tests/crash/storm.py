"""Clients change users through a real server that is killed at random moments; all is compared after each start."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from tests.crash import ledger
from tests.crash.books import Books
from tests.crash.model import Change, Step, User, names, next_change, told_steps
from tests.servers.cluster import Cluster, make_cluster
from tests.servers.panel import PanelProcess, Reply
from tests.support import BOSS

_CLIENTS: Final = 5
_USERS: Final = 3
"""A client's users at one time; it begins another one in place of one that is archived, now and then."""
_LONGEST_ROUND_SECONDS: Final = 0.8
_FIRST_ANSWER_SECONDS: Final = 10.0
_LONGEST_START_SECONDS: Final = 1.2
"""A server that is killed while it starts is so within this time; a start takes about one second."""
_DELIVERED_SECONDS: Final = 60.0
_START_SECONDS: Final = 180.0
"""On a machine with much else to do."""


@dataclass
class Outcome:
    """What a storm has come to.

    :ivar acknowledged: changes that were answered with 200
    :ivar unanswered: requests that got no answer, and how many of them had been carried out
    """

    kills: int = 0
    kills_at_start: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    unanswered_but_made: int = 0
    told: int = 0
    told_again: int = 0

    def __str__(self) -> str:
        """Return it in one line."""
        return (
            f"{self.kills} kills, {self.kills_at_start} of them while it started; {self.acknowledged} changes "
            f"acknowledged, {self.unanswered} without an answer, of which {self.unanswered_but_made} were made; "
            f"{self.told} events told, {self.told_again} of them again"
        )


@dataclass
class _Client:
    """Changes users of its own until its server does not answer any more."""

    panel: PanelProcess
    chance: random.Random
    addresses: Iterator[str]
    users: list[User] = field(default_factory=list)
    left: list[User] = field(default_factory=list)
    acknowledged: int = 0

    def run(self, ending: threading.Event) -> None:
        while not ending.is_set():
            user = self._choose()
            change = next_change(user, self.chance)
            user.unknown = change
            reply = self._send(user.email, change)
            if reply is None:
                return
            if reply.status == 503:
                # Nothing was done, and it is said when to ask again.
                assert "Retry-After" in reply.headers, reply
                user.settle(made=False)
                time.sleep(0.05)
                continue
            assert reply.status == 200, (user.email, change, reply)
            user.settle(made=True)
            self.acknowledged += 1

    def _choose(self) -> User:
        user = self.chance.choice(self.users) if len(self.users) == _USERS else None
        if user is not None and user.state.archived and self.chance.random() < 0.4:
            self.users.remove(user)
            self.left.append(user)
            user = None
        if user is None:
            user = User(next(self.addresses))
            self.users.append(user)
        return user

    def _send(self, email: str, change: Change) -> Reply | None:
        try:
            return self.panel.api(change.action, 0, email=email, **change.form)
        except (OSError, HTTPException):
            return None


class Storm:
    """One server over one database, its clients, and what they know."""

    def __init__(self, folder: Path, url: str, seed: int) -> None:
        """Make the box.

        :param url: of an empty database, or empty for the box's own files
        :param seed: chooses what is done, and when the server is killed; what it is doing then nobody can choose
        """
        self._chance = random.Random(seed)
        self._ledgers = folder / "ledgers"
        self._ledgers.mkdir()
        site = folder / "site"
        ledger.install(site)
        environment = {
            ledger.FOLDER_VARIABLE: str(self._ledgers),
            "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
            "MAILUSERS_HASH_THREADS": "2",
        }
        self._cluster: Cluster = make_cluster(folder, url, site, panels=1, environment=environment)
        (self.panel,) = self._cluster.panels
        self.books = Books(self._cluster.storage, url)
        self._clients = [
            _Client(self.panel, random.Random(self._chance.random()), names(seed, number))
            for number in range(_CLIENTS)
        ]
        self.outcome = Outcome()

    def survive(self, kills: int, seconds: float = float("inf")) -> Outcome:
        """Kill the server until it was killed so often or the time is over, and compare everything.

        :raises AssertionError: if anything is lost, half done, or told in another order
        """
        end = time.monotonic() + seconds
        self.panel.start(timeout_seconds=_START_SECONDS)
        try:
            while self.outcome.kills < kills and time.monotonic() < end:
                self._round()
            self._finish()
        finally:
            self.panel.stop()
        return self.outcome

    def _round(self) -> None:
        with self._changes_going_on():
            if self._chance.random() < 0.8:
                self._wait_for_an_answer()
            time.sleep(self._chance.uniform(0.02, _LONGEST_ROUND_SECONDS))
            self.panel.kill()
        self.outcome.kills += 1
        if self._chance.random() < 0.5:
            # As the crash has left them; else as the next start does.
            self.books.check_integrity()
        if self._chance.random() < 0.3:
            self.panel.start(wait=False)
            time.sleep(self._chance.uniform(0, _LONGEST_START_SECONDS))
            self.panel.kill()
            self.outcome.kills += 1
            self.outcome.kills_at_start += 1
        self.panel.start(timeout_seconds=_START_SECONDS)
        self.books.check_integrity()
        for client in self._clients:
            for user in (*client.users, *client.left):
                self._compare(user)
            client.left.clear()

    def _wait_for_an_answer(self) -> None:
        """Wait until somebody was answered, so that on a busy machine not all kills come before the first change."""
        before = sum(client.acknowledged for client in self._clients)
        end = time.monotonic() + _FIRST_ANSWER_SECONDS
        while sum(client.acknowledged for client in self._clients) == before and time.monotonic() < end:
            time.sleep(0.005)

    @contextmanager
    def _changes_going_on(self) -> Iterator[None]:
        ending = threading.Event()
        with ThreadPoolExecutor(_CLIENTS) as pool:
            running = [pool.submit(client.run, ending) for client in self._clients]
            try:
                yield
            finally:
                ending.set()
                for client in running:
                    client.result()

    def _compare(self, user: User) -> None:
        """Compare a user with its account, its record in the archive and its events."""
        found = self.books.steps(user.email)
        if user.unknown is not None:
            made = found == [*user.steps, user.unknown.step]
            self.outcome.unanswered += 1
            self.outcome.unanswered_but_made += made
            user.settle(made)
        assert found == user.steps, f"{user.email}: {found} are stored, {user.steps} were made"
        self.books.check_state(user)

    def _finish(self) -> None:
        """Let everything be delivered, and compare what was told with all that was ever made."""
        self._cluster.wait_until_delivered(_DELIVERED_SECONDS)
        for client in self._clients:
            self.outcome.acknowledged += client.acknowledged
        made = self.books.all_steps()
        for name in ledger.NAMES:
            told, again = told_steps(self._read_ledger(name))
            told.pop(BOSS, None)
            assert told == made, _differences(name, told, made)
            self.outcome.told += sum(map(len, told.values())) + again
            self.outcome.told_again += again
        audited, again = self.books.audited()
        assert audited == made, _differences("the audit trail", audited, made)
        assert again == 0

    def _read_ledger(self, name: str) -> list[dict[str, Any]]:
        lines = (self._ledgers / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def _differences(name: str, told: dict[str, list[Step]], made: dict[str, list[Step]]) -> str:
    different = [email for email in {*told, *made} if told.get(email) != made.get(email)]
    return f"{name}: " + "; ".join(f"{e}: {told.get(e)} instead of {made.get(e)}" for e in different[:5])

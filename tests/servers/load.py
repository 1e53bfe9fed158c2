"""Work that goes on beside a test: mail that comes in without a pause, and a panel that makes many changes."""

from __future__ import annotations

import contextlib
import itertools
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException

from tests.servers.box import MailSystem
from tests.servers.clients import smtp_send, wait_until
from tests.servers.panel import PanelProcess

_PUT_OFF = 450


@contextlib.contextmanager
def going_on(work: Callable[[], object], threads: int = 1) -> Iterator[None]:
    """Repeat ``work`` in the background until the end of the block; what it raises is raised there."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            work()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(repeat) for _ in range(threads)]
        try:
            yield
        finally:
            stop.set()
            # Where it failed, that is why the block did.
            for thread in running:
                thread.result()


@dataclass
class Mail:
    """Messages to one address, each in an SMTP session of its own that must be accepted.

    :ivar patient: whether a session that is put off (450) is begun again, as every sender does
    :ivar seconds: how long each session took
    """

    system: MailSystem
    address: str
    patient: bool = False
    seconds: list[float] = field(default_factory=list)

    def send(self) -> None:
        """Send one; a refusal raises smtplib's own error."""
        begun = time.monotonic()
        try:
            smtp_send(self.system.postfix.smtp_port, self.address)
        except smtplib.SMTPRecipientsRefused as error:
            if not self.patient or error.recipients[self.address][0] != _PUT_OFF:
                raise
            return
        self.seconds.append(time.monotonic() - begun)

    def send_more(self, count: int) -> None:
        """Send some more."""
        for _ in range(count):
            self.send()

    @property
    def sent(self) -> int:
        """How many were accepted so far."""
        return len(self.seconds)

    def delivered(self) -> int:
        """Count the messages in the INBOX."""
        maildir = self.system.box.maildir(self.address)
        return len([*maildir.glob("new/*"), *maildir.glob("cur/*")])

    def assert_all_delivered(self) -> None:
        """Wait until every accepted message is in the INBOX, once, and none is left on the way."""
        wait_until(
            lambda: self.delivered() >= self.sent and not self.system.postfix.queue(),
            timeout_seconds=30,
            message=f"{self.sent} messages, of which {self.delivered()} came",
        )
        assert self.delivered() == self.sent


@dataclass
class Changes:
    """Changes by a panel's API, several at once.

    :ivar added: the addresses of which the panel said that they are added
    :ivar quotas: the quota of each address of which the panel said last that it is set
    :ivar may_fail: whether the panel is being ended meanwhile
    """

    panel: PanelProcess
    domain: str = "load.example.com"
    added: list[str] = field(default_factory=list)
    quotas: dict[str, str] = field(default_factory=dict)
    may_fail: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def make(self) -> None:
        """Add a user and change its quota a few times."""
        email = f"user{next(self._numbers)}@{self.domain}"
        if not self._post("/add", email=email, password="correct horse battery", quota="1G"):
            return
        self.added.append(email)
        for number in range(2, 6):
            if self._post("/quota", email=email, quota=f"{number}G"):
                self.quotas[email] = f"{number}G"

    def _post(self, action: str, **form: str) -> bool:
        try:
            # The change is what counts here, not that the hooks are told of it.
            reply = self.panel.api(action, 0, **form)
        except (OSError, HTTPException):
            if not self.may_fail:
                raise
            return False
        assert reply.status == 200, reply
        return True

    @property
    def made(self) -> int:
        """How many changes the panel has confirmed."""
        return len(self.added) + sum(int(quota[0]) - 1 for quota in self.quotas.values())

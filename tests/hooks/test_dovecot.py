"""What the built-in modules do on each event."""

from __future__ import annotations

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.hooks.dovecot import DovecotHooks
from tests.support import CONSOLE, USER, Box, Boxes

DOVECOT = "dovecot"


class FakeDovecot:
    """Remembers what it was asked for."""

    def __init__(self, installed: bool = True) -> None:
        self.installed = installed
        self.calls: list[tuple[str, str]] = []
        self.trouble = 0

    async def recalculate_quota(self, email: str) -> None:
        """Remember it."""
        self._take("recalculate", email)

    async def end_sessions(self, email: str) -> None:
        """Remember it."""
        self._take("end sessions", email)

    def _take(self, what: str, email: str) -> None:
        if self.trouble:
            self.trouble -= 1
            raise UnavailableError("Dovecot is away.")
        self.calls.append((what, email))


async def use(boxes: Boxes, dovecot: FakeDovecot) -> Box:
    """Open a box with a Dovecot and do everything once."""
    box = await boxes.open(hook_backoff_seconds=0.01)
    box.handle.pm.unregister(name=DOVECOT)
    box.handle.pm.register(DovecotHooks(dovecot), DOVECOT)
    await box.add(USER)
    await box.service.set_quota(CONSOLE, USER, "1G")
    await box.service.set_password(CONSOLE, USER, "another password")
    await box.service.add_privileges(CONSOLE, USER, ("admin",))
    await box.delivered()
    return box


EXPECTED = [("recalculate", USER), ("recalculate", USER), ("end sessions", USER)]


async def test_reactions(boxes: Boxes) -> None:
    """A new user and a new quota are counted; a new password and an archival end the sessions."""
    dovecot = FakeDovecot()
    box = await use(boxes, dovecot)
    assert dovecot.calls == EXPECTED
    await box.add("other@example.com", ("admin",))
    await box.service.archive(CONSOLE, USER)
    await box.delivered()
    assert dovecot.calls[len(EXPECTED) :] == [("recalculate", "other@example.com"), ("end sessions", USER)]


async def test_trouble_is_passed(boxes: Boxes) -> None:
    """While Dovecot is away its reactions are tried again, in order."""
    dovecot = FakeDovecot()
    dovecot.trouble = 3
    await use(boxes, dovecot)
    assert dovecot.calls == EXPECTED


async def test_box_without_dovecot(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """Without doveadm this is said once, nothing is called, and nothing fails."""
    dovecot = FakeDovecot(installed=False)
    box = await use(boxes, dovecot)
    assert dovecot.calls == []
    assert caplog.text.count("There is no doveadm here") == 1
    assert set(box.state_sql("SELECT state FROM mailusers_delivery")) == {("done",)}

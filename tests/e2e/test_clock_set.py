"""The clock of a real panel is set, back and forward, while it works: nothing is lost, told twice or locked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.clients import wait_until
from tests.servers.clock import Clock
from tests.servers.looking import check_integrity, files_of, make_box, wait_until_told
from tests.servers.modules import install
from tests.servers.panel import PanelProcess
from tests.support import BOSS, PASSWORD, USER, run_sql

NOTING = """
STUBBORN = Path(os.environ["NOTES"] + ".stubborn")

@hookimpl
def mailusers_post_add(event):
    if STUBBORN.exists():
        raise RuntimeError("not yet")
    note(event)

@hookimpl
def mailusers_quota_change(event):
    note(event)

@hookimpl
def mailusers_post_archive(event):
    note(event)
"""
NEW = "new@example.com"
BACK = (timedelta(hours=-1), timedelta(days=-400))


@dataclass
class Set:
    """A panel with a clock that can be set, and what its module was told."""

    panel: PanelProcess
    clock: Clock
    notes: Path

    @property
    def told(self) -> list[str]:
        """Of whom the module was told, in this order."""
        return self.notes.read_text().split() if self.notes.exists() else []

    @property
    def stubborn(self) -> Path:
        """A file because of which the module fails."""
        return self.notes.with_name("notes.stubborn")

    def change(self, email: str) -> None:
        """Add a user, set the quota, archive the user; wait until all are told."""
        assert self.panel.api("/add", email=email, password=PASSWORD).status == 200
        assert self.panel.api("/quota", email=email, quota="1G").status == 200
        assert self.panel.api("/remove", email=email).status == 200
        wait_until_told(self.panel.storage)

    def times(self) -> list[datetime]:
        """Return the times of the audit trail, in its order."""
        query = "SELECT time FROM mailusers_audit ORDER BY seq"
        return [
            datetime.fromisoformat(time).replace(tzinfo=UTC)
            for (time,) in run_sql(files_of(self.panel.storage)[1], query)
        ]

    def log_in(self, password: str = PASSWORD) -> int:
        """Log in with a password; return the status."""
        return self.panel.request(
            "GET", "/admin/mail/users/privileges?email=" + BOSS, user=BOSS, password=password
        ).status

    def session(self) -> str:
        """Begin a session; return its key."""
        reply = self.panel.request("POST", "/admin/login", {}, user=BOSS, password=PASSWORD)
        assert reply.status == 200, reply.text
        return str(reply.json()["api_key"])

    def asks(self, key: str) -> int:
        """Ask with a session's key; return the status."""
        return self.panel.request("GET", "/admin/mail/users?format=json", user=BOSS, password=key).status

    def verify(self) -> None:
        """Look whether files and audit trail are whole."""
        check_integrity(self.panel.storage)
        found = self.panel.command("audit", "verify")
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Set]:
    """A panel that runs."""
    install(tmp_path / "site", NOTING)
    clock = Clock(tmp_path / "clock")
    notes = tmp_path / "notes"
    environment = {
        **clock.environment,
        "MAILUSERS_DOVEADM": "",
        "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
        "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
        "MAILUSERS_REFUSAL_SECONDS": "0",
        "MAILUSERS_HOOK_BACKOFF_SECONDS": "3600",
        "MAILUSERS_THROTTLE_PAIR": "5",
        "NOTES": str(notes),
    }
    storage = tmp_path / "box"
    make_box(storage)
    panel = PanelProcess(storage, python_path=[tmp_path / "site"], environment=environment)
    with panel:
        wait_until_told(storage)
        notes.unlink(missing_ok=True)
        yield Set(panel, clock, notes)


@pytest.mark.parametrize("back", BACK, ids=["an hour", "400 days"])
def test_set_back(box: Set, back: timedelta) -> None:
    """Changes go on and are told once and in order, also after a restart; sessions last; the trail is whole."""
    box.change(USER)
    key = box.session()
    before = len(box.times())
    box.clock.set(back)
    box.change(NEW)
    # The clock was set indeed.
    assert all(time < datetime.now(UTC) + back / 2 for time in box.times()[before:])
    assert box.told == [USER] * 3 + [NEW] * 3
    assert box.asks(key) == 200
    assert box.asks(box.session()) == 200
    box.panel.stop()
    box.panel.start()
    box.change("after@example.com")
    assert box.told == [USER] * 3 + [NEW] * 3 + ["after@example.com"] * 3
    assert box.asks(key) == 200
    box.verify()


def test_retries_do_not_wait_for_a_time_long_to_come(box: Set) -> None:
    """What was put off for an hour before the clock was set back by a year is told soon, and before what follows."""
    box.stubborn.touch()
    assert box.panel.api("/add", 0, email=USER, password=PASSWORD).status == 200
    failed = "SELECT count(*) FROM mailusers_delivery WHERE attempts > 0 AND state = 'pending'"
    state = files_of(box.panel.storage)[1]
    wait_until(lambda: run_sql(state, failed) == [(1,)], message="the first failure")
    box.stubborn.unlink()
    assert box.panel.api("/quota", 0, email=USER, quota="1G").status == 200
    assert box.told == []
    box.clock.set(timedelta(days=-365))
    wait_until_told(box.panel.storage)
    assert box.told == [USER, USER]
    box.verify()


def test_who_was_throttled_is_not_for_a_year(box: Set) -> None:
    """Counters of a time to come count no more: who was told to wait some minutes does not wait until then."""
    for number in range(5):
        assert box.log_in(f"wrong {number}") == 401
    assert box.log_in() == 429
    box.clock.set(timedelta(days=-365))
    assert box.log_in() == 200
    # And guessing is throttled as before.
    for number in range(5):
        assert box.log_in(f"guess {number}") == 401
    assert box.log_in("guess") == 429


def test_put_forward(box: Set) -> None:
    """Sessions end, everything else goes on; put right again, it is as if nothing had been."""
    key = box.session()
    box.clock.set(timedelta(days=400))
    assert box.asks(key) == 401
    box.change(USER)
    later = box.session()
    assert box.asks(later) == 200
    box.clock.set(timedelta())
    box.change(NEW)
    assert box.asks(later) == 200
    assert box.told == [USER] * 3 + [NEW] * 3
    box.panel.stop()
    box.panel.start()
    box.change("after@example.com")
    assert box.told[6:] == ["after@example.com"] * 3
    box.verify()

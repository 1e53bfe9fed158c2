"""Bringing the known sizes up to date: in batches, one process at a time, going on after an interruption."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.mailserver.usage import Known, Pace
from mailusers_plugin.models import ADMIN, Measured, SizeBatch, Usage
from mailusers_plugin.refresh import UsageRefresher
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import usage
from tests.support import BOSS, QUICK, USER, Box, Boxes, Client

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EMAILS = [f"user{number}@example.com" for number in range(9)]


class Source:
    """Says what it is told to, three mailboxes at a time."""

    name = "maildirsize"

    def __init__(self) -> None:
        self.sizes = dict.fromkeys(EMAILS, 5)
        self.mark: int | None = 1
        self.gone: list[str] = []
        self.read_from: list[str] = []
        self.stop_at = ""
        self.fail_at = ""

    def read(self, position: str, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield all of them, behind the position."""
        self.read_from.append(position)
        rest = [email for email in sorted(self.sizes) if email > position]
        for start in range(0, len(rest), 3):
            part = rest[start : start + 3]
            found = {email: Measured(Usage(self.sizes[email], 1, 0, NOW), self.mark) for email in part}
            if self.fail_at in part:
                raise UnavailableError("It does not answer.")
            yield SizeBatch(found, self.gone, part[-1])
            if self.stop_at in part:
                pace.stop()
                pace.rest()

    def look(self, emails: Sequence[str]) -> SizeBatch:
        """Return some of them."""
        found = {email: Measured(Usage(self.sizes[email], 1, 0, NOW), self.mark) for email in emails}
        return SizeBatch(found, (), "")

    def stop(self) -> None:
        """Do nothing."""

    def forget(self, email: str) -> None:
        """Forget it."""
        del self.sizes[email]


@pytest.fixture
def runtime(tmp_path: Path, blank_box: Path) -> Iterator[Runtime]:
    """An empty box."""
    opened = Runtime(Settings(storage_root=tmp_path / "box", **QUICK))
    yield opened
    opened.close()


class Reading:
    """A refresher with a source, and what it has handed on."""

    def __init__(self, runtime: Runtime) -> None:
        self.source = Source()
        self.told: list[list[str]] = []
        self.refresher = UsageRefresher(runtime.state, self.source, self.tell, batch=3)

    def tell(self, emails: Collection[str]) -> None:
        """Take what changed."""
        self.told.append(list(emails))


def test_what_changed_is_handed_on_in_batches(runtime: Runtime) -> None:
    """A first pass tells of everything, some at a time; the next ones of what changed or went only."""
    reading = Reading(runtime)
    assert reading.refresher.run() == 9
    assert reading.told == [EMAILS[:3], EMAILS[3:6], EMAILS[6:]]
    assert reading.refresher.run() == 0
    reading.source.sizes[EMAILS[4]] = 7
    reading.source.gone = [EMAILS[8], "nobody@example.com"]
    del reading.source.sizes[EMAILS[8]]
    assert reading.refresher.run() == 2
    assert sorted(email for batch in reading.told[3:] for email in batch) == [EMAILS[4], EMAILS[8]]
    known = runtime.state.read_now(usage.known)
    assert sorted(known) == EMAILS[:8]
    assert known[EMAILS[4]].box_bytes == 7


def test_an_unchanged_size_keeps_its_time(runtime: Runtime) -> None:
    """That a size was read again is not written down for each mailbox, but a new mark is; the pass has its time."""
    reading = Reading(runtime)
    reading.refresher.run()
    reading.source.mark = 2
    before = datetime.now(UTC)
    assert reading.refresher.run() == 0
    assert runtime.state.read_now(usage.known)[EMAILS[0]].checked_at == NOW
    assert {size.mark for size in reading.refresher.of(EMAILS).values()} == {2}
    source, began_at = reading.refresher.last_pass()
    assert source == "maildirsize"
    assert began_at is not None
    assert before <= began_at <= datetime.now(UTC)


def test_an_interrupted_pass_goes_on(runtime: Runtime) -> None:
    """After a stop another process reads the rest, and only then everything is read."""
    reading = Reading(runtime)
    reading.source.stop_at = EMAILS[4]
    assert reading.refresher.run() == 6
    assert reading.refresher.last_pass() == ("maildirsize", None)
    other = Reading(runtime)
    assert other.refresher.run() == 3
    assert other.source.read_from == [EMAILS[5]]
    # It has not read everything itself, so when everything was read is not known yet.
    assert other.refresher.last_pass() == ("maildirsize", None)
    assert other.refresher.run() == 0
    assert other.source.read_from == [EMAILS[5], ""]
    assert other.refresher.last_pass()[1] is not None


def test_a_source_that_fails_is_asked_again(runtime: Runtime) -> None:
    """What came before the failure is kept, and the next pass goes on behind it."""
    reading = Reading(runtime)
    reading.source.fail_at = EMAILS[7]
    with pytest.raises(UnavailableError):
        reading.refresher.run()
    assert len(reading.refresher.of(EMAILS)) == 6
    reading.source.fail_at = ""
    assert reading.refresher.run() == 3


def test_another_source_begins_at_the_beginning(runtime: Runtime) -> None:
    """A position means nothing to another source, which is asked at once."""
    reading = Reading(runtime)
    reading.source.stop_at = EMAILS[0]
    reading.refresher.run()
    other = Reading(runtime)
    other.source.name = "quota_clone"
    other.refresher.run()
    assert other.source.read_from == [""]


def test_forget(runtime: Runtime) -> None:
    """A size that is forgotten is gone here and at the source."""
    reading = Reading(runtime)
    reading.refresher.run()
    reading.refresher.forget(EMAILS[0])
    assert reading.refresher.of(EMAILS[:1]) == {}
    assert reading.refresher.run() == 0


async def test_refresh(box: Box, admin: Client, user: str) -> None:
    """A refresh stores what changed and drops what is gone, and says how much that was."""
    maildir = box.make_mailbox(USER)
    size = maildir / "maildirsize"
    refresh = box.runtime.refresh_usage
    assert refresh() == 0
    size.write_text("0S\n5 1\n")
    assert (refresh(), refresh()) == (1, 0)
    assert box.state_sql("SELECT email, box_bytes, messages FROM mailusers_usage") == [(USER, 5, 1)]
    size.write_text("0S\n5 1\n7 1\n")
    assert refresh() == 1
    assert box.state_sql("SELECT box_bytes, messages FROM mailusers_usage") == [(12, 2)]
    size.unlink()
    assert refresh() == 1
    assert box.state_sql("SELECT * FROM mailusers_usage") == []


async def test_what_is_wanted_comes_first(box: Box) -> None:
    """Mailboxes that somebody looks at are read out of turn, once each, and no more of them than can be."""
    reading = Reading(box.runtime)
    reading.refresher.want([EMAILS[3], EMAILS[3], EMAILS[1]])
    assert await reading.refresher.look_at_wanted() == 2
    assert reading.told == [[EMAILS[3], EMAILS[1]]]
    reading.source.sizes = {f"user{number}@example.org": 5 for number in range(1500)}
    reading.refresher.want(reading.source.sizes)
    changed = [await reading.refresher.look_at_wanted() for _ in range(10)]
    assert changed == [100] * 10
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reading.refresher.look_at_wanted(), 0.01)


async def test_the_page_reads_what_it_shows(boxes: Boxes) -> None:
    """A size that is older than two intervals is read anew when the page shows it, and one that is younger is not."""
    box = await boxes.open(usage_interval_seconds=3600)
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    size = box.make_mailbox(USER) / "maildirsize"
    size.write_text("0S\n5 1\n")
    browser = await box.browser(BOSS)

    async def shown_within(seconds: float, number: int) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if box.state_sql("SELECT box_bytes FROM mailusers_directory WHERE email = ?", USER) == [
                (number,)
            ]:
                return True
            await asyncio.sleep(0.05)
        return False

    await browser.get("/admin/users")
    assert await shown_within(10, 5)
    size.write_text("0S\n7 1\n")
    await browser.get("/admin/users")
    assert not await shown_within(1.5, 7)
    long_ago = "2020-01-01 00:00:00"
    box.state_sql("UPDATE mailusers_usage_pass SET began_at = ?", long_ago)
    box.state_sql("UPDATE mailusers_directory SET checked_at = ?", long_ago)
    await browser.get("/admin/users")
    assert await shown_within(10, 7)

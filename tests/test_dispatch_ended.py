"""Deliveries during which processes end: tried again one at a time, and set aside after some times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin import dispatch, owners
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import deliveries, ended
from tests.recorders import SOON, Another, Recorder, states
from tests.support import CONSOLE, USER, Box, Boxes

OTHERS = ("one@example.com", "two@example.com")
LONG = 3600.0


async def silent_changes(box: Box) -> None:
    """Add users whose events nobody delivers yet."""
    silent = Runtime(box.runtime.settings, [Recorder()])
    for email in (USER, *OTHERS):
        await silent.service.add(CONSOLE, email, "a fine password")
    await silent.dispatcher._plan()
    silent.close()


def dead_owner(number: int) -> str:
    """Return the name of a process that has ended."""
    return f"here:{owners.MACHINE}:{2**22 + number}::00000000"


async def die(box: Box, number: int, *, with_suspect: bool = True) -> list[str]:
    """Let a process take what it can, and end; return the addresses whose events it had in hand."""
    runtime = Runtime(box.runtime.settings, [Recorder()])
    name = next(name for name in runtime.manager.implementations() if name.endswith("Recorder"))
    taken = await runtime.state.write(
        deliveries.claim, {name: 4}, dead_owner(number), LONG, with_suspect=with_suspect
    )
    await runtime.state.write(ended.take_from_dead, [dead_owner(number)], 0.0)
    runtime.close()
    return [delivery.event.email for delivery in taken]


async def test_one_suspect_at_a_time(boxes: Boxes) -> None:
    """What a process had in hand when it ended is tried one by one, the rest as ever."""
    box = await boxes.open(hooks=[Recorder()])
    await box.handle.stop()
    await silent_changes(box)
    assert sorted(await die(box, 1)) == sorted([USER, *OTHERS])
    assert len(await die(box, 2)) == 1
    assert await die(box, 3, with_suspect=False) == []


async def test_set_aside_after_some_times(boxes: Boxes) -> None:
    """The event during which the server ended five times in a row is set aside, its module called for nothing more."""
    box = await boxes.open(hooks=[Recorder()])
    await box.handle.stop()
    await silent_changes(box)
    box.state_sql("UPDATE mailusers_delivery SET state = 'done' WHERE email <> ?", USER)
    for number in range(5):
        assert await die(box, number) == [USER]
    recorder, other = Recorder(), Another()
    box = await boxes.open(box.storage, hooks=[recorder, other], **SOON)
    await box.add("new@example.com")
    while not other.events:
        await asyncio.sleep(0.01)
    assert recorder.events == []
    assert ("failed", 5) in await states(box, "Recorder")
    rows = await box.runtime.state.read(deliveries.listing, unfinished_only=True, limit=1000)
    assert [row["error"] for row in rows if row["state"] == "failed"] == [f"{ended.ENDED}5"]
    await box.runtime.state.write(deliveries.retry_failed)
    box.runtime.dispatcher._take_over_at = 0
    box.runtime.dispatcher.notify()
    await box.delivered()
    assert sorted(event.email for event in recorder.events) == ["new@example.com", USER]


async def test_a_success_begins_the_count_anew(boxes: Boxes) -> None:
    """Processes that end during different deliveries, or with one that succeeds in between, set nothing aside."""
    recorder = Recorder()
    box = await boxes.open(hooks=[Recorder()])
    await box.handle.stop()
    await silent_changes(box)
    for number in range(4):
        await die(box, number)
    box = await boxes.open(box.storage, hooks=[recorder], **SOON)
    await box.delivered()
    assert {event.email for event in recorder.events} == {USER, *OTHERS}
    assert {state for state, _ in await states(box, "Recorder")} == {"done"}


@pytest.mark.parametrize("days", [-400, 400])
async def test_the_clock_jumps(boxes: Boxes, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """A clock that jumps a year neither holds events up nor has them told twice, and the order is kept."""
    jump = timedelta(0)

    def now(_connection: object) -> datetime:
        return datetime.now(UTC) + jump

    monkeypatch.setattr("mailusers_plugin.store.clock.now", now)
    failing, slow, going_on = Recorder(failures=1), Slow(), asyncio.Event()
    slow.going_on = going_on
    box = await boxes.open(hooks=[failing, slow], hook_backoff_seconds=3600, hook_timeout_seconds=50)
    await box.add(USER)
    # Until it is stored that it failed.
    while not slow.events or ("pending", 1) not in await states(box, ".Recorder"):
        await asyncio.sleep(0.01)
    jump = timedelta(days=days)
    await box.service.set_quota(CONSOLE, USER, "1G")
    # At once, neither in an hour nor in a year.
    while failing.types != ["UserAdded", "UserAdded", "QuotaChanged"]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1.5)
    # What is in hand is not taken again, however long ago its lease seems to have run out.
    assert slow.types == ["UserAdded"]
    going_on.set()
    await box.delivered()
    assert slow.types == ["UserAdded", "QuotaChanged"]


class Slow(Recorder):
    """Is at its first event until it may go on."""

    going_on: asyncio.Event

    async def take(self, event: object) -> None:
        """Remember an event and wait."""
        await super().take(event)  # type: ignore[arg-type]
        await self.going_on.wait()


async def test_a_module_registered_just_before_the_clock_is_set_back(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which events are a new module's is known by their numbers: what the clock says meanwhile withholds none."""
    ahead = timedelta(hours=1)
    monkeypatch.setattr("mailusers_plugin.store.clock.now", lambda _: datetime.now(UTC) + ahead)
    recorder = Recorder()
    box = await boxes.open(hooks=[recorder])
    ahead = timedelta(0)
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]


async def test_nothing_is_told_again_when_old_events_are_pruned(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps years ahead has all that is delivered deleted at once; a restart tells none of it again."""
    recorder = Recorder()
    box = await boxes.open(hooks=[recorder])
    await box.add(USER)
    await box.delivered()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_PRUNE_SECONDS", 0.0)
        patch.setattr("mailusers_plugin.store.clock.now", lambda _: datetime.now(UTC) + timedelta(days=4000))
        box.runtime.dispatcher._prune_at = 0
        await box.runtime.dispatcher._tidy()
        await box.handle.stop()
    again = Recorder()
    box = await boxes.open(box.storage, hooks=[again])
    await box.add("new@example.com")
    await box.delivered()
    assert [event.email for event in again.events] == ["new@example.com"]

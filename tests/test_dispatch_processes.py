"""Delivery across processes: those that died, those that deliver nothing, and several at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from mailusers_plugin import hookimpl, owners
from mailusers_plugin.runtime import Runtime
from tests.recorders import Recorder
from tests.support import CONSOLE, USER, Box, Boxes


def command_line(box: Box, *hooks: object) -> Runtime:
    """Return another process's view of a box, which changes it and delivers nothing."""
    return Runtime(box.runtime.settings, hooks)


async def test_died_before_delivery(boxes: Boxes) -> None:
    """What a process committed and did not deliver is delivered by the next one, in order."""
    box = await boxes.open(hooks=[Recorder()])
    await box.handle.stop()
    silent = command_line(box, Recorder())
    await silent.service.add(CONSOLE, USER, "a fine password")
    await silent.service.set_quota(CONSOLE, USER, "1G")
    silent.close()
    recorder = Recorder()
    box = await boxes.open(box.storage, hooks=[recorder])
    await box.delivered()
    assert recorder.types == ["UserAdded", "QuotaChanged"]


async def test_process_without_the_implementation(boxes: Boxes) -> None:
    """A change made by a process that does not have the implementation is delivered by one that has."""
    recorder = Recorder()
    box = await boxes.open(hooks=[recorder])
    silent = command_line(box)
    await silent.service.add(CONSOLE, USER, "a fine password")
    silent.close()
    box.runtime.dispatcher.notify()
    await box.delivered()
    assert recorder.types == ["UserAdded"]


async def test_leases_of_dead_processes(boxes: Boxes) -> None:
    """The next start takes over what a dead process was at, and nothing of a living one."""
    box = await boxes.open(hooks=[Recorder()])
    await box.handle.stop()
    silent = command_line(box, Recorder())
    for email in ("dead@example.com", "alive@example.com"):
        await silent.service.add(CONSOLE, email, "a fine password")
    await silent.dispatcher._plan()
    silent.close()
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%f")
    for email, pid in (("dead@example.com", 2**22 + 1), ("alive@example.com", 1)):
        box.state_sql(
            "UPDATE mailusers_delivery SET lease_owner = ?, lease_until = ? WHERE email = ?",
            f"here:{owners.MACHINE}:{pid}::00000000",
            until,
            email,
        )
    recorder = Recorder()
    box = await boxes.open(box.storage, hooks=[recorder])
    while not recorder.events:
        await asyncio.sleep(0.01)
    assert [event.email for event in recorder.events] == ["dead@example.com"]
    # Once it has run out, a lease holds nothing back.
    box.state_sql(
        "UPDATE mailusers_delivery SET lease_until = '2020-01-01 00:00:00.000000' WHERE state = 'pending'"
    )
    await box.delivered()
    assert recorder.events[-1].email == "alive@example.com"


async def test_two_servers_share_the_work(boxes: Boxes) -> None:
    """Two servers on one box deliver each event once while both live."""
    one, two = Recorder(), Recorder()
    box = await boxes.open(hooks=[one])
    other = await boxes.open(box.storage, hooks=[two])
    await asyncio.gather(*((box, other)[n % 2].add(f"u{n}@example.com") for n in range(20)))
    await box.delivered()
    await other.delivered()
    told = [event.email for event in one.events + two.events]
    assert sorted(told) == sorted(f"u{n}@example.com" for n in range(20))


async def test_stop_waits_for_what_runs(boxes: Boxes) -> None:
    """Stopping lets an implementation that has begun end, and stores that it did."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow:
        @hookimpl
        async def mailusers_post_add(self) -> None:
            begun.set()
            await may_end.wait()

    box = await boxes.open(hooks=[Slow()])
    await box.add(USER)
    await begun.wait()
    stopping = asyncio.ensure_future(box.handle.stop())
    await asyncio.sleep(0)
    may_end.set()
    await stopping
    assert box.state_sql("SELECT state FROM mailusers_delivery WHERE implementation LIKE '%Slow'") == [
        ("done",)
    ]
    assert box.state_sql("SELECT COUNT(*) FROM mailusers_delivery WHERE lease_owner IS NOT NULL") == [(0,)]


async def test_stop_at_the_moment_of_waking(boxes: Boxes) -> None:
    """A dispatcher that is stopped just as it is woken stops all the same."""
    for ticks in range(8):
        box = await boxes.open()
        await box.add(USER)
        await box.delivered()
        box.runtime.dispatcher.notify()
        for _ in range(ticks):
            await asyncio.sleep(0)
        # Not cancelled when the time is over: that would wake it a second time.
        stopping = asyncio.ensure_future(box.runtime.dispatcher.stop())
        done, _ = await asyncio.wait([stopping], timeout=10)
        assert done

"""Delivery of events: at least once, in order per address, each implementation by itself."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from mailusers_plugin import dispatch, hookimpl
from mailusers_plugin.errors import UnavailableError, VetoError
from mailusers_plugin.events import Event, PasswordChanged, UserAdded
from mailusers_plugin.store import deliveries
from tests.recorders import SOON, Another, Plain, Recorder, states
from tests.support import CONSOLE, USER, Boxes, read_time


async def test_order_per_address(boxes: Boxes) -> None:
    """The events of one address arrive in the order in which they happened, even where one fails at first."""
    recorder = Recorder(failures=2)
    box = await boxes.open(hooks=[recorder], **SOON)
    await box.add(USER)
    for quota in ("1G", "2G", "3G"):
        await box.service.set_quota(CONSOLE, USER, quota)
    await box.delivered()
    assert recorder.types == ["UserAdded"] * 3 + ["QuotaChanged"] * 3
    assert [getattr(event, "new_quota", "") for event in recorder.events[3:]] == ["1G", "2G", "3G"]


async def test_repeats_have_the_same_id(boxes: Boxes) -> None:
    """What is delivered again is the same event with the same id, equal in every field."""
    recorder = Recorder(failures=2)
    box = await boxes.open(hooks=[recorder], **SOON)
    change = await box.add(USER)
    await box.delivered()
    assert {event.id for event in recorder.events} == set(change.event_ids)
    assert recorder.events[0] == recorder.events[1] == recorder.events[2]


async def test_one_address_does_not_wait_for_another(boxes: Boxes) -> None:
    """An address whose event fails does not hold up the others' events."""

    class OneFails(Recorder):
        async def take(self, event: Event) -> None:
            await super().take(event)
            if event.email == USER:
                raise RuntimeError("never")
            others_told.set()

    others_told = asyncio.Event()
    box = await boxes.open(hooks=[OneFails()], hook_backoff_seconds=3600)
    await box.add(USER)
    await box.add("other@example.com")
    await others_told.wait()


def _stop_iteration() -> None:
    next(iter(()))


def _exit() -> None:
    raise SystemExit(1)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _timeout() -> None:
    raise TimeoutError("its own")


def _cancelled() -> None:
    raise asyncio.CancelledError


BAD: list[Callable[[], None]] = [_stop_iteration, _exit, _interrupt, _timeout, _cancelled]


@pytest.mark.parametrize("action", BAD)
async def test_bad_plain_implementation(boxes: Boxes, action: Callable[[], None]) -> None:
    """A plain implementation that leaves by any door fails by itself; the others are told."""
    recorder = Recorder()
    box = await boxes.open(hooks=[Plain(action), recorder], hook_attempts=2, **SOON)
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]
    assert await states(box, "Plain") == [("failed", 2)]


@pytest.mark.parametrize("action", BAD)
async def test_bad_coroutine(boxes: Boxes, action: Callable[[], None]) -> None:
    """The same for one that runs on the event loop, which goes on."""

    class Bad:
        @hookimpl
        async def mailusers_post_add(self) -> None:
            await asyncio.sleep(0)
            action()

    recorder = Recorder()
    box = await boxes.open(hooks=[Bad(), recorder], hook_attempts=2, **SOON)
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]
    assert await states(box, "Bad") == [("failed", 2)]


async def test_hanging_coroutine(boxes: Boxes) -> None:
    """A coroutine that hangs is ended at its time limit, and delays nobody else."""

    class Hanging:
        @hookimpl
        async def mailusers_post_add(self) -> None:
            await asyncio.Event().wait()

    recorder = Recorder()
    box = await boxes.open(
        hooks=[Hanging(), recorder], hook_attempts=1, hook_backoff_seconds=0.01, hook_timeout_seconds=0.2
    )
    for number in range(6):
        await box.add(f"u{number}@example.com")
    await box.delivered()
    assert recorder.types == ["UserAdded"] * 6
    assert await states(box, "Hanging") == [("failed", 1)] * 6
    rows = await box.runtime.state.read(deliveries.listing, unfinished_only=True, limit=1)
    assert rows[0]["error"] == "It did not end within 0.2 seconds."


async def test_hanging_plain_implementation(boxes: Boxes) -> None:
    """A plain implementation that hangs keeps its own places only: others and the end of the server go on."""
    let_go = threading.Event()
    plain, recorder = Plain(let_go.wait), Recorder()
    try:
        box = await boxes.open(
            hooks=[plain, recorder], hook_attempts=1, hook_backoff_seconds=0.01, hook_timeout_seconds=0.2
        )
        for number in range(8):
            await box.add(f"u{number}@example.com")
        while len(recorder.events) < 8:
            await asyncio.sleep(0.01)
        assert len(plain.threads) <= 4
    finally:
        let_go.set()
    await box.delivered()
    assert len(plain.threads) >= 8


async def test_plain_runs_in_a_thread(boxes: Boxes) -> None:
    """A plain implementation may block: it does not run on the event loop's thread."""
    plain = Plain()
    box = await boxes.open(hooks=[plain])
    await box.add(USER)
    await box.delivered()
    assert plain.threads == ["mailusers-hook"]


async def test_plain_that_returns_a_coroutine(boxes: Boxes) -> None:
    """A plain function that returns an awaitable has it awaited on the event loop."""
    recorder = Recorder()

    class Wrapped:
        @hookimpl
        def mailusers_post_add(self, event: UserAdded) -> Any:
            return recorder.take(event)

    box = await boxes.open(hooks=[Wrapped()])
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]


async def test_module_as_implementation(boxes: Boxes) -> None:
    """A module's functions are implementations, known by the module's name."""
    told = []
    module = types.ModuleType("my_company.mail_hooks")

    @hookimpl
    def mailusers_post_add(event: UserAdded) -> None:
        told.append(event.email)

    module.mailusers_post_add = mailusers_post_add  # type: ignore[attr-defined]
    box = await boxes.open()
    box.handle.pm.register(module)
    await box.add(USER)
    await box.delivered()
    assert told == [USER]
    assert await states(box, "my_company.mail_hooks") == [("done", 1)]


async def test_failed_list_and_retry(boxes: Boxes) -> None:
    """After the last try a delivery is on the failed list, until somebody has it tried again."""
    recorder, another = Recorder(failures=3, error=VetoError("a reason")), Another()
    box = await boxes.open(hooks=[recorder, another], hook_attempts=3, **SOON)
    change = await box.add(USER)
    await box.delivered()
    assert await states(box, "Recorder") == [("failed", 3)]
    assert await states(box, "Another") == [("done", 1)]
    (row,) = await box.runtime.state.read(deliveries.listing, unfinished_only=True, limit=10)
    assert (row["error"], row["id"], row["email"]) == ("a reason", change.event_ids[0], USER)
    # What failed for good no longer holds up its address.
    await box.service.set_quota(CONSOLE, USER, "1G")
    await box.delivered()
    assert recorder.types[-1] == "QuotaChanged"
    retried = await box.runtime.state.write(deliveries.retry_failed, change.event_ids[0])
    assert retried == list(change.event_ids)
    await box.delivered()
    assert await states(box, "Recorder") == [("done", 1), ("done", 1)]
    assert len(another.events) == 2


async def test_backoff_grows(boxes: Boxes) -> None:
    """The pause after a failure doubles, with jitter, up to an hour."""
    box = await boxes.open(hooks=[Recorder(failures=99)], hook_attempts=99, hook_backoff_seconds=60)
    await box.add(USER)
    pauses = []
    for attempt in range(1, 9):
        while await states(box, "Recorder") != [("pending", attempt)]:
            await asyncio.sleep(0.005)
        ((due, updated),) = box.state_sql(
            "SELECT due_at, updated_at FROM mailusers_delivery WHERE implementation LIKE '%Recorder'"
        )
        pause = read_time(due) - read_time(updated)
        pauses.append(pause.total_seconds() / min(60 * 2 ** (attempt - 1), 3600))
        box.state_sql(
            "UPDATE mailusers_delivery SET due_at = '2020-01-01 00:00:00.000000' WHERE state = 'pending'"
        )
        box.runtime.dispatcher.notify()
    assert all(0.75 <= pause <= 1.25 for pause in pauses)
    assert len(set(pauses)) > 1


async def test_later_registration_gets_later_events(boxes: Boxes) -> None:
    """An implementation that comes later is told of what happens from then on, and of nothing before."""
    box = await boxes.open()
    await box.add("before@example.com")
    recorder = Recorder()
    box.handle.pm.register(recorder)
    await box.add("after@example.com")
    await box.delivered()
    assert [event.email for event in recorder.events] == ["after@example.com"]


async def test_only_hooks_that_it_has(boxes: Boxes) -> None:
    """An implementation is told of the hooks that it has, and no delivery is kept for the others."""
    recorder = Recorder()
    box = await boxes.open(hooks=[recorder])
    await box.add(USER)
    await box.service.set_password(CONSOLE, USER, "another password")
    await box.delivered()
    assert recorder.types == ["UserAdded"]
    assert len(await states(box, "Recorder")) == 1
    assert PasswordChanged.hook not in dir(Recorder)


async def test_registration_is_not_lost_when_it_cannot_be_stored(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the registration cannot be stored no change is made; then the implementation is told of the next one."""
    box = await boxes.open()
    await box.add(USER)
    await box.delivered()
    recorder = Recorder()
    box.handle.pm.register(recorder)

    async def fail(*_: object, **__: object) -> None:
        raise UnavailableError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(box.runtime.state, "write", fail)
        with pytest.raises(UnavailableError):
            await box.service.set_quota(CONSOLE, USER, "1G")
    await box.service.set_quota(CONSOLE, USER, "2G")
    await box.delivered()
    (event,) = recorder.events
    assert event.as_dict()["old_quota"] == "0"


async def test_an_outcome_that_cannot_be_stored_at_once(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away a delivery that has ended is kept in mind, so that the event does not come again."""
    monkeypatch.setattr(dispatch, "_STORE_AGAIN_SECONDS", 0.01)
    recorder = Recorder()
    box = await boxes.open(hooks=[recorder], audit_log=False)
    write, failures = box.runtime.state.write, 3

    async def away(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        if function is deliveries.finish and failures:
            failures -= 1
            raise UnavailableError("The database is away.")
        return await write(function, *args, **kwargs)

    monkeypatch.setattr(box.runtime.state, "write", away)
    await box.add(USER)
    await box.delivered()
    assert failures == 0
    assert await states(box, "Recorder") == [("done", 1)]
    assert recorder.types == ["UserAdded"]


async def test_an_error_that_no_database_takes(boxes: Boxes) -> None:
    """What an implementation raises is stored, also where its text holds NUL or half a character."""
    # Half a character only here: in a log that is captured it would end a test run that is spread over processes.
    assert dispatch._storable("half \udcff") == "half \\udcff"
    box = await boxes.open(hooks=[Recorder(failures=1, error=OSError("no \0"))], hook_attempts=1)
    await box.add(USER)
    await box.delivered()
    rows = await box.runtime.state.read(deliveries.listing, unfinished_only=True, limit=1)
    assert rows[0]["error"] == "OSError: no \\0"

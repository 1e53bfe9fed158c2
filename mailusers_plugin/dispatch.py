"""Delivers events from the outbox to every implementation of their hook, at least once, in order per address.

Each implementation is called by itself and under a time limit, so that one that raises or hangs delays neither
the others nor the answer to the caller. What fails is tried again with exponential backoff and jitter; after the
last try it stays on the failed list.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin.errors import MailUsersError, UnavailableError, VetoError
from mailusers_plugin.hook_calls import HookManager, HookTimeoutError, call
from mailusers_plugin.models import AddRequest
from mailusers_plugin.store import deliveries, outbox
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.deliveries import Delivery

_log = logging.getLogger("mailusers_plugin.dispatch")

_POLL_SECONDS: Final = 1.0
"""How soon a change made by another process is noticed."""
_PLAN_AT_ONCE: Final = 500
_CALLS_AT_ONCE: Final = 4
"""For each implementation. A plain one that hangs keeps its place until its thread ends."""
_LEASE_MARGIN: Final = timedelta(seconds=15)
_MAX_BACKOFF_SECONDS: Final = 3600.0
_PRUNE_EVERY: Final = timedelta(hours=1)
_STOP_SECONDS: Final = 5.0
_TROUBLE_SECONDS: Final = 5.0

_alive: set[str] = set()
"""The dispatchers of this process, so that one does not take another's leases for those of a dead process."""


class Dispatcher:
    """Hands out the events of one database, from one event loop."""

    def __init__(
        self,
        database: Database,
        state: Database,
        manager: HookManager,
        *,
        timeout_seconds: float = 30.0,
        attempts: int = 10,
        backoff_seconds: float = 1.0,
        keep_days: float = 30.0,
    ) -> None:
        """Take what it works with; nothing runs before :meth:`start`.

        :param database: where the outbox is
        :param state: where the deliveries are
        :param timeout_seconds: how long one call may take
        :param attempts: how often a delivery is tried
        :param backoff_seconds: pause after the first failure; it doubles each time, up to an hour
        :param keep_days: how long delivered events are kept
        """
        self._database = database
        self._state = state
        self._manager = manager
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._backoff_seconds = backoff_seconds
        # Longer than anything stays in the outbox, so that no event is taken over a second time.
        self._keep = max(timedelta(days=keep_days), 24 * _PRUNE_EVERY)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._busy: Counter[str] = Counter()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._subscribing = asyncio.Lock()
        self._pruned_at: datetime | None = None
        # Up to here in the outbox. Only to save reading: an event is taken over once, by its id.
        self._planned = 0

    @property
    def running(self) -> bool:
        """Tell whether events are being delivered."""
        return self._loop_task is not None

    async def subscribe(self) -> None:
        """Make sure that a change made from now on is delivered to every registered implementation."""
        # Who comes while another is at it must not go on before that is stored.
        async with self._subscribing:
            wanted = self._manager.changes()
            if wanted:
                await self._state.write(deliveries.subscribe, wanted, datetime.now(UTC))
                self._manager.forget_changes(wanted)

    async def start(self) -> None:
        """Begin to deliver, first what a dead process left behind."""
        if self._loop_task is not None:
            return
        _alive.add(self._owner)
        self._loop_task = asyncio.create_task(self._run(), name="mailusers-dispatch")
        await self.subscribe()

    async def stop(self) -> None:
        """Let calls that run end, for a few seconds; what did not end is delivered at the next start."""
        if self._loop_task is None:
            return
        self._loop_task.cancel()
        with suppress(asyncio.CancelledError):
            await self._loop_task
        self._loop_task = None
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=_STOP_SECONDS)
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        with suppress(UnavailableError):
            await self._state.write(deliveries.release, [self._owner])
        _alive.discard(self._owner)

    def notify(self) -> None:
        """Say that an event was committed, so that its first delivery starts at once."""
        self._wake.set()

    async def wait(self, event_ids: Sequence[str], timeout_seconds: float, *, tried: bool = False) -> bool:
        """Wait until events are delivered to every implementation of this process, or have failed for good.

        :param event_ids: those of a change
        :param timeout_seconds: how long at the most
        :param tried: stop waiting once each delivery was tried, whatever came of it
        :returns: whether nothing is left to be done
        """
        names = list(self._manager.implementations())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while await self._open(event_ids, names, untried_only=tried):
                    self._progress.clear()
                    await _wait(self._progress, 0.2)
        return not await self._open(event_ids, names)

    async def _open(
        self, event_ids: Sequence[str], names: Sequence[str], *, untried_only: bool = False
    ) -> int:
        return await self._state.read(deliveries.count_open, event_ids, names, untried_only=untried_only)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self._turn()
            except UnavailableError as error:
                _log.warning("Events wait: %s", error)
                pause = _TROUBLE_SECONDS
            except Exception:
                _log.exception("Delivering events failed; it goes on in %g seconds", _TROUBLE_SECONDS)
                pause = _TROUBLE_SECONDS
            await _wait(self._wake, pause)
            self._wake.clear()

    async def _turn(self) -> float:
        """Start what is due; return how long nothing else will be."""
        await self.subscribe()
        await self._plan()
        await self._tidy()
        free = {
            name: _CALLS_AT_ONCE - self._busy[name]
            for name in self._manager.implementations()
            if self._busy[name] < _CALLS_AT_ONCE
        }
        due_at = await self._state.read(deliveries.next_due, list(free))
        now = datetime.now(UTC)
        if due_at is None:
            return _POLL_SECONDS
        if due_at > now:
            return min(_POLL_SECONDS, (due_at - now).total_seconds())
        until = now + timedelta(seconds=self._timeout_seconds) + _LEASE_MARGIN
        for delivery in await self._state.write(deliveries.claim, free, self._owner, now, until):
            self._busy[delivery.implementation] += 1
            task = asyncio.create_task(self._deliver(delivery))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        return _POLL_SECONDS

    async def _plan(self) -> None:
        """Take over new events from the outbox."""
        while entries := await self._new_entries():
            await self._state.write(deliveries.plan, entries)
            self._planned = entries[-1].seq

    async def _new_entries(self) -> list[outbox.Entry]:
        if self._state is self._database:
            return await self._database.read(outbox.not_taken_over, _PLAN_AT_ONCE)
        return await self._database.read(outbox.after, self._planned, _PLAN_AT_ONCE)

    async def _tidy(self) -> None:
        """Now and then take over from dead processes and delete what is old."""
        now = datetime.now(UTC)
        first = self._pruned_at is None
        if self._pruned_at is not None and now - self._pruned_at < _PRUNE_EVERY:
            return
        self._pruned_at = now
        if first:
            owners = await self._state.read(deliveries.lease_owners)
            dead = [owner for owner in owners if _is_dead(owner)]
            if dead:
                await self._state.write(deliveries.release, dead)
        await self._state.write(deliveries.prune, now - self._keep)
        # What was handed on long ago goes. Only where there is something: each commit here may hinder Postfix.
        before = now - _PRUNE_EVERY
        if self._state is self._database:
            await self._database.write(outbox.prune_taken_over, before)
        elif await self._database.read(outbox.has_before, self._planned, before):
            await self._database.write(outbox.prune, self._planned, before)

    async def _deliver(self, delivery: Delivery) -> None:
        name = delivery.implementation
        error: str | None = None
        try:
            implementation = self._manager.implementation(name, delivery.event.hook)
            if implementation is None:
                self._give_back(name)
            else:
                await call(
                    implementation,
                    {"event": delivery.event},
                    self._timeout_seconds,
                    on_end=lambda: self._give_back(name),
                )
        except HookTimeoutError:
            error = f"It did not end within {self._timeout_seconds:g} seconds."
            _log.error("%s was too slow with %s %s", name, delivery.event.type, delivery.event.id)
        except MailUsersError as raised:
            error = raised.message[:1000]
            _log.warning("%s failed with %s %s: %s", name, delivery.event.type, delivery.event.id, error)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"[:1000]
            _log.error("%s failed with %s %s", name, delivery.event.type, delivery.event.id, exc_info=raised)
        await self._finish(delivery, error)

    async def _finish(self, delivery: Delivery, error: str | None) -> None:
        now = datetime.now(UTC)
        retry_at = None
        if error is not None and delivery.attempts + 1 < self._attempts:
            seconds = min(self._backoff_seconds * 2**delivery.attempts, _MAX_BACKOFF_SECONDS)
            # Jitter keeps many failed deliveries from coming back all at once.
            retry_at = now + timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311
        try:
            await self._state.write(deliveries.finish, delivery, now, error=error, retry_at=retry_at)
        except UnavailableError as trouble:
            # The lease runs out and the event is delivered again: at least once is what is promised.
            _log.warning("The outcome of a delivery could not be stored: %s", trouble)
        self._progress.set()
        self._wake.set()

    def _give_back(self, name: str) -> None:
        self._busy[name] -= 1
        self._wake.set()


async def _wait(event: asyncio.Event, timeout_seconds: float) -> None:
    """Wait for an event or until the time is over.

    Not by ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that comes together with the event.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            await event.wait()


async def ask_validators(manager: HookManager, request: AddRequest, timeout_seconds: float) -> None:
    """Let every ``mailusers_validate_add`` look at a new user before anything is written.

    :raises MailUsersError: what the first one raises that refuses
    :raises VetoError: if one fails or hangs: a rule that could not be checked is not taken as kept
    """
    for name, implementation in manager.validators():
        try:
            await call(implementation, {"request": request}, timeout_seconds)
        except MailUsersError:
            raise
        except Exception as error:
            _log.error("%s failed in mailusers_validate_add", name, exc_info=error)
            raise VetoError(
                f"The user was not added, because the module {name} could not check the request. "
                "The server's log says why."
            ) from None


def _is_dead(owner: str) -> bool:
    """Tell whether a lease's owner was a process of this machine that has ended."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    if int(pid) == os.getpid():
        return owner not in _alive
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

"""Delivers events from the outbox to every implementation of their hook, at least once, in order per address.

Each implementation is called by itself and under a time limit, so that one that raises or hangs delays neither
the others nor the answer to the caller. What fails is tried again with exponential backoff and jitter; after the
last try it stays on the failed list.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from mailusers_plugin import owners
from mailusers_plugin.errors import MailUsersError, UnavailableError, VetoError
from mailusers_plugin.hook_calls import HookManager, HookTimeoutError, call
from mailusers_plugin.measures import DELIVERED, FAILED, TOO_SLOW, Measures
from mailusers_plugin.models import AddRequest
from mailusers_plugin.store import backlog, clock, deliveries, ended, outbox, planning
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.deliveries import Delivery
from mailusers_plugin.texts import N_

_log = logging.getLogger("mailusers_plugin.dispatch")

_POLL_SECONDS: Final = 1.0
"""How soon a change made by another process is noticed."""
_PLAN_AT_ONCE: Final = 500
_PLAN_AGAIN_SECONDS: Final = 0.02
"""How soon events are looked at again that waited for another process to plan an earlier one."""
_CALLS_AT_ONCE: Final = 4
"""For each implementation. A plain one that hangs keeps its place until its thread ends."""
_LEASE_MARGIN_SECONDS: Final = 15.0
_MAX_BACKOFF_SECONDS: Final = 3600.0
_TAKE_OVER_SECONDS: Final = 2.0
"""How often it is looked whether another process of this machine has died."""
_PRUNE_SECONDS: Final = 3600.0
_PRUNE_AT_ONCE: Final = 1000
_PRUNE_MORE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0
_TROUBLE_SECONDS: Final = 5.0
_STORE_AGAIN_SECONDS: Final = 1.0
_ERROR_LENGTH: Final = 1000


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
        measures: Measures | None = None,
        audited: bool = True,
    ) -> None:
        """Take what it works with; nothing runs before :meth:`start`.

        :param database: where the outbox is
        :param state: where the deliveries are
        :param timeout_seconds: how long one call may take
        :param attempts: how often a delivery is tried
        :param backoff_seconds: pause after the first failure; it doubles each time, up to an hour
        :param keep_days: how long delivered events are kept
        :param measures: where calls are counted
        :param audited: whether the audit trail is kept
        """
        self._database = database
        self._state = state
        self._manager = manager
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._backoff_seconds = backoff_seconds
        # Longer than anything stays in the outbox, so that no event is taken over a second time.
        self._keep = max(timedelta(days=keep_days), timedelta(seconds=24 * _PRUNE_SECONDS))
        self._measures = measures or Measures()
        self._audited = audited
        self._owner = owners.new_owner()
        self._busy: Counter[str] = Counter()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._subscribing = asyncio.Lock()
        self._take_over_at = self._prune_at = float("-inf")
        self._held: set[str] = set()
        self._suspects = 0
        # Up to here in the outbox. Only to save reading: an event is taken over once, by its id.
        self._planned = 0
        self._files = self._files_seen()

    @property
    def running(self) -> bool:
        """Tell whether events are being delivered."""
        return self._loop_task is not None

    async def subscribe(self) -> None:
        """Make sure that a change made from now on is delivered to every registered implementation."""
        # Who comes while another is at it must not go on before that is stored.
        async with self._subscribing:
            wanted = self._manager.changes()
            if not wanted:
                return
            if self._state is self._database:
                # What happened before is for those who were there before.
                await self._plan()
                await self._state.write(planning.subscribe, wanted)
            else:
                position = await self._database.read(outbox.position)
                await self._state.write(planning.subscribe, wanted, position)
            self._manager.forget_changes(wanted)

    async def start(self) -> None:
        """Begin to deliver, first what a dead process left behind."""
        if self._loop_task is not None:
            return
        owners.enlist(self._owner)
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
        owners.retire(self._owner)

    async def backlog(self) -> Sequence[backlog.Waiting]:
        """Return what every implementation has not been told yet.

        :raises UnavailableError: if the database is away
        """
        return await self._state.read(backlog.waiting)

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
        pause = _PLAN_AGAIN_SECONDS if await self._plan() else _POLL_SECONDS
        await self._tidy()
        free = {
            name: _CALLS_AT_ONCE - self._busy[name]
            for name in self._manager.implementations()
            if self._busy[name] < _CALLS_AT_ONCE and name not in self._held
        }
        due = await self._state.read(deliveries.next_due, list(free), self._owner)
        if due is None or due > 0:
            return pause if due is None else min(pause, due)
        lease_seconds = self._timeout_seconds + _LEASE_MARGIN_SECONDS
        claimed = await self._state.write(
            deliveries.claim, free, self._owner, lease_seconds, with_suspect=not self._suspects
        )
        for delivery in claimed:
            self._busy[delivery.implementation] += 1
            self._suspects += delivery.suspect
            task = asyncio.create_task(self._deliver(delivery))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        return pause

    async def _plan(self) -> bool:
        """Take over new events from the outbox.

        :returns: whether some wait for another process to take over earlier ones
        """
        if self._state is self._database:
            while True:
                taken = await self._database.write(planning.take_over, _PLAN_AT_ONCE, audited=self._audited)
                if taken.waits or taken.planned < _PLAN_AT_ONCE:
                    return taken.waits
        await self._notice_restored()
        while entries := await self._database.read(outbox.after, self._planned, _PLAN_AT_ONCE):
            await self._state.write(planning.plan, entries, audited=self._audited)
            self._planned = entries[-1].seq
        return False

    async def _notice_restored(self) -> None:
        """Begin anew where a backup was put in place of a file: its numbers begin again further down."""
        seen = await asyncio.to_thread(self._files_seen)
        if seen == self._files:
            return
        replaced = seen[1:] != self._files[1:]
        position = await self._database.read(outbox.position)
        if replaced or position < self._planned:
            self._planned = 0
            wanted = self._manager.implementations()
            await self._state.write(planning.begin_anew, wanted, position)
        self._files = seen

    def _files_seen(self) -> tuple[int, int, int]:
        changes = self._database.foreign_changes()
        return changes, self._database.replacements, self._state.replacements

    async def _tidy(self) -> None:
        """Now and then take over from dead processes and delete what is old. It does no harm if all processes do it."""
        now = time.monotonic()
        if now >= self._take_over_at:
            self._take_over_at = now + _TAKE_OVER_SECONDS
            await self._take_over_from_dead()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_SECONDS
            await self._prune()

    async def _take_over_from_dead(self) -> None:
        leasing = await self._state.read(deliveries.lease_owners)
        dead = [owner for owner in leasing if owners.is_dead(owner)]
        failed: list[str] = []
        if dead:
            failed += await self._state.write(ended.take_from_dead, dead, self._backoff_seconds)
        if leasing - {self._owner, *dead}:
            failed += await self._state.write(ended.take_from_silent, self._owner, self._backoff_seconds)
        for which in failed:
            _log.error(
                "%s: the server has ended during this call again and again. That module is not called any more. "
                "Mend it, then run 'mailusers events retry'.",
                which,
            )
        self._held = await self._state.read(ended.held, list(self._manager.implementations()))

    async def _prune(self) -> None:
        now = await self._state.read(clock.now)
        # What was handed on long ago goes, the outbox first: should the process end in between, or the clock be wrong
        # by years, no event is in there that is not known here any more, and would be taken for a new one. Only where
        # there is something: each commit here may hinder Postfix.
        before = now - timedelta(seconds=_PRUNE_SECONDS)
        if self._state is not self._database and await self._database.read(
            outbox.has_before, self._planned, before
        ):
            await self._database.write(outbox.prune, self._planned, before)
        if await self._state.write(deliveries.prune, now - self._keep, _PRUNE_AT_ONCE) == _PRUNE_AT_ONCE:
            # Deliveries do not wait until all is gone.
            self._prune_at = time.monotonic() + _PRUNE_MORE_SECONDS

    async def _deliver(self, delivery: Delivery) -> None:
        name = delivery.implementation
        error: str | None = None
        outcome = FAILED
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
            outcome = DELIVERED
        except HookTimeoutError:
            outcome = TOO_SLOW
            error = f"It did not end within {self._timeout_seconds:g} seconds."
            _log.error("%s was too slow with %s %s", name, delivery.event.type, delivery.event.id)
        except MailUsersError as raised:
            error = _storable(raised.message)
            _log.warning("%s failed with %s %s: %s", name, delivery.event.type, delivery.event.id, error)
        except Exception as raised:
            error = _storable(f"{type(raised).__name__}: {raised}")
            _log.error("%s failed with %s %s", name, delivery.event.type, delivery.event.id, exc_info=raised)
        self._measures.delivery(name, delivery.event.hook, outcome)
        await self._finish(delivery, error)

    async def _finish(self, delivery: Delivery, error: str | None) -> None:
        retry_seconds = None
        if error is not None and delivery.attempts + 1 < self._attempts:
            seconds = min(self._backoff_seconds * 2**delivery.attempts, _MAX_BACKOFF_SECONDS)
            # Jitter keeps many failed deliveries from coming back all at once.
            retry_seconds = seconds * random.uniform(0.75, 1.25)  # noqa: S311  # nosec B311
        told = False
        while True:
            try:
                await self._state.write(deliveries.finish, delivery, error=error, retry_seconds=retry_seconds)
                break
            except UnavailableError as trouble:
                # Should the process end before this is stored, the event is delivered again: at least once is what is
                # promised. While it lives it need not come to that.
                if not told:
                    _log.warning("The outcome of a delivery could not be stored yet: %s", trouble)
                    told = True
                await asyncio.sleep(_STORE_AGAIN_SECONDS)
        self._suspects -= delivery.suspect
        self._progress.set()
        self._wake.set()

    def _give_back(self, name: str) -> None:
        self._busy[name] -= 1
        self._wake.set()


def _storable(text: str) -> str:
    """Return what every database takes: no NUL, no half of a character, and not too long."""
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return clean.replace("\0", "\\0")[:_ERROR_LENGTH]


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
                N_(
                    "The user was not added, because the module %(module)s could not check the request. "
                    "The server's log says why."
                ),
                module=name,
            ) from None

"""One import as it runs: passwords are hashed on all processors, then all users are added at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.errors import MailUsersError, UnavailableError
from mailusers_plugin.import_models import Added, Candidate, Fault, JobState, Outcome, Row
from mailusers_plugin.imports_memory import Held
from mailusers_plugin.imports_recovery import added_users
from mailusers_plugin.service_import import BulkAdd
from mailusers_plugin.store import imports
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_

_log = logging.getLogger("mailusers_plugin.imports")

_BEAT_SECONDS: Final = 1.0
_FAILED: Final = N_("The import failed. The server's log says why.")


class _StoppedError(Exception):
    """Nothing is imported, for a line's fault.

    :ivar line: of the file
    """

    def __init__(self, line: int, fault: Fault) -> None:
        super().__init__(fault.template)
        self.line = line
        self.fault = fault


class Run:
    """Imports the lines that were chosen."""

    def __init__(
        self,
        database: Database,
        state: Database,
        bulk: BulkAdd,
        held: Held,
        *,
        leave_out: bool,
        restore: bool,
    ) -> None:
        """Take what it works with.

        :param database: the accounts
        :param leave_out: whether lines that cannot be added when it comes to it are left out
        :param restore: whether the users may have the archived mailboxes of their addresses
        """
        self._database = database
        self._state = state
        self._bulk = bulk
        self._held = held
        self._leave_out = leave_out
        self._restore = restore
        self._candidates: list[Candidate] = []
        self._faults: dict[int, Fault] = {}

    async def import_all(self, chosen: Sequence[Row]) -> None:
        """Import, and write down what came of it. Whoever cancels this before users are added undoes all of it.

        :param chosen: lines without faults, at least one
        """
        try:
            await self._import(chosen)
        except asyncio.CancelledError:
            await self._end(self._held.when_cancelled)
            raise
        except _StoppedError as stopped:
            await self._end(JobState.FAILED, stopped.fault, stopped.line)
        except UnavailableError as error:
            _log.warning("An import ended: %s", error)
            await self._end_unless_added(Fault.of("", error))
        except Exception:
            _log.exception("An import ended")
            await self._end_unless_added(Fault("", _FAILED))

    async def _import(self, chosen: Sequence[Row]) -> None:
        beating = asyncio.create_task(self._beat(asyncio.current_task()), name="mailusers-import-beat")
        try:
            await self._prepare(chosen)
        finally:
            beating.cancel()
            await asyncio.wait([beating])
        # From here on nobody cancels it.
        self._held.adding = True
        if not await self._state.write(imports.begin_adding, self._held.job_id):
            # Another process did before.
            return
        added = Added({}, {})
        if self._candidates:
            self._candidates.sort(key=lambda candidate: candidate.number)
            added = await self._bulk.add_all(self._held.actor, self._candidates, leave_out=self._leave_out)
        if added.faults and not self._leave_out:
            raise _StoppedError(*min(added.faults.items()))
        self._faults.update(added.faults)
        await self._succeed(added.outcomes)

    async def _prepare(self, chosen: Sequence[Row]) -> None:
        """Ask the modules and hash the passwords."""
        waiting = iter(chosen)
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._bulk.workers, len(chosen))):
                workers.create_task(self._work(waiting))
        if self._faults and not self._leave_out:
            line = min(self._faults)
            raise _StoppedError(line, self._faults[line])

    async def _work(self, waiting: Iterator[Row]) -> None:
        held = self._held
        for row in waiting:
            if self._faults and not self._leave_out:
                return
            try:
                candidate, made = await self._bulk.prepare(
                    held.actor, row, held.job_id, restore=self._restore
                )
            except MailUsersError as error:
                self._faults[row.number] = Fault.of("", error)
            else:
                if made:
                    held.made[row.number] = made
                self._candidates.append(candidate)
            held.prepared += 1

    async def _beat(self, run: asyncio.Task[None] | None) -> None:
        """Tell other processes how far it is, and end where one of them has cancelled it."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                goes_on = await self._state.write(
                    imports.say_progress, self._held.job_id, self._held.prepared
                )
            except UnavailableError:
                # It is not what matters here.
                continue
            if not goes_on and run is not None:
                run.cancel()

    async def _succeed(self, outcomes: Mapping[int, Outcome]) -> None:
        held = self._held
        await self._bulk.show([c.email for c in self._candidates if c.number in outcomes])
        held.finish(outcomes, self._faults)
        await self._state.write(imports.succeed, held.job_id, datetime.now(UTC), outcomes, self._faults)

    async def _end_unless_added(self, fault: Fault) -> None:
        """End it after a failure of which it is not known when it came."""
        try:
            if self._held.adding:
                outcomes = await added_users(self._database, self._state, self._held.job_id)
                if outcomes:
                    await self._succeed(outcomes)
                    return
        except MailUsersError:
            # Whoever looks at it next finds out.
            return
        await self._end(JobState.FAILED, fault)

    async def _end(self, state: JobState, fault: Fault | None = None, line: int = 0) -> None:
        self._held.adding = False
        kept = None if fault is None else fault.for_keeping()
        with suppress(MailUsersError):
            await self._state.write(
                imports.end, self._held.job_id, state, datetime.now(UTC), fault=kept, line=line
            )

"""Runs imports: a file is uploaded and checked, somebody decides, passwords are hashed, all users are added at once.

The content with its passwords stays in the memory of the process that got it. The state database knows how far each
import is, so that a process that died leaves no doubt: until the one transaction that adds all users nothing has
happened, and whether that transaction was made is told by the events that are written in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin import owners
from mailusers_plugin.errors import (
    InvalidInputError,
    MailUsersError,
    RestoreConsentError,
    UnavailableError,
)
from mailusers_plugin.import_file import parse
from mailusers_plugin.import_models import Fault, Job, JobState, KeptRow, Outcome, ResultLine, Row
from mailusers_plugin.imports_memory import Held, Memory
from mailusers_plugin.imports_recovery import is_orphaned, settle
from mailusers_plugin.imports_run import Run
from mailusers_plugin.models import Actor
from mailusers_plugin.service_import import BulkAdd
from mailusers_plugin.store import clock, imports
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import ACCOUNT_CHARACTERS, MAX_EMAIL_LENGTH

_log = logging.getLogger("mailusers_plugin.imports")

KEEP_SECONDS: Final = 3600.0
"""How long a file is kept when nobody looks at it, and a result."""
KEEP_JOBS: Final = timedelta(days=7)
_PRUNE_SECONDS: Final = 3600.0
_NAME_LENGTH: Final = 200

NOT_IN_MEMORY: Final = N_(
    "The file is not in this server's memory any more. Nothing was imported. Upload it again."
)
ELSEWHERE: Final = N_(
    "Another process of this server has the file in its memory. Load the page again, or upload the file once more."
)
RESULT_ELSEWHERE: Final = N_(
    "Another process of this server has the result file in its memory, for an hour after the import. Load this again "
    "until that one answers."
)
_ELSEWHERE_RETRY_SECONDS: Final = 1
_NOT_YOURS: Final = N_("Somebody else has uploaded this file. Only who did can do this.")
_FAULTY: Final = N_("Lines with errors are left. Mend the file, or leave them out.")
_NOBODY: Final = N_("There is no line that could be imported.")
_NOT_RESTORED: Final = N_("The address has an archived mailbox, which the new user was not to have.")
_TOO_LATE: Final = N_("It is too late to cancel: the users are being added.")


@dataclass(frozen=True, slots=True)
class View:
    """An import as it is shown.

    :ivar held: what this process knows of it, ``None`` where that is nothing
    :ivar elsewhere: whether another process that lives may know more
    """

    job: Job
    held: Held | None
    elsewhere: bool = False


class Imports:
    """The imports of one box."""

    def __init__(
        self,
        database: Database,
        state: Database,
        bulk: BulkAdd,
        *,
        max_rows: int,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        """Take what it works with.

        :param database: the accounts
        :param max_rows: how many users a file may hold
        :param keep_seconds: how long a file is kept when nobody looks at it, and a result
        """
        self._database = database
        self._state = state
        self._bulk = bulk
        self.max_rows = max_rows
        self._owner = owners.new_owner()
        self._keep_seconds = keep_seconds
        self._memory = Memory(keep_seconds)
        self._uploading = asyncio.Lock()
        self._deciding = asyncio.Lock()
        self._pruned_at = float("-inf")

    async def start(self) -> None:
        """Find out what became of imports whose process died, and drop old ones."""
        owners.enlist(self._owner)
        try:
            for job in await self._state.read(imports.unfinished):
                await self._settle(job)
            await self._prune()
        except MailUsersError as error:
            _log.warning("Imports that were interrupted could not be looked at yet: %s", error)

    async def stop(self) -> None:
        """End what runs: what is being added is added, of all else nothing is imported."""
        running = self._memory.running()
        for held in running:
            if held.task is not None and not held.adding:
                held.when_cancelled = JobState.INTERRUPTED
                held.task.cancel()
        if running:
            await asyncio.wait([held.task for held in running if held.task is not None])
        with suppress(MailUsersError):
            for job in await self._state.read(imports.unfinished):
                # Of one that was adding it is not known what it did; whoever looks at it next finds out.
                if job.owner == self._owner:
                    of = (JobState.READY, JobState.RUNNING)
                    await self._state.write(
                        imports.end, job.id, JobState.INTERRUPTED, datetime.now(UTC), of=of
                    )
        self._memory.forget_all()
        owners.retire(self._owner)

    async def upload(self, actor: Actor, name: str, content: bytes) -> str:
        """Read and check a file.

        :param name: of the file, as it is to be shown
        :returns: the import's id
        :raises InvalidInputError: if it cannot be read
        :raises UnavailableError: if too many wait, or a database is away
        """
        # One at a time, so that many large ones do not fill the memory.
        async with self._uploading:
            parsed = await asyncio.to_thread(parse, content, self.max_rows)
            rows = await self._bulk.check_as(actor, parsed.lines)
            now = datetime.now(UTC)
            # Not beside a decision: of an import that is about to begin the file would be forgotten.
            async with self._deciding:
                for replaced in self._memory.make_room(actor):
                    await self._state.write(
                        imports.end, replaced, JobState.CANCELLED, now, of=[JobState.READY]
                    )
            job_id = uuid.uuid4().hex
            shown = "".join(c for c in name if c.isprintable())[:_NAME_LENGTH]
            job = Job(job_id, shown, actor, now, self._owner, now, JobState.READY, len(rows))
            # Before others can see it, who would take it for one whose file is lost.
            self._memory.keep(Held(job_id, actor, parsed, rows))
            try:
                await self._state.write(imports.create, job)
            except BaseException:
                self._memory.forget(job_id)
                raise
        return job_id

    async def recent(self, limit: int = 10) -> list[Job]:
        """Return the newest imports, the newest first."""
        await self._prune()
        return [await self._settle(job) for job in await self._state.read(imports.recent, limit)]

    async def view(self, job_id: str) -> View | None:
        """Return an import, ``None`` where there is none of that id."""
        job = await self._state.read(imports.find, job_id)
        if job is None:
            return None
        job = await self._settle(job)
        held = self._memory.peek(job_id)
        if job.state.is_over and held is not None and held.task is not None and held.is_running:
            # It is about to end, or to notice that another process has cancelled it: until then nothing can be done.
            await asyncio.wait([held.task])
        if job.state in (JobState.CANCELLED, JobState.INTERRUPTED):
            self._memory.forget(job_id)
        held = self._memory.get(job_id)
        if held is not None and job.state is JobState.RUNNING:
            job = replace(job, prepared=held.prepared)
        return View(job, held, self._is_elsewhere(job))

    def _is_elsewhere(self, job: Job) -> bool:
        """Tell whether another process may have the file of an import, or its result, in its memory."""
        if job.owner == self._owner or owners.is_dead(job.owner):
            return False
        if job.state in (JobState.CANCELLED, JobState.INTERRUPTED):
            return False
        since = job.ended_at or job.seen_at
        return datetime.now(UTC) - since < timedelta(seconds=self._keep_seconds)

    async def _settle(self, job: Job) -> Job:
        """Return an import as it is, where it is not as it is written down."""
        if job.state.is_over:
            return job
        if job.owner == self._owner:
            if self._is_at_work(job):
                return job
            # It may be the very moment in which it begins.
            async with self._deciding:
                found = await self._state.read(imports.find, job.id)
                job = found or job
                if job.state.is_over or self._is_at_work(job):
                    return job
                held = self._memory.peek(job.id)
                lost = held is None or held.result is None
                return await settle(self._database, self._state, job, lost=lost)
        if is_orphaned(job, await self._state.read(clock.now)):
            return await settle(self._database, self._state, job)
        return job

    def _is_at_work(self, job: Job) -> bool:
        held = self._memory.peek(job.id)
        return held is not None and (held.is_running or job.state is JobState.READY)

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_at > _PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            await self._state.write(imports.prune, datetime.now(UTC) - KEEP_JOBS)

    async def _mine(self, actor: Actor, job_id: str) -> Held:
        held = self._memory.get(job_id)
        if held is None:
            job = await self._state.read(imports.find, job_id)
            if job is not None and self._is_elsewhere(job):
                # Sent once more, it may come to the right one.
                raise UnavailableError(ELSEWHERE, _ELSEWHERE_RETRY_SECONDS)
            raise InvalidInputError(NOT_IN_MEMORY)
        if held.actor != actor:
            raise InvalidInputError(_NOT_YOURS)
        return held

    async def rows(
        self, job_id: str, offset: int, limit: int, outcomes: Collection[Outcome] = ()
    ) -> list[KeptRow]:
        """Return what is kept of the lines of an import that began.

        :param offset: how many to pass over
        :param outcomes: only those of which this became; all where there is none
        """
        return await self._state.read(imports.rows, job_id, offset, limit, outcomes)

    async def counts(self, job_id: str) -> dict[Outcome, int]:
        """Return of how many lines what became."""
        return await self._state.read(imports.count, job_id)

    async def check_again(self, actor: Actor, job_id: str) -> None:
        """Check the lines of a file once more, after it failed or somebody changed the box.

        :raises InvalidInputError: if that is not possible any more
        """
        async with self._deciding:
            held = await self._mine(actor, job_id)
            if held.parsed is None or held.is_running:
                return
            rows = await self._bulk.check_as(held.actor, held.parsed.lines)
            if await self._state.write(imports.reopen, job_id):
                held.rows = rows

    async def run(self, actor: Actor, job_id: str, *, leave_out: bool, restore: bool | None) -> None:
        """Begin to import.

        :param leave_out: whether lines with errors are left out, now and when it comes to adding
        :param restore: whether the users may have the archived mailboxes of their addresses; if not, their lines are
            left out. ``None`` where nobody has said
        :raises InvalidInputError: if lines with errors are left, nobody would be added, or another import runs
        :raises RestoreConsentError: if somebody has to say whether users may have archived mailboxes
        """
        async with self._deciding:
            held = await self._mine(actor, job_id)
            if held.is_running or held.result is not None:
                # Sent twice.
                return
            rows = held.rows
            if any(row.faults for row in rows) and not leave_out:
                raise InvalidInputError(_FAULTY)
            if restore is None and any(row.archived and not row.faults for row in rows):
                raise RestoreConsentError
            # Of many lines it takes a while.
            kept = await asyncio.to_thread(lambda: [_kept(row, bool(restore)) for row in rows])
            chosen = [row for row, k in zip(rows, kept, strict=True) if k.outcome is Outcome.PLANNED]
            if not chosen:
                raise InvalidInputError(_NOBODY)
            await self._state.write(imports.begin, job_id, kept)
            refused = {
                row.number: k.fault
                for row, k in zip(rows, kept, strict=True)
                if k.fault is not None and not row.faults
            }
            # The same person, but maybe from elsewhere than where the file was sent from.
            held.actor = actor
            held.begin(len(chosen), refused)
            run = Run(
                self._database, self._state, self._bulk, held, leave_out=leave_out, restore=bool(restore)
            )
            held.task = asyncio.create_task(run.import_all(chosen), name="mailusers-import")
            held.task.add_done_callback(lambda _: self._memory.renew(held))

    async def cancel(self, job_id: str) -> None:
        """Cancel an import; nothing of it happens.

        :raises InvalidInputError: if it is too late
        """
        held = self._memory.get(job_id)
        if held is not None and held.is_running and held.task is not None:
            if held.adding:
                raise InvalidInputError(_TOO_LATE)
            held.task.cancel()
            await asyncio.wait([held.task])
            self._memory.forget(job_id)
            return
        # One that another process has at work notices it; whether it was too late for that is not known before.
        of = (JobState.READY, JobState.RUNNING, JobState.FAILED)
        if await self._state.write(imports.end, job_id, JobState.CANCELLED, datetime.now(UTC), of=of):
            self._memory.forget(job_id)

    async def result(self, actor: Actor, job_id: str) -> Sequence[ResultLine] | None:
        """Return what became of each line, with the passwords that were made up; ``None`` once it is forgotten.

        :raises InvalidInputError: if somebody else imported the file: he knows the passwords, nobody else need
        :raises UnavailableError: if another process has it
        """
        held = self._memory.get(job_id)
        if held is None:
            job = await self._state.read(imports.find, job_id)
            if job is not None and job.state is JobState.DONE and self._is_elsewhere(job):
                raise UnavailableError(RESULT_ELSEWHERE, _ELSEWHERE_RETRY_SECONDS)
        if held is None or held.result is None:
            return None
        if held.actor != actor:
            raise InvalidInputError(_NOT_YOURS)
        return held.result


def _kept(row: Row, restore: bool) -> KeptRow:
    """Return what is kept of a line: the address only where it is one, for columns may be mixed up."""
    fault = row.faults[0] if row.faults else None
    if fault is None and row.archived and not restore:
        fault = Fault("", _NOT_RESTORED)
    is_address = len(row.email) <= MAX_EMAIL_LENGTH and ACCOUNT_CHARACTERS.fullmatch(row.email) is not None
    return KeptRow(
        row.number,
        row.email if is_address else "",
        row.wants_password,
        Outcome.PLANNED if fault is None else Outcome.LEFT_OUT,
        fault,
    )

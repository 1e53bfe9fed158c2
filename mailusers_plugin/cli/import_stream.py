"""Imports a file of any size, some lines in one transaction, and goes on where it was when it was ended.

It goes over the file twice. First every line is checked, so that a faulty one is known before anything is changed.
Then one part reads and checks lines once more, a second one hashes their passwords, and a third one adds those that are
ready, all at the same time. Neither the memory it takes nor its speed depend on the number of lines.

What is added, and what of it is written where, is in an order that leaves no doubt after a crash: the lines of a
transaction with the passwords that were made up; in the journal that they have begun; the transaction with its events;
the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from mailusers_plugin.cli.import_batches import Batch, Choices, Found, in_words, with_fault
from mailusers_plugin.cli.import_hashing import Hashing
from mailusers_plugin.cli.import_journal import Journal, Journals
from mailusers_plugin.cli.import_result import ResultFile
from mailusers_plugin.cli.import_source import Source
from mailusers_plugin.errors import InvalidInputError, MailUsersError, UnavailableError
from mailusers_plugin.import_file import HEADER_ALONE, Reading
from mailusers_plugin.import_models import Added, Fault, Line, Outcome, Row
from mailusers_plugin.imports_recovery import told_users
from mailusers_plugin.models import Actor
from mailusers_plugin.service_import import BulkAdd, FileSoFar, event_id
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.seen_lines import SeenLines

_CHECKED_AT_ONCE: Final = 1000
_SHOWN_AT_ONCE: Final = 500
_RETRY_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 60.0
"""How long a database that is away is waited for, once hours of hashing lie behind."""
_NOT_RESTORED: Final = Fault("", "The address has an archived mailbox, which the new user was not to have.")
_UNKNOWN_WHY: Final = "The user could not be added any more when it came to it."


class LineFaultError(MailUsersError):
    """A line cannot be imported, and none was to be left out. Nothing of its transaction was."""

    code = "line-fault"


class StreamImport:
    """One import by the command."""

    def __init__(
        self,
        bulk: BulkAdd,
        database: Database,
        state: Database,
        actor: Actor,
        source: Source,
        choices: Choices,
        journal: Journal,
        seen: SeenLines,
    ) -> None:
        """Take what it works with.

        :param database: the accounts
        :param journal: a new one, or that of an import which goes on
        :param seen: without any line
        """
        self._bulk = bulk
        self._database = database
        self._state = state
        self._actor = actor
        self._source = source
        self._choices = choices
        self._journal = journal
        self._seen = seen
        self._stopping = False
        # Before anything of what it is about was added; what was hashed before is added nevertheless.
        self._failure: MailUsersError | None = None

    @property
    def _ending(self) -> bool:
        return self._stopping or self._failure is not None

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stopping

    def stop(self) -> None:
        """Let it end as soon as what is being hashed is added."""
        self._stopping = True

    async def recover(self, journals: Journals | None, result: ResultFile | None) -> None:
        """Find out what became of the transaction that was under way when the import was ended.

        :param journals: where that is written down, ``None`` where nothing is to be written
        :raises UnavailableError: if a database is away
        """
        journal = self._journal
        if journal.begun_line <= journal.done_line:
            return
        told = await self._told(range(journal.done_line + 1, journal.begun_line + 1))
        if not told:
            # It was not made.
            return
        outcomes = {line: outcome for line, (_, outcome) in told.items()}
        if result is not None:
            planned = await asyncio.to_thread(result.planned)
            rows = [
                row._replace(result=outcomes[row.line].value)
                if row.line in outcomes
                else row._replace(result=Outcome.LEFT_OUT.value, password="", error=row.error or _UNKNOWN_WHY)
                for row in planned
            ]
            await asyncio.to_thread(result.append, rows)
        self._count(journal.begun_line, journal.begun_rows, list(outcomes.values()), result)
        if journals is not None:
            await self._show([email for email, _ in told.values()])
            await asyncio.to_thread(journals.save, journal)

    async def _told(self, lines: Sequence[int]) -> dict[int, tuple[str, Outcome]]:
        ids = {event_id(self._journal.id, line): line for line in lines}
        return await told_users(self._database, self._state, ids)

    async def check(self, on_fault: Callable[[Row], None], on_progress: Callable[[int], None]) -> Found:
        """Check the lines that are not done yet, without changing anything.

        :param on_fault: told of each line with errors
        :param on_progress: told how many bytes were read
        :raises InvalidInputError: if the file cannot be read
        :raises UnavailableError: if the database is away
        """
        found = Found()
        reading = await asyncio.to_thread(Reading, self._source.file)
        found.ignored = reading.ignored
        lines, so_far = reading.lines(), FileSoFar(self._seen.first_line)
        is_empty = True
        while not self._stopping and (some := await asyncio.to_thread(_take, lines, _CHECKED_AT_ONCE)):
            is_empty = False
            for row in await self._asked(await self._rows(some, so_far)):
                found.count(row)
                if row.faults:
                    on_fault(row)
            on_progress(self._source.file.tell())
        if is_empty:
            raise InvalidInputError(HEADER_ALONE)
        return found

    async def _rows(self, lines: Sequence[Line], so_far: FileSoFar) -> list[Row]:
        """Check the lines that are not done."""
        done = self._journal.done_line
        for line in lines:
            if line.number <= done:
                so_far.first_line(line.email, line.number)
        left = [line for line in lines if line.number > done]
        return await self._bulk.check(left, so_far, weak_hashes=self._choices.weak_hashes)

    async def _asked(self, rows: Sequence[Row]) -> list[Row]:
        """Let every module look at the users."""
        refused = await self._bulk.ask_all(self._actor, [row for row in rows if not row.faults])
        return [with_fault(row, refused[row.number]) if row.number in refused else row for row in rows]

    async def _patient_rows(self, lines: Sequence[Line], so_far: FileSoFar) -> list[Row]:
        waited = 0.0
        while True:
            try:
                return await self._rows(lines, so_far)
            except UnavailableError:
                if waited >= _PATIENCE_SECONDS or self._ending:
                    raise
                waited += _RETRY_SECONDS
                await asyncio.sleep(_RETRY_SECONDS)

    async def run(
        self, journals: Journals, result: ResultFile | None, on_progress: Callable[[int], None]
    ) -> None:
        """Add the users, until all is done or it was told to stop; the journal says how far it came.

        :param on_progress: told how many lines are dealt with and have their passwords hashed
        :raises LineFaultError: if a line cannot be imported that could be when it was checked, and none is left out
        :raises MailUsersError: if a file or a database cannot be written
        """
        checked: asyncio.Queue[Sequence[Row] | None] = asyncio.Queue(1)
        prepared: asyncio.Queue[Batch | None] = asyncio.Queue(1)
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._read(checked))
                parts.create_task(self._prepare(checked, prepared, on_progress))
                parts.create_task(self._add(prepared, journals, result))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        if not self._ending:
            self._journal.ended_at = datetime.now(UTC).isoformat(timespec="seconds")
        await asyncio.to_thread(journals.save, self._journal)
        if self._failure is not None:
            raise self._failure

    async def _read(self, checked: asyncio.Queue[Sequence[Row] | None]) -> None:
        try:
            reading = await asyncio.to_thread(Reading, self._source.file)
            lines, so_far = reading.lines(), FileSoFar(self._seen.first_line)
            while not self._ending:
                some = await asyncio.to_thread(_take, lines, self._choices.batch_lines)
                if not some:
                    break
                if rows := await self._asked(await self._patient_rows(some, so_far)):
                    await checked.put(rows)
        except MailUsersError as error:
            self._failure = self._failure or error
        await checked.put(None)

    async def _prepare(
        self,
        checked: asyncio.Queue[Sequence[Row] | None],
        prepared: asyncio.Queue[Batch | None],
        on_progress: Callable[[int], None],
    ) -> None:
        count = 0
        with Hashing(self._bulk.threads) as hashing:
            while (rows := await checked.get()) is not None:
                batch = await self._prepare_batch(rows, hashing, count, on_progress)
                # There may be none, once it was told to stop, and none that has a faulty line.
                if batch.rows and self._failure is None:
                    count += len(batch.rows)
                    on_progress(count)
                    await prepared.put(batch)
        await prepared.put(None)

    async def _prepare_batch(
        self, rows: Sequence[Row], hashing: Hashing, before: int, on_progress: Callable[[int], None]
    ) -> Batch:
        batch = Batch(rows)
        good = [row for row in rows if self._is_good(row, batch)]
        done = before + len(batch.faults)

        def on_done(number: int) -> None:
            nonlocal done
            done += number
            on_progress(done)

        job_id, restore = self._journal.id, bool(self._choices.restore)
        for candidate, made in await hashing.each(
            good,
            lambda row: self._bulk.prepare_now(row, job_id, restore=restore),
            lambda: self._ending,
            on_done,
        ):
            batch.candidates.append(candidate)
            if made:
                batch.made[candidate.number] = made
        if len(batch.candidates) < len(good):
            # It was told to stop. What is in front of the first that was not hashed is complete.
            batch.rows = rows[: rows.index(good[len(batch.candidates)])]
        return batch

    def _is_good(self, row: Row, batch: Batch) -> bool:
        """Tell whether a line can be added; where it cannot be and is not to be left out, all ends."""
        fault = row.faults[0] if row.faults else None
        if fault is None and row.archived and not self._choices.restore:
            # Chosen when it was checked; one that was archived since has nobody's consent.
            fault = _NOT_RESTORED
        if fault is None:
            return True
        self._failure = self._failure or self._refusal(row.number, fault)
        batch.faults[row.number] = in_words(row.faults or [fault])
        return False

    def _refusal(self, line: int, fault: Fault) -> LineFaultError | None:
        """Return what is to be raised where a line is not to be left out."""
        consented = fault is _NOT_RESTORED and self._choices.restore is False
        if self._choices.leave_out or consented:
            return None
        return LineFaultError(f"Line {line}: {fault.for_keeping().message}")

    async def _add(
        self, prepared: asyncio.Queue[Batch | None], journals: Journals, result: ResultFile | None
    ) -> None:
        while (batch := await prepared.get()) is not None:
            await asyncio.to_thread(self._begin, batch, journals, result)
            added = await self._add_batch(batch)
            for line, fault in sorted(added.faults.items()):
                if (refusal := self._refusal(line, fault)) is not None:
                    raise refusal
                batch.faults[line] = in_words([fault])
            if result is not None:
                rows = [batch.result_row(row, added.outcomes.get(row.number)) for row in batch.rows]
                await asyncio.to_thread(result.append, rows)
            self._count(batch.rows[-1].number, len(batch.rows), list(added.outcomes.values()), result)
            await self._show([c.email for c in batch.candidates if c.number in added.outcomes])

    async def _show(self, emails: Sequence[str]) -> None:
        """Bring the list up to date. A few users at a time, for each touches a page of every index of the list."""
        for start in range(0, len(emails), _SHOWN_AT_ONCE):
            await self._bulk.show(emails[start : start + _SHOWN_AT_ONCE])

    def _begin(self, batch: Batch, journals: Journals, result: ResultFile | None) -> None:
        self._source.check_unchanged()
        self._journal.begun_line = batch.rows[-1].number
        self._journal.begun_rows = len(batch.rows)
        # It also says that the batch before is done, so that what was planned for that may go.
        journals.save(self._journal)
        if result is not None:
            result.plan(batch.result_row(row, Outcome.PLANNED) for row in batch.rows)

    async def _add_batch(self, batch: Batch) -> Added:
        """Add users; wait where the database is away for a moment, such as locked for a backup."""
        if not batch.candidates:
            return Added({}, {})
        waited = 0.0
        while True:
            try:
                return await self._bulk.add_all(
                    self._actor, batch.candidates, leave_out=self._choices.leave_out
                )
            except UnavailableError:
                if waited >= _PATIENCE_SECONDS or self._stopping:
                    raise
                waited += _RETRY_SECONDS
                await asyncio.sleep(_RETRY_SECONDS)
                # Whether it was made is not certain where the connection broke.
                told = await self._told([candidate.number for candidate in batch.candidates])
                if told:
                    outcomes = {line: outcome for line, (_, outcome) in told.items()}
                    left = {c.number for c in batch.candidates} - outcomes.keys()
                    return Added(outcomes, dict.fromkeys(left, Fault("", _UNKNOWN_WHY)))

    def _count(self, line: int, rows: int, outcomes: Sequence[Outcome], result: ResultFile | None) -> None:
        journal = self._journal
        journal.done_line = journal.begun_line = line
        journal.added += len(outcomes)
        journal.restored += outcomes.count(Outcome.RESTORED)
        journal.left_out += rows - len(outcomes)
        journal.result_bytes = 0 if result is None else result.size


def _first(error: BaseException) -> BaseException:
    """Return what went wrong first, of several parts that end together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _take(lines: Iterator[Line], count: int) -> list[Line]:
    return list(islice(lines, count))

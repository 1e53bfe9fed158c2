"""The directory: every user, active or archived, with its size, in one table that is read a page at a time.

It is made from the accounts, the archive, the mail store and the mailboxes' sizes. After a change of ours the lines
that it concerns are read anew at once. What other programs changed is noticed by the time of the accounts' file, and
for certain when the sizes are read; then everything is compared.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mailusers_plugin.directory_comparison import Comparison
from mailusers_plugin.directory_counts import TextCounts
from mailusers_plugin.errors import MailUsersError, StorageError, UnavailableError
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import Changed, Counts, Entry, EntryPage, LinePage, ListState, Selection
from mailusers_plugin.store import directory, directory_lines, directory_list, usage
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.directory_lines import Line
from mailusers_plugin.texts import N_

__all__ = ["Directory"]

T = TypeVar("T")

_BATCH: Final = 500
"""Lines that are read at once for an export."""
_REFRESHED: Final = 200
"""Lines that are stored in one transaction, which keeps log-ins and the like waiting for some 10 ms."""
_MAX_CHANGES: Final = 1000
_REST: Final = 4
"""After a comparison of everything this many times its duration passes before the next."""
_FAILED_REST_SECONDS: Final = 30.0
_TROUBLE_SECONDS: Final = 5.0
_LOOK_PAUSE_SECONDS: Final = 0.02
_BUILDING: Final = N_("The list of users is being made for the first time. Try again in a moment.")
_BUILDING_RETRY_SECONDS: Final = 5
_log = logging.getLogger("mailusers_plugin")


@dataclass(slots=True)
class _Batch:
    """Lines that are read anew in one transaction, for all who want it before that begins."""

    emails: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class Directory:
    """Reads the directory and keeps it up to date."""

    def __init__(
        self, database: Database, state: Database, mailboxes: Mailboxes, *, interval_seconds: float = 1.0
    ) -> None:
        """Take what it is made from.

        :param database: the accounts
        :param state: where the directory is
        :param interval_seconds: how often changes of other programs and processes are looked for
        """
        self._database = database
        self._state = state
        self._mailboxes = mailboxes
        self._interval_seconds = interval_seconds
        self._comparison = Comparison(database, state, mailboxes, self.refresh_now)
        self._comparison_lock = threading.Lock()
        self._has_epoch = False
        self._compared = -1
        self._failures = 0
        self._ending = False
        self._comparing: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._batch = _Batch()
        self._refreshing = asyncio.Lock()
        self._newest = 0
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._text_counts = TextCounts(state)

    # Reading.

    async def page(
        self, selection: Selection, sort: str = "email", cursor: str = "", limit: int = 50
    ) -> EntryPage:
        """Return a page.

        :param sort: ``email`` (by domain, active before archived, then address), ``size``, ``used`` or ``quota``;
            with ``-`` in front the other way round. What is not known comes as the smallest
        :param cursor: from another page of the same selection and order; empty for the first
        :param limit: at most so many lines
        :raises InvalidInputError: if the order or the cursor is not possible
        """
        return await self._state.read(directory.page, selection, sort, cursor, limit)

    async def page_and_count(
        self, selection: Selection, sort: str = "email", cursor: str = "", limit: int = 50
    ) -> tuple[EntryPage, Counts]:
        """Return a page, and how many lines the selection has; parameters as in :meth:`page`.

        :raises InvalidInputError: if the order or the cursor is not possible
        """
        return await self.page(selection, sort, cursor, limit), await self.count(selection)

    async def page_of_lines(
        self, selection: Selection, sort: str, cursor: str, limit: int
    ) -> tuple[LinePage, Counts]:
        """Return a page of encoded user objects, and how many lines the selection has; as in :meth:`page`.

        :raises InvalidInputError: if the order or the cursor is not possible
        """
        page = await self._state.read(directory.page_of_lines, selection, sort, cursor, limit)
        return page, await self.count(selection)

    async def count(self, selection: Selection) -> Counts:
        """Return how many lines a selection has."""
        if selection.query:
            return await self._text_counts.of(selection)
        return await self._state.read(directory.count, selection)

    async def domains(self, query: str = "", limit: int = 50) -> Sequence[tuple[str, Counts]]:
        """Return domains, those with most users first.

        :param query: part of the name, as stored
        """
        return await self._state.read(directory.domains, query, limit)

    async def domain_counts(self, names: Collection[str]) -> Mapping[str, Counts]:
        """Return how many users some domains have."""
        return await self._state.read(directory.domain_counts, names)

    async def entries(self, emails: Collection[str]) -> Mapping[str, Entry]:
        """Return some lines by address; those that there are not are left out."""
        return await self._state.read(directory.entries, emails)

    async def fullest(self, limit: int = 10) -> Sequence[Entry]:
        """Return the users whose mailboxes are largest, as far as sizes are known."""
        return await self._state.read(directory.fullest, limit)

    async def export(self, selection: Selection, sort: str = "email") -> AsyncIterator[Sequence[Entry]]:
        """Yield all lines of a selection, some hundred at a time.

        :raises InvalidInputError: if the order is not possible
        """
        position: tuple[Any, ...] | None = None
        while True:
            found, position = await self._state.read(directory.everything, selection, sort, position, _BATCH)
            if found:
                yield found
            if position is None:
                return

    async def administrators(self) -> int:
        """Return how many administrators there are."""
        return await self._state.read(directory.administrators)

    async def settled_state(self, built_seconds: float, catch_up_seconds: float) -> ListState | None:
        """Return which state of the directory there is; ``None`` where it may still change by what others did.

        Two lists of the same state are the same. Where nothing happened it costs a look at a file's time and one row.

        :param built_seconds: how long to wait until the directory was whole once
        :param catch_up_seconds: how long to wait until what other programs changed is in it
        :raises UnavailableError: if it was never whole
        """
        state = await self._state.read(self._settled)
        if state is None:
            await self.wait_until_built(built_seconds)
            await self.catch_up(catch_up_seconds)
            state = await self._state.read(self._settled)
        return state

    def _settled(self, connection: Connection) -> ListState | None:
        # First the file: what comes behind that look is another request's.
        if not self._has_epoch or self._foreign_changes() != self._compared:
            return None
        return directory_list.state(connection)

    # Changes, for open pages.

    async def newest(self) -> int:
        """Return the number of the newest change, 0 where there was none yet."""
        return await self._state.read(directory_lines.newest_change)

    async def changes(self, after: int, timeout_seconds: float) -> Sequence[Changed] | None:
        """Return the changes behind a number, waiting for the first; empty when the time is over.

        :returns: ``None`` where some of them are not kept any more, so that everything must be read anew
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            news = self._news
            found = await self._state.read(directory_lines.changes, after, _MAX_CHANGES)
            left = deadline - time.monotonic()
            if found or found is None or left <= 0:
                return found
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), left)

    def _tell(self, newest: int) -> None:
        if newest != self._newest:
            self._newest = newest
            self._news.set()
            self._news = asyncio.Event()

    # Keeping it up to date.

    async def refresh(self, emails: Collection[str]) -> None:
        """Read some lines anew, after a change of ours. That it fails is logged: the change itself was made.

        One transaction at a time changes the directory, whichever process it is from. So what is wanted while one is
        under way is done together in the next, instead of each waiting for the lock in a thread of its own.
        """
        batch = self._batch
        batch.emails.update(emails)
        if batch.task is None:
            batch.task = asyncio.create_task(self._carry_out(batch), name="mailusers-directory-refresh")
        # It is carried out whoever of those that wait goes away.
        await asyncio.shield(batch.task)

    async def _carry_out(self, batch: _Batch) -> None:
        async with self._refreshing:
            self._batch = _Batch()
            await self._refresh(batch.emails)

    async def _refresh(self, emails: Collection[str]) -> None:
        try:
            newest = await asyncio.to_thread(self.refresh_now, emails)
        except MailUsersError as error:
            _log.warning("The list could not be brought up to date: %s", error)
            self._failures += 1
            self._compared = -1
        else:
            self._tell(newest)

    def refresh_now(self, emails: Collection[str]) -> int:
        """Read some lines anew. Blocks.

        :returns: the number of the newest change
        :raises UnavailableError: if a database is away
        """
        wanted = sorted(set(emails))
        newest = 0
        for start in range(0, len(wanted), _REFRESHED):
            newest = self._state.write_now(self._replace, wanted[start : start + _REFRESHED])
        return newest or self._state.read_now(directory_lines.newest_change)

    def _replace(self, connection: Connection, emails: Sequence[str]) -> int:
        directory_lines.lock(connection)
        # After the lock, so that of two the later one has read the later state.
        if self._state is self._database:
            accounts, records = _stored(connection, emails)
        else:
            accounts, records = self._database.read_now(_stored, emails)
        sizes = usage.some(connection, emails)
        wanted: dict[str, Line | None] = {}
        for email in emails:
            if email in accounts:
                wanted[email] = directory_lines.active_line(accounts[email], sizes.get(email))
            elif email in records or self._mailboxes.exists(email):
                wanted[email] = directory_lines.archived_line(email, records.get(email), sizes.get(email))
            else:
                wanted[email] = None
        directory_lines.replace(connection, wanted)
        return directory_lines.newest_change(connection)

    def compare_now(self) -> int:
        """Compare the whole directory with what it is made from, and mend what differs. Blocks.

        :returns: the number of the newest change
        :raises StorageError: if the mail store cannot be read
        :raises UnavailableError: if a database is away
        """
        failures, foreign = self._failures, self._foreign_changes()
        with self._comparison_lock:
            self._comparison.run()
        if failures == self._failures:
            # Else a line may have been left as it was behind the place where the comparison had got to.
            self._compared = foreign
        return self._state.read_now(directory_lines.newest_change)

    async def catch_up(self, timeout_seconds: float) -> bool:
        """Wait until what other programs changed is in the directory, if there is anything.

        :returns: whether it came to that in time
        """
        deadline = time.monotonic() + timeout_seconds
        # A comparison that is under way may have begun before the change: then it takes one more.
        for _ in range(2):
            if await self._is_compared():
                return True
            task = self._compare_soon()
            await asyncio.wait([task], timeout=max(0.0, deadline - time.monotonic()))
            if not task.done():
                return False
        return await self._is_compared()

    def _foreign_changes(self) -> int:
        """Return a number that changes with what others did to the accounts, and when a backup of ours was restored."""
        found = self._database.foreign_changes()
        return found if self._state is self._database else found + self._state.replacements

    async def _is_compared(self) -> bool:
        return await asyncio.to_thread(self._foreign_changes) == self._compared

    async def wait_until_built(self, timeout_seconds: float) -> None:
        """Wait until the directory was whole once, which takes some seconds for a large box.

        :raises UnavailableError: if it does not come to that in time, for half a list would look like a whole one
        """
        if await self._state.read(directory_lines.is_built):
            return
        await self.catch_up(timeout_seconds)
        if not await self._state.read(directory_lines.is_built):
            raise UnavailableError(_BUILDING, _BUILDING_RETRY_SECONDS)

    def _compare_soon(self) -> asyncio.Task[None]:
        if self._comparing is None or self._comparing.done():
            self._comparing = asyncio.create_task(self._compare(), name="mailusers-directory-compare")
        return self._comparing

    async def _compare(self) -> None:
        await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
        began = time.monotonic()
        failed = True
        try:
            self._tell(await asyncio.to_thread(self.compare_now))
            failed = False
        except StorageError as error:
            _log.warning("The list could not be compared with the mail store: %s", error)
        except MailUsersError as error:
            if not self._ending:
                _log.warning("The list could not be compared with the accounts: %s", error)
        except Exception:
            _log.exception("The list could not be compared with the accounts")
        ended = time.monotonic()
        # What failed is tried again, but not said again every second.
        self._rest_until = ended + max(_REST * (ended - began), _FAILED_REST_SECONDS if failed else 0.0)

    def look(self) -> None:
        """Look for changes of other processes at once: there is a sign of one."""
        self._look.set()

    def end_comparison(self) -> None:
        """End a comparison that is under way, for everything stops; it raises :class:`UnavailableError`."""
        self._ending = True
        self._comparison.stop()

    def start(self) -> None:
        """Begin to look for changes of other programs and processes."""
        self._watching = asyncio.create_task(self._watch(), name="mailusers-directory")

    async def stop(self) -> None:
        """End that."""
        for task in (self._watching, self._comparing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _watch(self) -> None:
        while True:
            try:
                if not self._has_epoch:
                    await self._state.write(directory_lines.begin_epoch, secrets.token_hex(8))
                    self._has_epoch = True
                if not await self._is_compared():
                    self._compare_soon()
                # Of other processes that share the state.
                self._tell(await self.newest())
            except MailUsersError as error:
                _log.warning("Changes of other programs could not be looked for: %s", error)
                await asyncio.sleep(_TROUBLE_SECONDS)
            except Exception:
                # Open pages would be told of nothing any more.
                _log.exception("Changes of other programs could not be looked for")
                await asyncio.sleep(_TROUBLE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._look.wait()
                    # Of many notices that come together one look is enough.
                    await asyncio.sleep(_LOOK_PAUSE_SECONDS)
            self._look.clear()


def _stored(connection: Connection, emails: Sequence[str]) -> tuple[Any, Any]:
    return (
        directory_lines.stored_accounts(connection, emails),
        directory_lines.archive_records(connection, emails),
    )

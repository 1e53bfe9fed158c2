"""Compares the whole directory with what it is made from, a little at a time, and makes it where there is none."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.mailserver.mailbox_names import MailboxNames
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.store import (
    directory_build,
    directory_compare,
    directory_lines,
    directory_list,
    directory_search,
    directory_tally,
)
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.directory_compare import Accounts, Known
from mailusers_plugin.store.errands import STOPPING, STOPPING_RETRY_SECONDS

WINDOW: Final = 500
"""So many addresses are compared at once; that takes some 2 ms, in which the event loop waits at most once."""
_REFRESHED: Final = 200
_APPENDED: Final = 500
_INDEXED: Final = 2000
_PAUSE_SECONDS: Final = 0.001
"""After each step, so that who waits for the interpreter's lock or the database comes in between."""
LARGE: Final = 5000
"""From so many users on a directory that is not there is sorted first; fewer are written as any other change."""


class Comparison:
    """Knows what it has seen of the disk. One at a time; blocks, and is called in a thread."""

    def __init__(
        self,
        database: Database,
        state: Database,
        mailboxes: Mailboxes,
        refresh: Callable[[Collection[str]], object],
    ) -> None:
        """Take what is compared.

        :param refresh: is called with addresses whose lines are to be read anew
        """
        self._database = database
        self._state = state
        self._mailboxes = mailboxes
        self._names = MailboxNames(mailboxes.root)
        self._refresh = refresh
        self._different: list[str] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End at the next step, now and from now on."""
        self._stopped.set()

    def _rest(self) -> None:
        if self._stopped.wait(_PAUSE_SECONDS):
            raise UnavailableError(STOPPING, STOPPING_RETRY_SECONDS)

    def run(self) -> None:
        """Mend what differs.

        :raises StorageError: if the mail store cannot be read
        :raises UnavailableError: if a database is away, or after :meth:`stop`
        """
        try:
            self._run()
        except BaseException:
            # What was found on the disk may not have been stored: it is looked for again.
            self._names.forget()
            raise

    def _run(self) -> None:
        built = self._state.read_now(directory_lines.is_built)
        if not built:
            self._names.forget()
            self._make()
        self._different = []
        # First the disk: where it cannot be read, no mailbox on it must be taken for one that is gone.
        for emails in self._names.changed(WINDOW):
            present = self._state.read_now(directory_compare.present, emails)
            self._mend(email for email in emails if email not in present)
            self._rest()
        for accounts, known in self._windows():
            self._mend(self._differing(accounts, known))
        self._flush()
        if not built:
            self._state.write_now(directory_lines.set_built, datetime.now(UTC))
        self._index_texts()

    def _index_texts(self) -> None:
        """Make the index by which texts are found, where there is none and looking through all would take long."""
        if self._state.read_now(directory_search.state) not in (
            directory_search.NONE,
            directory_search.BUILDING,
        ):
            return
        if self._state.read_now(directory_tally.everything)[0] < LARGE:
            return
        builder = secrets.token_hex(8)
        if self._state.write_now(_begin_index, builder):
            place: directory_search.Place | None = directory_list.START
            while place is not None:
                place = self._state.write_now(_index_some, builder, place)
                self._rest()

    def _windows(self) -> Iterator[tuple[Accounts, Known]]:
        after = ""
        while True:
            accounts = self._database.read_now(directory_compare.accounts, after, WINDOW)
            known = self._state.read_now(directory_compare.known, after, accounts.until, WINDOW)
            if known.until != accounts.until:
                accounts = accounts.up_to(known.until)
            yield accounts, known
            if known.until is None:
                return
            after = known.until
            self._rest()

    def _differing(self, accounts: Accounts, known: Known) -> Iterator[str]:
        lines, sizes = known.lines, known.sizes
        for email, privileges, quota in accounts.users:
            wanted = directory_lines.active_mark(privileges, quota, sizes.get(email))
            if lines.pop(email, None) != (wanted, 0):
                yield email
            accounts.records.pop(email, None)
        for email, record in accounts.records.items():
            wanted = directory_lines.archived_mark(record, sizes.get(email))
            if lines.pop(email, None) != (wanted, 1):
                yield email
        for email, (mark, _) in lines.items():
            # Neither a user nor archived by us: a mailbox on the disk, or gone.
            wanted = directory_lines.archived_mark(None, sizes.get(email))
            if mark != wanted or not self._mailboxes.exists(email):
                yield email

    def _mend(self, emails: Iterator[str]) -> None:
        self._different += emails
        if len(self._different) >= _REFRESHED:
            self._flush()

    def _flush(self) -> None:
        different, self._different = self._different, []
        for start in range(0, len(different), _REFRESHED):
            # Read once more, each in its transaction: they may have changed meanwhile.
            self._refresh(different[start : start + _REFRESHED])
            self._rest()

    def _make(self) -> None:
        """Make the directory from nothing where there is much of it, or where somebody did not come to an end."""
        large = self._database.read_now(directory_compare.users) >= LARGE
        if not large and not self._state.read_now(directory_build.was_interrupted):
            return
        builder = secrets.token_hex(8)
        with directory_build.Sorter() as sorter:
            self._sort(sorter)
            self._state.write_now(directory_build.begin, builder)
            for lines in sorter.sorted(_APPENDED):
                if not self._state.write_now(directory_build.append, builder, lines):
                    return
                self._rest()
        for name in directory_build.INDEXES:
            self._state.write_now(directory_build.index, name)
            self._rest()
        self._state.write_now(directory_build.end, builder)

    def _sort(self, sorter: directory_build.Sorter) -> None:
        after: str | None = ""
        while after is not None:
            accounts = self._database.read_now(directory_compare.accounts, after, WINDOW)
            sizes = self._state.read_now(directory_compare.sizes, after, accounts.until)
            sorter.add(directory_build.people(accounts, sizes))
            after = accounts.until
            self._rest()
        for emails in self._names.changed(WINDOW):
            found = self._state.read_now(directory_compare.sizes_of, emails)
            sorter.add(directory_build.mailboxes(emails, found))
            self._rest()
        # The comparison behind this one looks at them again: some may be there by now that were not.
        self._names.forget()


def _begin_index(connection: Connection, builder: str) -> bool:
    # The feed before the lines, as everybody takes them. Another process may have been quicker.
    directory_lines.lock(connection)
    if directory_search.state(connection) not in (directory_search.NONE, directory_search.BUILDING):
        return False
    return directory_search.begin(connection, builder)


def _index_some(
    connection: Connection, builder: str, after: directory_search.Place
) -> directory_search.Place | None:
    directory_lines.lock(connection)
    return directory_search.append(connection, builder, after, _INDEXED)

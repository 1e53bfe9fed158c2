"""Reads the mailboxes' sizes into our own table, in the background, some hundred at a time.

Nothing is held of all mailboxes at once. What changed is handed on batch by batch. A pass that is interrupted is
gone on with, also by another process. Two at once do no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.mailserver.usage import Pace, StoppedError, UsageSource
from mailusers_plugin.models import KnownSize, Measured, SizeBatch
from mailusers_plugin.store import usage
from mailusers_plugin.store.database import Connection, Database

_MAX_WANTED: Final = 1000
"""So many mailboxes may wait to be looked at out of turn; more are left to the next pass."""
_LOOKED_AT: Final = 100
"""So many are looked at at once."""
_SIGN_SECONDS: Final = 10.0
"""How often it is written down how far a pass is."""


class UsageRefresher:
    """Brings the sizes that we know up to date with a source. Its methods block unless they are coroutines."""

    def __init__(
        self,
        state: Database,
        source: UsageSource,
        tell: Callable[[Collection[str]], object],
        *,
        share: float = 1.0,
        batch: int = 500,
    ) -> None:
        """Take what it works with.

        :param tell: is called with the addresses whose size has changed, some hundred at a time
        :param share: the part of the time that a pass may work, above 0 and at most 1
        :param batch: changes that are stored and handed on at once, at the least
        """
        self.source = source
        self._state = state
        self._tell = tell
        self._pace = Pace(share)
        self._batch = batch
        self._wanted: dict[str, None] = {}
        self._some_wanted = asyncio.Event()

    def run(self) -> int:
        """Read all sizes now, or the rest of them after an interruption, and store what changed.

        :returns: how many sizes changed
        :raises StorageError: if the mail store cannot be read
        :raises MailUsersError: if the database is away, or the source does not answer
        """
        began_at = datetime.now(UTC)
        position = self._state.write_now(usage.begin_pass, self.source.name)
        whole, changed = not position, 0
        collected = _Collected()
        signed = time.monotonic()
        self._pace.begin()
        try:
            for batch in self.source.read(position, self, self._pace):
                collected.add(batch)
                late = time.monotonic() - signed > _SIGN_SECONDS
                if late or len(collected) >= self._batch:
                    changed += self._store(collected)
                    position = collected.position
                    collected = _Collected()
                if late:
                    signed = time.monotonic()
                    self._state.write_now(usage.mark_pass, position)
                self._pace.rest()
        except BaseException as error:
            # What was read is true.
            changed += self._store(collected)
            self._state.write_now(usage.mark_pass, collected.position or position)
            if isinstance(error, StoppedError):
                return changed
            raise
        changed += self._store(collected)
        self._state.write_now(usage.end_pass, began_at if whole else None)
        return changed

    def want(self, emails: Iterable[str]) -> None:
        """Let some mailboxes be looked at out of turn; called in the event loop."""
        for email in emails:
            if len(self._wanted) < _MAX_WANTED:
                self._wanted[email] = None
                self._some_wanted.set()

    async def look_at_wanted(self) -> int:
        """Wait until some mailboxes are wanted, and look at them.

        :returns: how many sizes changed
        :raises MailUsersError: if the database is away, or the source does not answer
        """
        await self._some_wanted.wait()
        emails = list(self._wanted)[:_LOOKED_AT]
        for email in emails:
            del self._wanted[email]
        if not self._wanted:
            self._some_wanted.clear()
        return await asyncio.to_thread(self._look, emails)

    def _look(self, emails: Sequence[str]) -> int:
        collected = _Collected()
        collected.add(self.source.look(emails))
        return self._store(collected)

    def stop(self) -> None:
        """Let a pass end soon; where it was is remembered. May be called in any thread."""
        self._pace.stop()
        self.source.stop()

    def forget(self, email: str) -> None:
        """Forget the size of a mailbox that was deleted for good, first where it would come back from.

        :raises UnavailableError: if a database is away
        """
        self.source.forget(email)
        self._state.write_now(usage.replace, {}, [email])

    def last_pass(self) -> tuple[str, datetime | None]:
        """Return the source that was read last, and when the last whole pass began, ``None`` for never."""
        return self._state.read_now(usage.last_pass)

    async def read_at(self) -> datetime | None:
        """Return when the last pass began that read everything, from the source of now; ``None`` for never."""
        source, began_at = await self._state.read(usage.last_pass)
        return began_at if source == self.source.name else None

    def of(self, emails: Sequence[str]) -> Mapping[str, KnownSize]:
        """Return what is known of some mailboxes."""
        return self._state.read_now(usage.known_sizes, emails)

    def marks(self, emails: Sequence[str]) -> Mapping[str, int | None]:
        """Return the marks of some mailboxes; see :class:`mailusers_plugin.mailserver.usage.Known`."""
        return self._state.read_now(usage.marks, emails)

    def after(self, email: str) -> Sequence[str]:
        """Return the next addresses of which something is known."""
        return self._state.read_now(usage.addresses_after, email)

    def _store(self, collected: _Collected) -> int:
        """Store what changed, and hand it on."""
        if not len(collected):
            return 0
        before = self.of([*collected.found, *collected.gone])
        changed: dict[str, Measured] = {}
        marks: dict[str, int | None] = {}
        for email, size in collected.found.items():
            known = before.get(email)
            if known is None or not known.says(size.usage):
                changed[email] = size
            elif known.mark != size.mark:
                marks[email] = size.mark
        gone = [email for email in collected.gone if email in before]
        if changed or gone or marks:
            self._state.write_now(_write, changed, gone, marks)
        if changed or gone:
            self._tell([*changed, *gone])
        return len(changed) + len(gone)


class _Collected:
    """What some batches said, until it is stored in one transaction."""

    def __init__(self) -> None:
        self.found: dict[str, Measured] = {}
        self.gone: dict[str, None] = {}
        self.position = ""

    def add(self, batch: SizeBatch) -> None:
        """Add what came last, which counts."""
        for email in batch.gone:
            self.found.pop(email, None)
            self.gone[email] = None
        for email, size in batch.found.items():
            self.gone.pop(email, None)
            self.found[email] = size
        self.position = batch.position

    def __len__(self) -> int:
        """Return of how many mailboxes something is said."""
        return len(self.found) + len(self.gone)


def _write(
    connection: Connection,
    changed: Mapping[str, Measured],
    gone: Sequence[str],
    marks: Mapping[str, int | None],
) -> None:
    usage.replace(connection, changed, gone)
    if marks:
        usage.set_marks(connection, marks)

"""Writes what no event tells into the audit trail: log-ins, log-outs, refusals, sessions, tokens, second factors.

Nobody who logs in waits long for it, and no log-in fails because of it: what cannot be written at once (the disk is
full, the database is locked) is put into the log, kept in memory, and written as soon as that is possible.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.models import Actor
from mailusers_plugin.store import accounts, audit_chain
from mailusers_plugin.store.database import Database
from mailusers_plugin.trail_models import Entry, Head

_log = logging.getLogger("mailusers_plugin.audit")

LOGGED_IN: Final = "LoggedIn"
RECOVERY_CODE_USED: Final = "RecoveryCodeUsed"
LOGGED_OUT: Final = "LoggedOut"
LOGIN_REFUSED: Final = "LoginRefused"
ENTRIES_LOST: Final = "EntriesLost"
_REFUSED: Final = "Refused"
"""What ends in this can be sent by anybody, as often as he likes, and is counted instead of written each time."""
REFUSED_SECONDS: Final = 60.0
USED_SECONDS: Final = 3600.0
"""How long requests with the same password from the same address count as one log-in."""

_PATIENCE_SECONDS: Final = 1.0
"""So long a caller waits for an entry to be written."""
_AGAIN_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 5.0
_HEAD_SECONDS: Final = 3600.0
_AT_ONCE: Final = 500
_MAX_WAITING: Final = 10_000
_MAX_COUNTED: Final = {REFUSED_SECONDS: 100, USED_SECONDS: 1000}
"""How many pairs of an address and an account are told apart at a time; what comes beyond is counted together."""

_Key = tuple[str, str, str | None, str]


@dataclass(slots=True, eq=False)
class _Waiting:
    """An entry that is to be written."""

    entry: Entry
    settled: asyncio.Future[None]
    logged: bool = False

    def settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


@dataclass(slots=True)
class _Counted:
    """What happened again since its first entry was written.

    :ivar timer: ends the counting
    """

    values: Mapping[str, Any]
    timer: asyncio.TimerHandle
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    last: datetime = field(default_factory=lambda: datetime.now(UTC))
    count: int = 0


class Trail:
    """The audit trail of one box, as this process writes it."""

    def __init__(self, database: Database, state: Database, *, enabled: bool = True) -> None:
        """Take where it is.

        :param database: where the accounts are
        :param state: where the trail is
        :param enabled: whether it is kept
        """
        self._database = database
        self._state = state
        self._enabled = enabled
        self._waiting: deque[_Waiting] = deque()
        self._counted: dict[_Key, _Counted] = {}
        self._in_use: Counter[float] = Counter()
        self._writing: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._troubled = False
        self._lost = 0

    async def note(
        self,
        type_: str,
        *,
        email: str = "",
        actor: str | None = None,
        via: str = "",
        ip: str | None = None,
        detail: Mapping[str, Any] | None = None,
        every_seconds: float = 0.0,
    ) -> None:
        """Write what happened; it is on the disk when this returns, unless that takes longer than a second.

        What anybody may cause, which is every type that ends in ``Refused``, is written once for an address, an
        account and a minute, and once more at the end of the minute with how often it came again. Its ``email`` is kept
        only where it is an account's: people type their passwords into the wrong field.

        :param type_: a name like ``LoggedIn``, in English
        :param email: whom it is about
        :param actor: who did it
        :param via: how that caller was authenticated
        :param ip: the client's address
        :param detail: JSON values; never a secret
        :param every_seconds: count what comes again within so many seconds, see above; 60 or 3600
        """
        if not self._enabled or self._stopping.is_set():
            return
        refused = type_.endswith(_REFUSED)
        values: dict[str, Any] = {"actor": actor, "via": via, "ip": ip, "detail": detail or {}}
        if refused:
            values["email"] = await self._known(email)
            values["ip"] = _network(ip)
            every_seconds = REFUSED_SECONDS
        else:
            values["email"] = email
        if not every_seconds:
            await self._add(Entry.made(type_, **values))
        elif (entry := self._count(type_, values, every_seconds)) is not None:
            # Who is refused waits for nothing.
            await self._add(entry, wait=not refused)

    async def prune(self, last: Head, before: datetime, actor: Actor) -> int:
        """Delete old entries for good, after writing into the trail who did so.

        :param last: the newest that is to go, as :func:`mailusers_plugin.store.audit_chain.cut` found it
        :param before: the time that was asked for
        :returns: how many
        :raises UnavailableError: if the database is away; what is gone is gone, and it can be repeated
        """
        anchor = await self._state.read(audit_chain.look_at_anchor)
        if last.seq == anchor.seq:
            return 0
        detail = {
            "before": before.isoformat(),
            "first": (anchor.seq or 0) + 1,
            "last": last.seq,
            "hash": last.hash,
        }
        entry = Entry.made(
            audit_chain.PRUNED, email="", actor=actor.name, via=actor.via, ip=actor.ip, detail=detail
        )
        await self._state.write(audit_chain.append, [entry])
        count = 0
        while some := await self._state.write(audit_chain.prune, last):
            count += some
        return count

    def start(self) -> None:
        """Begin to put the chain's end into the log now and then, where who changes the table cannot reach it."""
        if self._enabled and self._telling is None:
            self._telling = asyncio.create_task(self._tell(), name="mailusers-audit-head")

    async def stop(self) -> None:
        """Write what waits, for a few seconds; what cannot be written is in the log."""
        self._stopping.set()
        for key in list(self._counted):
            self._end_count(key)
        if self._telling is not None:
            await self._telling
        if self._writing is not None:
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._writing, _STOP_SECONDS)
        for waiting in self._waiting:
            waiting.settle()

    async def _known(self, email: str) -> str:
        """Return an address that somebody gave, if it is an account's, else nothing."""
        text = email.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
        with suppress(MailUsersError):
            if text and await self._database.look_up(accounts.FIND, text) is not None:
                return text
        return ""

    def _count(self, type_: str, values: Mapping[str, Any], seconds: float) -> Entry | None:
        """Count what happened; return the entry to be written where it is the first time."""
        key: _Key = (type_, values["via"], values["ip"], values["email"])
        if key not in self._counted and self._in_use[seconds] >= _MAX_COUNTED.get(seconds, 100):
            # So many at a time are somebody's doing, who could go on with new addresses for ever.
            values = {**values, "actor": None, "ip": None, "email": "", "detail": {"from": "many addresses"}}
            key = (type_, values["via"], None, "")
        counted = self._counted.get(key)
        if counted is not None:
            counted.count += 1
            counted.last = datetime.now(UTC)
            counted.values = values
            return None
        timer = asyncio.get_running_loop().call_later(seconds, self._end_count, key, seconds)
        self._counted[key] = _Counted(values, timer)
        self._in_use[seconds] += 1
        return Entry.made(type_, **values)

    def _end_count(self, key: _Key, seconds: float = 0.0) -> None:
        counted = self._counted.pop(key)
        counted.timer.cancel()
        self._in_use[seconds] -= 1
        if counted.count:
            since = counted.since.isoformat(timespec="seconds")
            detail = {**counted.values["detail"], "again": counted.count, "since": since}
            entry = Entry.made(key[0], **{**counted.values, "detail": detail}, time=counted.last)
            self._enqueue(entry)

    async def _add(self, entry: Entry, *, wait: bool = True) -> None:
        waiting = self._enqueue(entry)
        if wait and not self._troubled:
            # Not wait_for: what waits must be written, however long that takes.
            await asyncio.wait((waiting.settled,), timeout=_PATIENCE_SECONDS)

    def _enqueue(self, entry: Entry) -> _Waiting:
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        if len(self._waiting) >= _MAX_WAITING:
            self._lost += 1
            _say(waiting, "there is no room to keep it")
            waiting.settle()
            return waiting
        self._waiting.append(waiting)
        if self._troubled:
            _say(waiting, "it still cannot")
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="mailusers-audit")
        return waiting

    async def _write(self) -> None:
        """Write what waits, together what came together."""
        while self._waiting:
            some = list(islice(self._waiting, _AT_ONCE))
            try:
                await self._state.write(audit_chain.append, [waiting.entry for waiting in some])
            except Exception as error:
                if not isinstance(error, MailUsersError):
                    _log.exception("The audit trail failed")
                self._troubled = True
                for waiting in self._waiting:
                    _say(waiting, str(error))
                    # Whoever waits has waited long enough.
                    waiting.settle()
                if self._stopping.is_set():
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _AGAIN_SECONDS)
                continue
            self._troubled = False
            for waiting in some:
                self._waiting.popleft()
                waiting.settle()
            if self._lost:
                count, self._lost = self._lost, 0
                self._enqueue(
                    Entry.made(ENTRIES_LOST, email="", actor=None, via="", ip=None, detail={"count": count})
                )

    async def _tell(self) -> None:
        told: Head | None = None
        while not self._stopping.is_set():
            with suppress(MailUsersError):
                head = await self._state.write(audit_chain.head)
                if head != told:
                    _log.info("The audit trail ends with %s", head)
                    told = head
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _HEAD_SECONDS)


def _say(waiting: _Waiting, reason: str) -> None:
    """Put an entry into the log, once; as JSON in ASCII, so that nothing in it can pass for another line."""
    if not waiting.logged:
        waiting.logged = True
        entry = waiting.entry
        values = {
            "type": entry.type,
            "time": entry.time.isoformat(),
            "email": entry.email,
            "actor": entry.actor,
            "via": entry.via,
            "ip": entry.ip,
            "detail": entry.detail,
        }
        _log.error("The audit trail cannot be written now (%s): %s", reason, json.dumps(values))


def _network(ip: str | None) -> str | None:
    """Return what stands for a client where clients are counted: of IPv6 the network, whose owner has all of it."""
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return ip
    if address.version == 4 or address.is_loopback:
        return ip
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or ipaddress.IPv6Network((int(address), 64), strict=False))

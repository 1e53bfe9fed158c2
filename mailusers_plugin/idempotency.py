"""Carries a request out once, however often it is sent: ``Idempotency-Key``.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ is what clients know. A record is stored
before anything is done, and the answer behind it. A process that is killed in between leaves a record without an
answer; whoever repeats the request then takes it over, and looks first whether the event of the change is there: that
was written in the same transaction as the change. So a change is never made twice and never claimed that was not made.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from mailusers_plugin import owners
from mailusers_plugin.duties import Duties
from mailusers_plugin.errors import KeyReusedError, MailUsersError
from mailusers_plugin.models import Claim
from mailusers_plugin.store import clock, idempotency
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.idempotency import Record, StoredAnswer

__all__ = ["Idempotency", "StoredAnswer", "Wanted"]

EXPIRING: Final = "idempotency"
"""The duty of deleting records that are too old."""
KEEP_SECONDS: Final = 24 * 3600.0
"""How long an answer is kept. Events stay for longer, so what they tell is there for as long as a record is."""
_LEASE_SECONDS: Final = 300.0
"""So long another process is taken to be at it; a dead one of this machine is known at once."""
_EXPIRE_SECONDS: Final = 600.0
_SCRYPT_N: Final = 2**14
"""Cost of the hash of a password; 16 MiB and some 40 ms. The key, which is not stored, is part of the salt."""
_HASHES_AT_ONCE: Final = 2
_ATTEMPTS: Final = 5

_log = logging.getLogger("mailusers_plugin")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request with a key.

    :ivar caller: who sends it
    :ivar key: what the caller calls it
    :ivar target: method and path
    :ivar parameters: names and values, but those of secrets
    :ivar secrets: values that must not be found out by guessing: passwords
    """

    caller: Sequence[str | None]
    key: str
    target: Sequence[str]
    parameters: Mapping[str, Sequence[str]]
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    @property
    def mark(self) -> str:
        """By which it is stored: the same key of two callers is two keys."""
        return hashlib.sha256(_bytes([*self.caller, self.key])).hexdigest()

    def fingerprint(self, salt: str) -> str:
        """Return what is the same for a repeat only. Blocks for a while where there are secrets.

        :param salt: of the record
        """
        plain = _bytes([list(self.target), sorted((n, list(v)) for n, v in self.parameters.items())])
        hidden = b""
        if self.secrets:
            hidden = hashlib.scrypt(
                _bytes(sorted((n, list(v)) for n, v in self.secrets.items())),
                salt=f"{salt} {self.key}".encode(),
                n=_SCRYPT_N,
                r=8,
                p=1,
                dklen=32,
            )
        return hashlib.sha256(
            b"%s %s %s" % (salt.encode(), hashlib.sha256(plain).digest(), hidden)
        ).hexdigest()


class Idempotency:
    """The requests with a key of one process."""

    def __init__(self, database: Database, state: Database, duties: Duties) -> None:
        """Take where things are.

        :param database: where the outbox is
        :param state: where the records are
        :param duties: by which one process deletes what is old
        """
        self._database = database
        self._state = state
        self._duties = duties
        self._owner = owners.new_owner()
        self._running: set[str] = set()
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    def start(self) -> None:
        """Say that this process works."""
        owners.enlist(self._owner)

    def stop(self) -> None:
        """Leave what is not done to others."""
        owners.retire(self._owner)

    async def claim(self, wanted: Wanted) -> Claim | StoredAnswer:
        """Take a request on, or return what was answered to it. :meth:`finish` or :meth:`release` must follow.

        :raises KeyReusedError: if the key came with another request before
        :raises KeyBusyError: if that is still running
        :raises UnavailableError: if the database is away
        """
        owners.enlist(self._owner)
        mark = wanted.mark
        for _ in range(_ATTEMPTS):
            not_before = await self._state.read(clock.now) - timedelta(seconds=KEEP_SECONDS)
            record = await self._state.read(idempotency.find, mark, not_before)
            if record is None:
                salt = secrets.token_hex(16)
                record = Record(mark, salt, await self._fingerprint(wanted, salt))
                claim = Claim(mark, self._owner, secrets.token_hex(16))
                if await self._state.write(idempotency.begin, record, claim, _LEASE_SECONDS, not_before):
                    self._running.add(mark)
                    return claim
                continue
            if await self._fingerprint(wanted, record.salt) != record.fingerprint:
                raise KeyReusedError
            found = await self._state.write(
                idempotency.resume,
                mark,
                self._owner,
                _LEASE_SECONDS,
                lambda owner: self._is_over(owner, mark),
            )
            if isinstance(found, Claim):
                self._running.add(mark)
            if found is not None:
                return found
        raise KeyReusedError

    async def finish(self, claim: Claim, answer: StoredAnswer) -> None:
        """Store what is about to be answered.

        Where that fails a repeat finds out again what became of the change, so the answer may be given all the same.
        """
        try:
            await self._state.write(idempotency.finish, claim, answer)
        except MailUsersError as error:
            _log.warning("The answer to a request with an Idempotency-Key could not be stored: %s", error)
        finally:
            self._running.discard(claim.mark)

    async def release(self, claim: Claim) -> None:
        """Let a repeat carry the request out, if its change was not made."""
        try:
            # Where it cannot be stored it is known here that nobody is at it, and elsewhere after a while.
            with suppress(MailUsersError):
                await self._state.write(idempotency.release, claim)
        finally:
            self._running.discard(claim.mark)

    async def made(self, claim: Claim, email: str) -> bool:
        """Tell whether an earlier attempt has made the change of an address.

        :raises UnavailableError: if a database is away
        """
        if not claim.resumed:
            return False
        ids = [claim.event_id(email)]
        # In this order, in which events go.
        return bool(
            await self._database.read(idempotency.in_outbox, ids)
            or await self._state.read(idempotency.taken_over, ids)
        )

    async def expire(self) -> None:
        """Delete records of more than a day ago, unless another process does that.

        :raises UnavailableError: if the database is away
        """
        before = await self._state.read(clock.now) - timedelta(seconds=KEEP_SECONDS)
        if not await self._state.read(idempotency.has_before, before):
            return
        if await self._duties.take(EXPIRING, 2 * _EXPIRE_SECONDS):
            while await self._state.write(idempotency.expire, before):
                pass

    async def expire_until(self, stopping: asyncio.Event) -> None:
        """Do that now and then.

        :param stopping: set when it is to end
        """
        while not stopping.is_set():
            try:
                await self.expire()
            except MailUsersError as error:
                _log.warning("Old Idempotency-Keys could not be deleted yet: %s", error)
            except Exception:
                _log.exception("Old Idempotency-Keys could not be deleted yet")
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXPIRE_SECONDS):
                    await stopping.wait()

    def _is_over(self, owner: str, mark: str) -> bool | None:
        if owner == self._owner:
            # Where releasing it could not be stored.
            return mark not in self._running
        # Of one that lives it is not known whether it is still at it: should it come back after its lease, its change
        # is refused, since it would write the event that is there already.
        return True if owners.is_dead(owner) else None

    async def _fingerprint(self, wanted: Wanted, salt: str) -> str:
        if not wanted.secrets:
            return wanted.fingerprint(salt)
        async with self._hashing:
            return await asyncio.to_thread(wanted.fingerprint, salt)


def _bytes(value: object) -> bytes:
    return json.dumps(value).encode("ascii")

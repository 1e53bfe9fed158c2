"""Hashing and verifying passwords, in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from passlib.context import CryptContext

from mailusers_plugin.errors import ConfigurationError, InvalidInputError, UnavailableError
from mailusers_plugin.hash_lanes import CHANGES, LOGINS, HashLanes
from mailusers_plugin.password_schemes import (
    ARGON2_MEMORY_KIB,
    ARGON2_TIME_COST,
    BCRYPT_COST,
    BCRYPT_MAX_BYTES,
    CRYPT_MAX_BYTES,
    HANDLERS,
    NEW_SCHEMES,
    SHA512_ROUNDS,
    STRENGTH,
)
from mailusers_plugin.texts import N_

T = TypeVar("T")

_PREFIX: Final = re.compile(r"\{([A-Za-z0-9-]+)\}")
_ARGON2_COST: Final = re.compile(r"[$,]m=([0-9]+),t=([0-9]+)")
_BCRYPT_COST: Final = re.compile(r"\$2[abxy]\$([0-9]{2})\$")
_SHA_ROUNDS: Final = re.compile(r"\$6\$rounds=([0-9]+)\$")
_MAX_BYTES: Final = {"BLF-CRYPT": BCRYPT_MAX_BYTES, "SHA512-CRYPT": CRYPT_MAX_BYTES}


def scheme_of(stored: str) -> str:
    """Return Dovecot's name of the scheme that a stored hash is in, ``""`` where it has no prefix.

    :param stored: the column's text
    """
    match = _PREFIX.match(stored)
    return match[1].upper() if match else ""


def _canonical(stored: str) -> str:
    """Return the hash with its prefix in capitals: Dovecot compares names of schemes without regard to case."""
    match = _PREFIX.match(stored)
    return f"{{{match[1].upper()}}}{stored[match.end() :]}" if match else stored


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying a password.

    :ivar matches: whether it is the right one
    :ivar outdated: whether the stored hash should be replaced by a stronger one, now that the password is known
    """

    matches: bool
    outdated: bool = False


class Passwords:
    """Makes and verifies hashes in Dovecot's notation.

    :ivar threads: how many are computed at once
    """

    def __init__(
        self,
        scheme: str,
        *,
        threads: int | None = None,
        queue_limit: int = 256,
        patience_seconds: float = 0.0,
    ) -> None:
        """Set up the schemes and the pool.

        :param scheme: Dovecot's name of the scheme for new hashes, one of :data:`NEW_SCHEMES`
        :param threads: how many hashes are computed at once; the number of processors by default. Of those that
            somebody logs in with always one less than there are processors, as far as that is one at least
        :param queue_limit: how many passwords may be checked, and how many new ones hashed, before callers are told to
            come back later
        :param patience_seconds: how long a hash that finds no room waits before it is refused. Whoever sends the next
            request as soon as he is refused takes no more than his share of the event loop then
        :raises ConfigurationError: if the scheme is none of those
        """
        if scheme not in NEW_SCHEMES:
            raise ConfigurationError(
                f"password_scheme {scheme!r} is not possible: use one of {', '.join(NEW_SCHEMES)}, or auto."
            )
        self.scheme = scheme
        self._context = CryptContext(list(HANDLERS.values()), default=HANDLERS[scheme].name)
        processors = os.cpu_count() or 1
        self.threads = threads or processors
        self._lanes = HashLanes(self.threads, max(1, min(self.threads, processors - 1)), queue_limit)
        self._patience_seconds = patience_seconds
        self._decoy: str | None = None

    def check_new(self, password: str) -> None:
        """Refuse a password that is longer than the scheme, or Dovecot's implementation of it, reads.

        :param password: already found valid otherwise
        :raises InvalidInputError: if it is too long
        """
        limit = _MAX_BYTES.get(self.scheme)
        if limit is not None and len(password.encode()) > limit:
            raise InvalidInputError(
                N_("Passwords must be at most %(limit)s bytes on this server."), limit=limit
            )

    async def hash(self, password: str) -> str:
        """Return a new hash.

        :param password: valid, see :func:`mailusers_plugin.validation.check_password`
        :raises UnavailableError: if too many hashes wait already
        """
        return await self._run(CHANGES, self.hash_now, password)

    async def verify(self, password: str, stored: str) -> Verdict:
        """Tell whether a password belongs to a stored hash.

        :param password: as the caller sent it
        :param stored: the column's text
        :raises UnavailableError: if too many hashes wait already
        """
        return await self._run(LOGINS, self.verify_now, password, stored)

    async def verify_decoy(self, password: str, stored: str | None) -> None:
        """Spend the time of a verification and forget its result.

        An address without an account must not be told apart from a wrong password by its time.

        :param password: as the caller sent it
        :param stored: somebody's hash, so that times are spread as real ones are; a new one where there is none
        :raises UnavailableError: if too many hashes wait already
        """
        await self._run(LOGINS, self._verify_decoy_now, password, stored)

    def load(self) -> dict[str, tuple[int, int, int]]:
        """Return, for ``logins`` and ``changes``, how many are hashed now, how many wait, and how many may do both."""
        return {"logins": self._lanes.load(LOGINS), "changes": self._lanes.load(CHANGES)}

    def check_room(self) -> None:
        """Tell whether another log-in's password could be hashed now.

        :raises UnavailableError: if too many hashes wait already
        """
        self._lanes.check_room(LOGINS)

    async def wait_for_room(self) -> None:
        """Wait for a while until a log-in's password can be hashed, before anything is looked up for it.

        :raises UnavailableError: if too many hashes wait even then
        """
        await self._patiently(self._lanes.check_room, LOGINS)

    def hash_now(self, password: str) -> str:
        """Return a new hash, in the calling thread.

        :param password: valid, see :func:`mailusers_plugin.validation.check_password`
        """
        return str(self._context.hash(password))

    def verify_now(self, password: str, stored: str) -> Verdict:
        """Tell whether a password belongs to a stored hash, in the calling thread.

        :param password: as the caller sent it
        :param stored: the column's text; what is in no known scheme never matches
        """
        if "\0" in password:
            return Verdict(False)
        try:
            matches = bool(self._context.verify(password, _canonical(stored)))
        except (ValueError, TypeError, UnicodeError):
            # A damaged or unknown hash in the database is as good as a wrong password.
            return Verdict(False)
        return Verdict(matches, matches and self.is_outdated(stored))

    def _verify_decoy_now(self, password: str, stored: str | None) -> None:
        if stored is None:
            self._decoy = stored = self._decoy or self.hash_now("a decoy that is nobody's password")
        self.verify_now(password, stored)

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a stored hash is weaker than a new one would be; a stronger one is never replaced.

        :param stored: the column's text
        """
        scheme = scheme_of(stored) or "SHA512-CRYPT"
        if scheme != self.scheme:
            return STRENGTH.get(self.scheme, 0) > STRENGTH.get(scheme, 0)
        if scheme == "ARGON2ID" and (match := _ARGON2_COST.search(stored)):
            return int(match[1]) * int(match[2]) < ARGON2_MEMORY_KIB * ARGON2_TIME_COST
        if scheme == "BLF-CRYPT" and (match := _BCRYPT_COST.search(stored)):
            return int(match[1]) < BCRYPT_COST
        if match := _SHA_ROUNDS.search(stored):
            return int(match[1]) < SHA512_ROUNDS
        return False

    def close(self) -> None:
        """Let the pool end; hashes that wait are dropped."""
        self._lanes.close()

    async def _run(self, lane: int, function: Callable[..., T], *args: str | None) -> T:
        future = await self._patiently(self._lanes.submit, lane, function, *args)
        return await asyncio.wrap_future(future)

    async def _patiently(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function, and once more where there was no room."""
        try:
            return function(*args)
        except UnavailableError:
            await asyncio.sleep(self._patience_seconds)
            return function(*args)

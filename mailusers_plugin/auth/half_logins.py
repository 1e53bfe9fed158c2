"""The time between the password and the code: the page asks for one after the other.

The password is neither sent back to the browser nor kept. In its place the form has a key, which is good for one
account with this password and these second factors, for some minutes and some attempts. It lets nobody in without a
code.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin.auth.second_factor import MISSING_TOTP
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.store import half_logins
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.half_logins import HalfLogin
from mailusers_plugin.texts import N_

_LASTS: Final = timedelta(minutes=10)
_ATTEMPTS: Final = 5
"""Codes that may be tried for one password; RFC 4226 (section 7.3) asks for a limit."""
_KEY: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class HalfLoginOverError(LoginRefusedError):
    """The password has to be given again: too long ago, too many wrong codes, or the account has changed."""

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(N_("That took too long, or too many codes were wrong. Enter your password again."))


class HalfLogins:
    """Remembers for whom the password was right."""

    def __init__(self, state: Database) -> None:
        """Take where that is kept."""
        self._state = state

    async def begin(self, email: str, mark: str) -> str:
        """Remember it.

        :param mark: of the password and the second factors, see :func:`authenticator.mark_login`
        :returns: the key, which is stored nowhere
        """
        key = secrets.token_hex(32)
        now = datetime.now(UTC)
        half = HalfLogin(email, mark, now)
        await self._state.write(half_logins.add, _hash(key), half, now - _LASTS)
        return key

    async def attempt(self, key: str, code: str) -> HalfLogin:
        """Count an attempt to give a code.

        :param code: where it is empty nothing is counted
        :raises LoginRefusedError: if the code is empty
        :raises HalfLoginOverError: if the password must be given again
        """
        if not _KEY.fullmatch(key):
            raise HalfLoginOverError
        oldest = datetime.now(UTC) - _LASTS
        if not code.strip():
            if await self._state.read(half_logins.find, _hash(key), oldest) is None:
                raise HalfLoginOverError
            raise LoginRefusedError(MISSING_TOTP)
        half = await self._state.write(half_logins.attempt, _hash(key), oldest, _ATTEMPTS)
        if half is None:
            raise HalfLoginOverError
        return half

    async def email(self, key: str) -> str:
        """Return whose password was right, empty where that is over."""
        if not _KEY.fullmatch(key):
            return ""
        oldest = datetime.now(UTC) - _LASTS
        half = await self._state.read(half_logins.find, _hash(key), oldest)
        return half.email if half else ""

    async def end(self, key: str) -> None:
        """Forget it, because the log-in is complete.

        :raises HalfLoginOverError: if somebody else was quicker with the same key
        """
        if not await self._state.write(half_logins.end, _hash(key)):
            raise HalfLoginOverError


def _hash(key: str) -> str:
    """Return what is stored of a key. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(b"half:" + key.encode()).hexdigest()

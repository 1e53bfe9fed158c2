"""Finds out who sends a request, by any of the credentials that the default host takes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin.auth.api_key import is_api_key
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.models import ADMIN, Account, Identity
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import accounts, sessions
from mailusers_plugin.store.database import Connection, Database

COOKIE: Final = "cookie"
API: Final = "api"

MISSING_TOTP: Final = "missing-totp-token"
"""The contract's reason for a user who has a second factor. It cannot be given yet, so such a user cannot log in."""
_REFUSED: Final = "Incorrect email address or password."
_KEY: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOUCH_EVERY: Final = timedelta(minutes=5)
"""A session's last use is written no more often than this, so that reading costs no write."""


def hash_key(key: str) -> str:
    """Return what is stored of a session key. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def mark_password(password_hash: str) -> str:
    """Return what binds a session to a password: it changes when the stored hash does."""
    return hashlib.sha256(b"session:" + password_hash.encode()).hexdigest()


class Authenticator:
    """Checks credentials against the box's accounts."""

    def __init__(
        self,
        database: Database,
        state: Database,
        passwords: Passwords,
        api_key: str,
        *,
        session_hours: float,
        session_max_hours: float,
    ) -> None:
        """Take what it works with.

        :param database: where the accounts are
        :param state: where the sessions are
        :param api_key: the system API key
        :param session_hours: how long a session lives after its last use
        :param session_max_hours: how long it lives at the most
        """
        self._database = database
        self._state = state
        self._passwords = passwords
        self._api_key = api_key
        self._idle = timedelta(hours=session_hours)
        self._max_age = timedelta(hours=session_max_hours)

    async def by_header(self, header: str) -> Identity:
        """Identify the sender of an ``Authorization`` header.

        :raises LoginRefusedError: with the contract's reason
        :raises UnavailableError: if too many passwords are being checked
        """
        name, password = parse_basic(header)
        if password == "" and is_api_key(name, self._api_key):
            return Identity(None, "token", (ADMIN,))
        account = await self._by_session(password, API)
        if account is None or not hmac.compare_digest(account.email.encode(), name.encode()):
            account = await self.by_password(name, password)
        return Identity(account.email, "basic", account.privileges)

    async def by_cookie(self, key: str) -> Identity | None:
        """Identify the sender of a session cookie, ``None`` where the session has ended."""
        account = await self._by_session(key, COOKIE)
        return None if account is None else Identity(account.email, "cookie", account.privileges)

    async def by_password(self, email: str, password: str) -> Account:
        """Check an address and a password; a weak stored hash is replaced by a strong one.

        An unknown address costs the time of verifying somebody's hash, so that it cannot be told apart.

        :raises LoginRefusedError: with the contract's reason
        :raises UnavailableError: if too many passwords are being checked
        """
        if not password.strip():
            raise LoginRefusedError("Enter a password.")
        number = int.from_bytes(hashlib.sha256(email.encode("utf-8", "replace")).digest()[:6])
        # No database holds NUL in a text, and some refuse to look for it.
        known_as = email.replace("\0", "\N{REPLACEMENT CHARACTER}")
        account, decoy = await self._database.read(_find_with_decoy, known_as, number)
        if account is None:
            await self._passwords.verify_decoy(password, decoy)
            raise LoginRefusedError(_REFUSED)
        verdict = await self._passwords.verify(password, account.password_hash)
        if not verdict.matches:
            raise LoginRefusedError(_REFUSED)
        if await self._database.read(accounts.has_second_factor, account.email):
            # Letting such a user in by the password alone would take away what Mail-in-a-Box gave.
            raise LoginRefusedError(MISSING_TOTP)
        if verdict.outdated:
            return await self._strengthen(account, password)
        return account

    async def open_session(self, account: Account, kind: str) -> str:
        """Begin a session.

        :param kind: :data:`COOKIE` or :data:`API`
        :returns: the key, which is stored nowhere
        """
        key = secrets.token_hex(32)
        mark = mark_password(account.password_hash)
        await self._state.write(self._store_session, hash_key(key), account.email, kind, mark)
        return key

    async def end_session(self, key: str) -> None:
        """End a session, if there is one with this key."""
        if _KEY.fullmatch(key):
            await self._state.write(sessions.end, hash_key(key))

    async def end_session_of_header(self, header: str) -> None:
        """End the session whose key is the password in an ``Authorization`` header.

        :raises LoginRefusedError: if the header is missing or damaged
        """
        await self.end_session(parse_basic(header)[1])

    def _store_session(self, connection: Connection, key_hash: str, email: str, kind: str, mark: str) -> None:
        now = datetime.now(UTC)
        sessions.expire(connection, now - self._idle, now - self._max_age)
        sessions.add(connection, key_hash, email, kind, mark, now)

    async def _by_session(self, key: str, kind: str) -> Account | None:
        if not _KEY.fullmatch(key):
            return None
        session = await self._state.read(sessions.find, hash_key(key))
        now = datetime.now(UTC)
        if (
            session is None
            or session.kind != kind
            or now - session.used_at > self._idle
            or now - session.created_at > self._max_age
        ):
            return None
        account = await self._database.read(accounts.find, session.email)
        if account is None or session.password_mark != mark_password(account.password_hash):
            return None
        if now - session.used_at > _TOUCH_EVERY:
            await self._state.write(sessions.touch, hash_key(key), now)
        return account

    async def _strengthen(self, account: Account, password: str) -> Account:
        new_hash = await self._passwords.hash(password)
        old_hash = account.password_hash
        if await self._database.write(accounts.replace_hash, account.email, old_hash, new_hash):
            await self._state.write(
                sessions.remark, account.email, mark_password(old_hash), mark_password(new_hash)
            )
        return Account(account.email, new_hash, account.privileges, account.quota)


def _find_with_decoy(connection: Connection, email: str, number: int) -> tuple[Account | None, str | None]:
    # Both are always looked up, so that the number of queries tells nothing either.
    return accounts.find(connection, email), accounts.decoy_hash(connection, number)

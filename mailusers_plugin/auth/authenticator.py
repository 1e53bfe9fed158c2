"""Finds out who sends a request, by any of the credentials that the default host takes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from mailusers_plugin.auth.api_key import APIKey
from mailusers_plugin.auth.basic import REFUSED, parse_basic
from mailusers_plugin.auth.half_logins import HalfLoginOverError, HalfLogins
from mailusers_plugin.auth.login_memory import LoginMemory
from mailusers_plugin.auth.second_factor import SecondFactors
from mailusers_plugin.auth.throttle import Throttle
from mailusers_plugin.client_address import network_of
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.models import ADMIN, Account, Identity
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import accounts, sessions
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.sessions import Session
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import parse_privileges

COOKIE: Final = "cookie"
API: Final = "api"

_KEY: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOUCH_EVERY: Final = timedelta(minutes=5)
"""A session's last use is written no more often than this, so that reading costs no write."""


def hash_key(key: str) -> str:
    """Return what is stored of a session key. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def mark_login(account: Account) -> str:
    """Return what binds a session to a log-in: it changes with the stored hash and with the second factors."""
    factors = f"\n{account.factors_mark}" if account.factors_mark else ""
    return hashlib.sha256(f"session:{account.password_hash}{factors}".encode()).hexdigest()


class Authenticator:
    """Checks credentials against the box's accounts."""

    def __init__(
        self,
        database: Database,
        state: Database,
        passwords: Passwords,
        second_factors: SecondFactors,
        api_key: APIKey,
        throttle: Throttle,
        *,
        session_hours: float,
        session_max_hours: float,
        login_cache_seconds: float = 0.0,
    ) -> None:
        """Take what it works with.

        :param database: where the accounts are
        :param state: where the sessions are
        :param second_factors: checks the codes
        :param api_key: the system API key
        :param throttle: refuses those who guess
        :param session_hours: how long a session lives after its last use
        :param session_max_hours: how long it lives at the most
        :param login_cache_seconds: how long a password that was right is remembered, ``0`` for not at all
        """
        self._database = database
        self._state = state
        self._passwords = passwords
        self.second_factors = second_factors
        self.half_logins = HalfLogins(state)
        self._api_key = api_key
        self._throttle = throttle
        self._idle = timedelta(hours=session_hours)
        self._max_age = timedelta(hours=session_max_hours)
        self._memory = LoginMemory(login_cache_seconds)

    async def by_header(self, header: str, code: str = "", *, ip: str | None = None) -> Identity:
        """Identify the sender of an ``Authorization`` header.

        :param code: the header ``X-Auth-Token``; a session key and the system API key need none
        :param ip: the client's address; ``None`` for a caller inside this process
        :raises LoginRefusedError: with the contract's reason
        :raises ThrottledError: if too many log-ins have failed
        :raises UnavailableError: if too many passwords are being checked
        """
        name, password = parse_basic(header)
        if password == "" and await self._state.look_up_with(self._api_key.matches, name):
            return Identity(None, "token", (ADMIN,))
        account = await self._by_session(password, API)
        if account is None or not hmac.compare_digest(account.email.encode(), name.encode()):
            if not password.strip():
                # In the place of the system API key, or a slip.
                await self._throttle.refuse_key(ip, self._memory.mark(name, "", password))
            account = await self.by_password(name, password, code, ip=ip)
        return Identity(account.email, "basic", account.privileges)

    async def by_cookie(self, key: str) -> Identity | None:
        """Identify the sender of a session cookie, ``None`` where the session has ended."""
        account = await self._by_session(key, COOKIE)
        return None if account is None else Identity(account.email, "cookie", account.privileges)

    async def by_password(
        self, email: str, password: str, code: str = "", *, ip: str | None = None
    ) -> Account:
        """Check an address, a password and, where the user has a second factor, its code.

        :param code: of the second factor, or a recovery code
        :param ip: the client's address; ``None`` for a caller inside this process
        :raises LoginRefusedError: with the contract's reason
        :raises ThrottledError: if too many log-ins have failed; nothing is hashed then
        :raises UnavailableError: if too many passwords are being checked
        """
        return await self._check(email, password, code, ip)

    async def check_password(self, email: str, password: str, *, ip: str | None = None) -> Account:
        """Check an address and a password, which is not enough where the account has a second factor.

        :param ip: the client's address; ``None`` for a caller inside this process
        :raises LoginRefusedError: with the contract's reason
        :raises ThrottledError: if too many log-ins have failed; nothing is hashed then
        :raises UnavailableError: if too many passwords are being checked
        """
        return await self._check(email, password, None, ip)

    async def _check(self, email: str, password: str, code: str | None, ip: str | None) -> Account:
        """Check an address, a password and a code; a weak stored hash is replaced by a strong one.

        An unknown address costs the time of verifying somebody's hash, so that it cannot be told apart.

        :param code: ``None`` where it is asked for later
        """
        if not password.strip():
            raise LoginRefusedError(N_("Enter a password."))
        # No database holds NUL in a text, and some refuse to look for it.
        known_as = email.replace("\0", "\N{REPLACEMENT CHARACTER}")
        # Read for each request: a new password, a removed user and a second factor count at once, whoever brought them.
        account, attempt = await self._throttle.find_account(known_as, ip)
        mark = self._memory.mark(known_as, account.password_hash if account else "", password)
        async with self._throttle.guarded(attempt, mark, is_whole=code is not None):
            if account is None or not self._memory.knows(known_as, mark):
                new_hash = await self._memory.once(mark, partial(self._verify, known_as, account, password))
                if account is None:
                    raise LoginRefusedError(REFUSED)
                account = replace(account, password_hash=new_hash)
            if code is not None:
                await self.second_factors.check(account, code)
        return account

    async def finish_half_login(self, key: str, code: str, *, ip: str | None = None) -> Account:
        """Check the code of somebody whose password was right, see :meth:`HalfLogins.begin`.

        :param ip: the client's address; ``None`` for a caller inside this process
        :raises LoginRefusedError: if the code is missing or wrong
        :raises ThrottledError: if too many log-ins have failed
        :raises HalfLoginOverError: if the password must be given again
        """
        half = await self.half_logins.attempt(key, code)
        account, attempt = await self._throttle.find_account(half.email, ip)
        if account is None or not hmac.compare_digest(half.mark, mark_login(account)):
            raise HalfLoginOverError
        async with self._throttle.guarded(attempt, self._memory.mark(half.email, half.mark, code)):
            await self.second_factors.check(account, code)
        await self.half_logins.end(key)
        return account

    async def keep_session(self, before: Account, key: str) -> None:
        """End all sessions of a user whose second factors have changed, but the one in which that was done.

        :param before: the account as it was before, when that session was good
        :param key: of the session, empty for none
        """
        after = await self._database.look_up(accounts.FIND, before.email)
        factors_mark = after.factors_mark if after else ""
        # With the hash as it was: a password that was changed meanwhile ends this session too.
        marks = mark_login(before), mark_login(replace(before, factors_mark=factors_mark))
        await self._state.write(sessions.keep_only, before.email, hash_key(key) if key else "", *marks)

    async def open_session(
        self, account: Account, kind: str, *, ip: str | None = None, agent: str = ""
    ) -> str:
        """Begin a session.

        :param kind: :data:`COOKIE` or :data:`API`
        :param ip: the client's address
        :param agent: what the client calls itself, any text
        :returns: the key, which is stored nowhere
        """
        key = secrets.token_hex(32)
        now = datetime.now(UTC)
        session = Session(
            hash_key(key),
            account.email,
            kind,
            mark_login(account),
            now,
            now,
            "\n".join(account.privileges),
            ip,
            network_of(ip) if ip else None,
            sessions.storable(agent),
        )
        await self._state.write(self._store_session, session)
        return key

    async def end_session(self, key: str) -> str | None:
        """End a session, if there is one with this key.

        :returns: whose it was, ``None`` where there was none
        """
        if not _KEY.fullmatch(key):
            return None
        return await self._state.write(sessions.end, hash_key(key))

    async def end_session_of_header(self, header: str) -> str | None:
        """End the session whose key is the password in an ``Authorization`` header.

        :returns: whose it was, ``None`` where there was none
        :raises LoginRefusedError: if the header is missing or damaged
        """
        return await self.end_session(parse_basic(header)[1])

    def _store_session(self, connection: Connection, session: Session) -> None:
        now = session.created_at
        sessions.expire(connection, now - self._idle, now - self._max_age)
        sessions.add(connection, session)

    async def _by_session(self, key: str, kind: str) -> Account | None:
        if not _KEY.fullmatch(key):
            return None
        found = await self._database.look_up_with(
            sessions.find_now, self._state, self._database, hash_key(key)
        )
        if found is None:
            return None
        session, account = found
        now = datetime.now(UTC)
        if account is None or session.kind != kind or not self._is_alive(session, account, now):
            return None
        if now - session.used_at > _TOUCH_EVERY:
            await self._state.write(sessions.touch, hash_key(key), now)
        return account

    def _is_alive(self, session: Session, account: Account, now: datetime) -> bool:
        return (
            now - session.used_at <= self._idle
            and now - session.created_at <= self._max_age
            and session.password_mark == mark_login(account)
            # Whoever took one away, here or in the database.
            and set(parse_privileges(session.privileges or "")) <= set(account.privileges)
        )

    async def live_sessions(self, email: str | None) -> list[Session]:
        """Return the sessions that have not ended, the one that was used last first.

        :param email: of one user, of everybody where ``None``
        :raises UnavailableError: if a database is away
        """
        found = await self._state.read(sessions.of_user, email)
        owners: dict[str, Account | None] = {}
        for session in found:
            if session.email not in owners:
                owner = await self._database.look_up(accounts.FIND, session.email)
                owners[session.email] = owner
        now = datetime.now(UTC)
        return [
            session
            for session in found
            if (account := owners[session.email]) is not None and self._is_alive(session, account, now)
        ]

    async def end_session_by_id(self, email: str, session_id: str) -> bool:
        """End one session of a user.

        :param session_id: see :func:`mailusers_plugin.store.sessions.id_of`
        :returns: whether there was one
        """
        for session in await self._state.read(sessions.of_user, email):
            if sessions.id_of(session) == session_id:
                await self._state.write(sessions.end, session.key_hash)
                return True
        return False

    async def end_sessions(self, email: str, *, besides: str = "") -> int:
        """End a user's sessions.

        :param besides: the hash of the key of one that goes on
        :returns: how many there were
        """
        return await self._state.write(sessions.end_all, email, besides=besides)

    async def _verify(self, email: str, account: Account | None, password: str) -> str:
        """Hash a password, remember it where it is right, and return the hash that is stored from now on.

        :raises LoginRefusedError: if it is wrong
        :raises UnavailableError: if too many passwords are being checked
        """
        await self._passwords.wait_for_room()
        number = int.from_bytes(hashlib.sha256(email.encode("utf-8", "replace")).digest()[:6])
        # Looked up in any case, so that the number of queries tells nothing either.
        decoy = await self._database.read(accounts.decoy_hash, number)
        if account is None:
            await self._passwords.verify_decoy(password, decoy)
            raise LoginRefusedError(REFUSED)
        verdict = await self._passwords.verify(password, account.password_hash)
        if not verdict.matches:
            raise LoginRefusedError(REFUSED)
        if not verdict.outdated:
            self._memory.remember(email, self._memory.mark(email, account.password_hash, password))
            return account.password_hash
        return await self._strengthen(email, account, password)

    async def _strengthen(self, email: str, account: Account, password: str) -> str:
        """Store a strong hash of a password that is right, and return the hash that is stored from now on.

        :raises LoginRefusedError: if the password was changed meanwhile
        :raises UnavailableError: if the database is away, or too many passwords are being checked
        """
        new_hash = await self._passwords.hash(password)
        # Before it is stored: whoever finds it there need not hash it again.
        self._memory.remember(email, self._memory.mark(email, new_hash, password))
        old_hash = account.password_hash
        if await self._database.write(accounts.replace_hash, account.email, old_hash, new_hash):
            marks = mark_login(account), mark_login(replace(account, password_hash=new_hash))
            await self._state.write(sessions.remark, account.email, *marks)
            return new_hash
        # Another process was quicker, or the password is another one now: a session binds to what is stored.
        found = await self._database.look_up(accounts.FIND, email)
        return await self._verify(email, found, password)

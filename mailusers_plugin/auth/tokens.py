"""API tokens: making, showing and revoking them, and finding out for whom one acts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin.auth.networks import is_inside, parse_address, parse_networks
from mailusers_plugin.auth.token_keys import hash_key, is_key, new_key
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError, MailUsersError
from mailusers_plugin.models import ADMIN, Identity
from mailusers_plugin.permissions import SCOPES
from mailusers_plugin.settings_checks import MAX_TOKEN_DAYS
from mailusers_plugin.store import tokens
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.tokens import Token
from mailusers_plugin.texts import N_

__all__ = ["Token", "Tokens"]

_log = logging.getLogger("mailusers_plugin.auth")

INVALID: Final = N_("That API token is not valid.")
EXPIRED: Final = N_("That API token has expired.")
ELSEWHERE: Final = N_("That API token may not be used from this address.")
OWNER_GONE: Final = N_("The owner of that API token is not an administrator any more.")
NO_SUCH: Final = N_("There is no such API token any more.")
_MAX_NAME: Final = 100
_MAX_OWNER: Final = 255
_MAX_ADDRESS: Final = 64
_TOUCH_EVERY: Final = timedelta(minutes=5)
"""A token's last use is written no more often than this, so that reading costs no write."""


class Tokens:
    """The API tokens of a box."""

    def __init__(self, database: Database, state: Database, *, of_host: bool, days: float) -> None:
        """Take what it works with.

        :param database: where the accounts are
        :param state: where the tokens are
        :param of_host: whether tokens belong to people of the host's own, whom it is asked about, or to mail users
        :param days: how long a token lives unless something else is said
        """
        self._database = database
        self._state = state
        self._of_host = of_host
        self._touching: set[str] = set()
        self.days = days

    async def identify(self, key: str, address: str) -> Identity:
        """Return for whom a token acts, and what it may do at the most.

        :param key: as it was sent
        :param address: of the caller
        :raises LoginRefusedError: if it is not valid, has expired, may not be used from there, or its owner is gone
        :raises UnavailableError: if the database is away
        """
        if not is_key(key):
            raise LoginRefusedError(INVALID)
        found = await self._state.look_up_with(tokens.find_now, self._state, self._database, hash_key(key))
        if found is None:
            raise LoginRefusedError(INVALID)
        token, owner = found
        now = datetime.now(UTC)
        if token.expires_at is not None and token.expires_at <= now:
            raise LoginRefusedError(EXPIRED)
        # One that was made while another kind of host was there acts for somebody who has that name by chance.
        if (token.owner_id is None) is not self._of_host:
            raise LoginRefusedError(INVALID)
        if not self._of_host and (
            owner is None or owner.id != token.owner_id or ADMIN not in owner.privileges
        ):
            raise LoginRefusedError(OWNER_GONE)
        caller = parse_address(address)
        if token.networks and not is_inside(caller, token.networks):
            raise LoginRefusedError(ELSEWHERE)
        if token.used_at is None or now - token.used_at > _TOUCH_EVERY:
            await self._touch(token, now, "" if caller is None else str(caller))
        return Identity(token.owner, "token", () if owner is None else owner.privileges, token.scopes)

    async def _touch(self, token: Token, now: datetime, address: str) -> None:
        if token.id in self._touching:
            return
        self._touching.add(token.id)
        try:
            await self._state.write(tokens.touch, token.id, now, address[:_MAX_ADDRESS], now - _TOUCH_EVERY)
        except MailUsersError as error:
            # It is only book-keeping: the request goes on.
            _log.warning("The last use of an API token could not be noted: %s", error)
        finally:
            self._touching.discard(token.id)

    async def create(
        self,
        owner: str,
        name: str,
        scopes: Collection[str],
        *,
        days: float | None,
        networks: Iterable[str] = (),
    ) -> tuple[Token, str]:
        """Make a token.

        :param owner: for whom it acts: an administrator among the mail users, or the name that the host gives somebody
        :param name: what it is for
        :param scopes: what it may do
        :param days: after which it expires; ``None`` for never
        :param networks: from where it may be used; from everywhere where there is none
        :returns: what is known of it, and the token itself, which is stored nowhere
        :raises InvalidInputError: if something of this is not possible
        :raises UnavailableError: if the database is away
        """
        checked = name.strip()
        if not checked or len(checked) > _MAX_NAME or not checked.isprintable():
            raise InvalidInputError(
                N_("Give the token a name that says what it is for, of at most %(number)s characters."),
                number=_MAX_NAME,
            )
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise InvalidInputError(
                N_("Choose at least one of these scopes: %(scopes)s."), scopes=", ".join(SCOPES)
            )
        now = datetime.now(UTC)
        new = Token(
            secrets.token_hex(8),
            checked,
            owner,
            await self._owner_id(owner),
            tuple(scope for scope in SCOPES if scope in scopes),
            parse_networks(networks),
            now,
            None if days is None else now + timedelta(days=_checked(days)),
        )
        key = new_key()
        await self._state.write(tokens.add, new, hash_key(key))
        return new, key

    async def _owner_id(self, owner: str) -> int | None:
        if self._of_host:
            if not owner or len(owner) > _MAX_OWNER or not owner.isprintable():
                raise InvalidInputError(N_("That cannot be the owner of a token."))
            return None
        found = await self._database.read(tokens.owner, owner)
        if found is None or ADMIN not in found.privileges:
            raise InvalidInputError(
                N_("%(email)s is not an administrator. Only administrators can own API tokens."), email=owner
            )
        return found.id

    async def everything(self) -> Sequence[Token]:
        """Return all tokens, the newest first.

        :raises UnavailableError: if the database is away
        """
        return await self._state.read(tokens.everything)

    async def find(self, token_id: str) -> Token:
        """Return a token by its id.

        :raises InvalidInputError: if there is none
        :raises UnavailableError: if the database is away
        """
        found = await self._state.read(tokens.find, token_id)
        if found is None:
            raise InvalidInputError(NO_SUCH)
        return found

    async def revoke(self, token_id: str) -> None:
        """Make a token invalid at once and for good.

        :raises InvalidInputError: if there is none with that id
        :raises UnavailableError: if the database is away
        """
        if not await self._state.write(tokens.revoke, token_id):
            raise InvalidInputError(NO_SUCH)


def _checked(days: float) -> float:
    if not 0 < days <= MAX_TOKEN_DAYS:
        raise InvalidInputError(
            N_("A token can live for at most %(number)s days. Ask for one that does not expire instead."),
            number=MAX_TOKEN_DAYS,
        )
    return days

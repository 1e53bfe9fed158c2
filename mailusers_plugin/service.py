"""The use cases: everything that can be done to a mail user, each in one transaction with its event."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Concatenate, Final, ParamSpec

from mailusers_plugin import events, validation
from mailusers_plugin.dispatch import Dispatcher, ask_validators
from mailusers_plugin.errors import (
    ForbiddenChangeError,
    InvalidInputError,
    NotArchivedError,
    UserExistsError,
)
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import ADMIN, Account, Actor, AddRequest, Change
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import accounts, outbox, usage
from mailusers_plugin.store.database import Connection, Database

P = ParamSpec("P")

_DOMAIN_CONTROL: Final = (
    "You may not make a user account for that address because it is frequently used for domain control "
    "validation. Use an alias instead if necessary."
)
_LAST_ADMINISTRATOR: Final = "That is the last administrator."
_PURGING: Final = (
    "That address's old mailbox is being deleted for good and is half gone. Repeat the purge until it succeeds, "
    "then add the user."
)


class Service:
    """Changes mail users. Rules that depend on other users are checked inside the transaction that changes."""

    def __init__(
        self,
        database: Database,
        state: Database,
        passwords: Passwords,
        mailboxes: Mailboxes,
        manager: HookManager,
        dispatcher: Dispatcher,
        *,
        default_quota: str = "0",
        extra_privileges: Collection[str] = (),
        validator_timeout_seconds: float = 30.0,
    ) -> None:
        """Take what it works with.

        :param state: where the mailboxes' sizes are
        :param default_quota: of a new user when none is given
        :param extra_privileges: the host's own, beside ``admin``
        :param validator_timeout_seconds: how long one ``mailusers_validate_add`` may take
        :raises InvalidInputError: if the default quota is not a quota
        """
        self._database = database
        self._state = state
        self._passwords = passwords
        self._mailboxes = mailboxes
        self._manager = manager
        self._dispatcher = dispatcher
        self.default_quota = validation.check_quota(default_quota)
        self.privileges = (ADMIN, *extra_privileges)
        self._validator_timeout_seconds = validator_timeout_seconds

    async def add(
        self,
        actor: Actor,
        email: str,
        password: str,
        privileges: Iterable[str] = (),
        quota: str | None = None,
        *,
        first_administrator: bool = False,
    ) -> Change:
        """Add a mail user; an archived mailbox of the address is the new user's.

        :param quota: the default quota when ``None``
        :param first_administrator: add only if there is no administrator yet
        :raises InvalidInputError: if something breaks a rule
        :raises UserExistsError: if the address is in use
        :raises VetoError: if a module refuses the user
        """
        validation.check_new_address(email)
        if await self._database.read(_is_reserved, email):
            raise InvalidInputError(_DOMAIN_CONTROL)
        self._check_password(password)
        wanted = validation.check_privileges(privileges, self.privileges)
        stored_quota = self.default_quota if quota is None else validation.check_quota(quota)
        if await self._database.read(accounts.find, email) is not None:
            raise UserExistsError
        request = AddRequest(email, wanted, stored_quota, actor)
        await ask_validators(self._manager, request, self._validator_timeout_seconds)
        account = Account(email, await self._passwords.hash(password), wanted, stored_quota)
        return await self._change(_add, actor, account, self._mailboxes, first_administrator)

    async def archive(self, actor: Actor, email: str) -> Change:
        """Remove a mail user and keep the mailbox.

        :raises UnknownUserError: if there is no such user
        :raises ForbiddenChangeError: if it is the caller, or the last administrator
        """
        validation.check_known_address(email)
        return await self._change(_archive, actor, email, self._mailboxes.path(email))

    async def purge(self, actor: Actor, email: str, confirm: str) -> Change:
        """Delete an archived mailbox for good. Repeatable: what is interrupted stays archived.

        :param confirm: the address again
        :raises InvalidInputError: if the confirmation is not the address
        :raises NotArchivedError: if the account is active, or nothing of it is kept
        :raises StorageError: if something cannot be deleted
        """
        validation.check_known_address(email)
        if confirm != email:
            raise InvalidInputError("To delete a mailbox for good, send its address again as confirm.")
        name = await self._database.write(_begin_purge, email, self._mailboxes)
        if not await self._database.write(_set_aside, email, name, self._mailboxes):
            raise NotArchivedError
        await asyncio.to_thread(self._mailboxes.delete_aside, email, name)
        change = await self._change(_end_purge, actor, email, name, self._mailboxes.path(email))
        await self._state.write(usage.replace, {}, [email])
        return change

    async def set_password(self, actor: Actor, email: str, password: str) -> Change:
        """Set a password; the user's sessions end.

        :raises InvalidInputError: if the password breaks a rule
        :raises UnknownUserError: if there is no such user
        """
        validation.check_known_address(email)
        self._check_password(password)
        await self._database.read(accounts.get, email)
        return await self._change(_set_password, actor, email, await self._passwords.hash(password))

    async def set_quota(self, actor: Actor, email: str, quota: str) -> Change:
        """Set a quota.

        :raises InvalidInputError: if it is not a quota
        :raises UnknownUserError: if there is no such user
        """
        validation.check_known_address(email)
        return await self._change(_set_quota, actor, email, validation.check_quota(quota))

    async def add_privileges(self, actor: Actor, email: str, privileges: Iterable[str]) -> Change:
        """Give privileges; those that the user has already stay.

        :raises InvalidInputError: if one does not exist
        :raises UnknownUserError: if there is no such user
        """
        validation.check_known_address(email)
        wanted = validation.check_privileges(privileges, self.privileges)
        return await self._change(_add_privileges, actor, email, wanted)

    async def remove_privileges(self, actor: Actor, email: str, privileges: Iterable[str]) -> Change:
        """Take privileges away; those that the user does not have are passed over.

        :raises InvalidInputError: if one does not exist
        :raises UnknownUserError: if there is no such user
        :raises ForbiddenChangeError: if it would leave the caller or the box without the admin privilege
        """
        validation.check_known_address(email)
        return await self._change(_remove_privileges, actor, email, tuple(privileges), self.privileges)

    async def account(self, email: str) -> Account:
        """Return an active account.

        :raises UnknownUserError: if there is no such user
        """
        validation.check_known_address(email)
        return await self._database.read(accounts.get, email)

    async def addresses(self) -> list[str]:
        """Return the active addresses by domain, then address."""
        return await self._database.read(accounts.addresses)

    async def has_administrator(self) -> bool:
        """Tell whether anybody can administrate the box."""
        return bool(await self._database.read(accounts.administrators))

    async def wait_for_hooks(self, change: Change, timeout_seconds: float, *, tried: bool = False) -> bool:
        """Wait until the hooks have been told of a change.

        :param tried: stop waiting once each was tried, whatever came of it
        :returns: whether all have been told
        """
        return await self._dispatcher.wait(change.event_ids, timeout_seconds, tried=tried)

    def _check_password(self, password: str) -> None:
        validation.check_password(password)
        self._passwords.check_new(password)

    async def _change(
        self, function: Callable[Concatenate[Connection, P], Change], *args: P.args, **kwargs: P.kwargs
    ) -> Change:
        await self._dispatcher.subscribe()
        change = await self._database.write(function, *args, **kwargs)
        if change.event_ids:
            self._dispatcher.notify()
        return change


def _record(connection: Connection, event: events.Event) -> Change:
    outbox.append(connection, event)
    return Change((event.id,))


def _is_reserved(connection: Connection, email: str) -> bool:
    """Tell whether an address is kept free because it proves control over its domain; the first user may have it."""
    return validation.is_domain_control_address(email) and accounts.any_exists(connection)


def _add(
    connection: Connection, actor: Actor, account: Account, mailboxes: Mailboxes, first_administrator: bool
) -> Change:
    if _is_reserved(connection, account.email):
        raise InvalidInputError(_DOMAIN_CONTROL)
    if first_administrator and accounts.administrators(connection):
        raise ForbiddenChangeError("There is an administrator already. Log in instead.")
    record = accounts.archive_record(connection, account.email)
    if record is not None and record.purge_name is not None:
        raise InvalidInputError(_PURGING)
    accounts.add(connection, account)
    accounts.forget_archived(connection, account.email)
    event = events.UserAdded(
        email=account.email,
        privileges=account.privileges,
        quota=account.quota,
        quota_bytes=validation.quota_bytes(account.quota) or 0,
        restored=record is not None or mailboxes.exists(account.email),
        **events.by(actor),
    )
    return _record(connection, event)


def _archive(connection: Connection, actor: Actor, email: str, mailbox: str) -> Change:
    administrators = accounts.administrators(connection, lock=True)
    account = accounts.get(connection, email, lock=True)
    if actor.name == email:
        raise ForbiddenChangeError("You cannot archive your own account.")
    _keep_an_administrator(administrators, account)
    event = events.UserArchived(
        email=email,
        privileges=account.privileges,
        quota=account.quota,
        mailbox=mailbox,
        **events.by(actor),
    )
    accounts.keep_archived(connection, account, actor, event.time)
    accounts.remove(connection, email)
    return _record(connection, event)


def _keep_an_administrator(administrators: tuple[str, ...], account: Account) -> None:
    if administrators == (account.email,):
        raise ForbiddenChangeError(_LAST_ADMINISTRATOR)


def _begin_purge(connection: Connection, email: str, mailboxes: Mailboxes) -> str:
    if accounts.find(connection, email) is not None:
        raise NotArchivedError
    # Looked at inside the transaction: the same purge, asked for twice at once, may have ended meanwhile.
    if not mailboxes.exists(email) and accounts.archive_record(connection, email) is None:
        raise NotArchivedError
    name = f".mailusers-purge-{uuid.uuid4().hex}"
    return accounts.begin_purge(connection, email, name, datetime.now(UTC))


def _set_aside(connection: Connection, email: str, purge_name: str, mailboxes: Mailboxes) -> bool:
    # Other programs add users without knowing of our purge. Renaming inside the write transaction means that
    # the mailbox of a user who exists is never touched: until we commit, nobody can add one.
    if accounts.find(connection, email) is not None:
        accounts.forget_archived(connection, email)
        return False
    mailboxes.set_aside(email, purge_name)
    return True


def _end_purge(connection: Connection, actor: Actor, email: str, purge_name: str, mailbox: str) -> Change:
    record = accounts.archive_record(connection, email)
    if record is None or record.purge_name != purge_name:
        # The same purge, asked for twice at once, ended in the other request.
        return Change()
    accounts.forget_archived(connection, email)
    return _record(connection, events.UserPurged(email=email, mailbox=mailbox, **events.by(actor)))


def _set_password(connection: Connection, actor: Actor, email: str, password_hash: str) -> Change:
    accounts.get(connection, email)
    accounts.set_password(connection, email, password_hash)
    return _record(connection, events.PasswordChanged(email=email, **events.by(actor)))


def _set_quota(connection: Connection, actor: Actor, email: str, quota: str) -> Change:
    old = accounts.get(connection, email, lock=True).quota
    if old == quota:
        return Change()
    accounts.set_quota(connection, email, quota)
    event = events.QuotaChanged(
        email=email,
        old_quota=old,
        new_quota=quota,
        old_quota_bytes=validation.quota_bytes(old),
        new_quota_bytes=validation.quota_bytes(quota) or 0,
        **events.by(actor),
    )
    return _record(connection, event)


def _add_privileges(connection: Connection, actor: Actor, email: str, wanted: tuple[str, ...]) -> Change:
    account = accounts.get(connection, email, lock=True)
    return _store_privileges(connection, actor, account, tuple(dict.fromkeys(account.privileges + wanted)))


def _remove_privileges(
    connection: Connection, actor: Actor, email: str, unwanted: tuple[str, ...], known: Collection[str]
) -> Change:
    administrators = accounts.administrators(connection, lock=True)
    account = accounts.find(connection, email, lock=True)
    # One that another program gave may be taken away although it does not exist for us.
    validation.check_privileges(unwanted, {*known, *(account.privileges if account else ())})
    account = accounts.get(connection, email)
    if ADMIN in unwanted and account.is_admin:
        if actor.name == email:
            raise ForbiddenChangeError("You cannot remove the admin privilege from yourself.")
        _keep_an_administrator(administrators, account)
    left = tuple(p for p in account.privileges if p not in unwanted)
    return _store_privileges(connection, actor, account, left)


def _store_privileges(
    connection: Connection, actor: Actor, account: Account, privileges: tuple[str, ...]
) -> Change:
    if privileges == account.privileges:
        return Change()
    accounts.set_privileges(connection, account.email, privileges)
    event = events.PrivilegesChanged(
        email=account.email,
        old_privileges=account.privileges,
        new_privileges=privileges,
        **events.by(actor),
    )
    return _record(connection, event)

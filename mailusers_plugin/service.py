"""The use cases: everything that can be done to a mail user, each in one transaction with its event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Concatenate, ParamSpec, TypeVar

from mailusers_plugin import (
    service_changes,
    service_endings,
    service_guard,
    service_purge,
    service_terms,
    service_undo,
    validation,
)
from mailusers_plugin.directory import Directory
from mailusers_plugin.dispatch import Dispatcher, ask_validators
from mailusers_plugin.errors import (
    InvalidInputError,
    NotArchivedError,
    UnknownUserError,
    UserExistsError,
)
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import ADMIN, Account, Actor, AddRequest, Change
from mailusers_plugin.password_policy import PasswordPolicy
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import accounts, sessions, usage
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.texts import N_

P = ParamSpec("P")
S = TypeVar("S", Account, str)


class Service:
    """Changes mail users. Rules that depend on other users are checked inside the transaction that changes."""

    def __init__(
        self,
        database: Database,
        state: Database,
        passwords: Passwords,
        policy: PasswordPolicy,
        mailboxes: Mailboxes,
        manager: HookManager,
        dispatcher: Dispatcher,
        directory: Directory,
        *,
        default_quota: str = "0",
        extra_privileges: Collection[str] = (),
        validator_timeout_seconds: float = 30.0,
        undo_minutes: float = 0.0,
    ) -> None:
        """Take what it works with.

        :param state: where the mailboxes' sizes are
        :param policy: what is asked of new passwords
        :param directory: told of each change, so that the list shows it at once
        :param default_quota: of a new user when none is given
        :param extra_privileges: the host's own, beside ``admin``
        :param validator_timeout_seconds: how long one ``mailusers_validate_add`` may take
        :param undo_minutes: how long archiving can be undone, ``0`` for not at all
        :raises InvalidInputError: if the default quota is not a quota
        """
        self._database = database
        self._state = state
        self._passwords = passwords
        self.policy = policy
        self._mailboxes = mailboxes
        self._manager = manager
        self._dispatcher = dispatcher
        self._directory = directory
        self.default_quota = validation.check_quota(default_quota)
        self.privileges = (ADMIN, *extra_privileges)
        self._validator_timeout_seconds = validator_timeout_seconds
        self._undo_seconds = undo_minutes * 60

    async def add(
        self,
        actor: Actor,
        email: str,
        password: str,
        privileges: Iterable[str] = (),
        quota: str | None = None,
        *,
        first_administrator: bool = False,
        restore: bool = True,
        place: str = "",
    ) -> Change:
        """Add a mail user; an archived mailbox of the address is the new user's.

        :param quota: the default quota when ``None``
        :param first_administrator: add only if there is no administrator yet
        :param restore: whether the new user may have an archived mailbox
        :param place: where the password comes from, as :meth:`PasswordPolicy.check` takes it
        :raises InvalidInputError: if something breaks a rule
        :raises UserExistsError: if the address is in use
        :raises RestoreConsentError: if there is an archived mailbox that the new user may not have
        :raises VetoError: if a module refuses the user
        :raises AdministrationError: if it takes somebody who administrates
        """
        await self._check_address(email)
        self.check_password(password)
        wanted = validation.check_privileges(privileges, self.privileges)
        service_guard.check_giving(actor, wanted)
        stored_quota = self.default_quota if quota is None else validation.check_quota(quota)
        await self._check_exists_not(email)
        await self.policy.check(place, password, email)
        request = AddRequest(email, wanted, stored_quota, actor)
        await ask_validators(self._manager, request, self._validator_timeout_seconds)
        account = Account(email, await self._passwords.hash(password), wanted, stored_quota)
        return await self._change(
            service_changes.add, actor, account, self._mailboxes, first_administrator, restore
        )

    async def archive(self, actor: Actor, email: str) -> Change:
        """Remove a mail user and keep the mailbox; for some minutes :meth:`undo_archive` brings the user back.

        :raises UnknownUserError: if there is no such user
        :raises ForbiddenChangeError: if it is the caller, or the last administrator
        :raises AdministrationError: if it has privileges and the caller does not administrate
        """
        validation.check_known_address(email)
        mailbox = self._mailboxes.path(email)
        change = await self._change(service_undo.archive, actor, email, mailbox, self._undo_seconds)
        await service_endings.end_sessions(self._state, email)
        await service_endings.forget_tokens(self._state, email)
        return change

    async def undo_archive(self, actor: Actor, email: str) -> Change:
        """Bring an archived user back with the old password, second factors, privileges and quota.

        :raises NotArchivedError: if the account is active, or nothing of it is kept
        :raises InvalidInputError: if its mailbox is being deleted
        :raises UndoOverError: if the password is not kept any more
        :raises VetoError: if a module refuses the user
        :raises AdministrationError: if it had privileges and the caller does not administrate
        """
        validation.check_known_address(email)
        request = await self._database.read(service_undo.request, actor, email)
        await ask_validators(self._manager, request, self._validator_timeout_seconds)
        # Archiving has ended them, and the old password would bring them back.
        await self._state.write(sessions.end_all, email)
        return await self._change(service_undo.undo_archive, actor, email)

    async def purge(self, actor: Actor, email: str, confirm: str) -> Change:
        """Delete an archived mailbox for good. Repeatable: what is interrupted stays archived.

        :param confirm: the address again
        :raises InvalidInputError: if the confirmation is not the address
        :raises NotArchivedError: if the account is active, or nothing of it is kept
        :raises StorageError: if something cannot be deleted
        """
        validation.check_known_address(email)
        if confirm != email:
            raise InvalidInputError(N_("To delete a mailbox for good, send its address again as confirm."))
        name = await self._database.write(service_purge.begin, actor, email, self._mailboxes)
        # Undo is over, whatever comes of the rest.
        await self._directory.refresh([email])
        if not await self._database.write(service_purge.set_aside, email, name, self._mailboxes):
            raise NotArchivedError
        await asyncio.to_thread(self._mailboxes.delete_aside, email, name)
        change = await self._change(
            service_purge.end, service_terms.seen(actor), email, name, self._mailboxes.path(email)
        )
        await self._state.write(usage.replace, {}, [email])
        await self._directory.refresh([email])
        return change

    async def set_password(self, actor: Actor, email: str, password: str, *, place: str = "") -> Change:
        """Set a password; the user's sessions end.

        :param place: where it comes from, as :meth:`PasswordPolicy.check` takes it
        :raises InvalidInputError: if the password breaks a rule
        :raises UnknownUserError: if there is no such user
        :raises AdministrationError: if the user has privileges and the caller does not administrate
        """
        validation.check_known_address(email)
        self.check_password(password)
        # Before the work of hashing; what holds is asked again in the transaction.
        account = await self._database.read(service_terms.foresee, actor, email)
        service_guard.check_changing(actor, account.privileges)
        await self.policy.check(place, password, email)
        change = await self._change(
            service_changes.set_password, actor, email, await self._passwords.hash(password)
        )
        await service_endings.end_sessions(self._state, email)
        return change

    async def set_quota(self, actor: Actor, email: str, quota: str) -> Change:
        """Set a quota.

        :raises InvalidInputError: if it is not a quota
        :raises UnknownUserError: if there is no such user
        """
        validation.check_known_address(email)
        return await self._change(service_changes.set_quota, actor, email, validation.check_quota(quota))

    async def add_privileges(self, actor: Actor, email: str, privileges: Iterable[str]) -> Change:
        """Give privileges; those that the user has already stay.

        :raises InvalidInputError: if one does not exist
        :raises UnknownUserError: if there is no such user
        :raises AdministrationError: if the caller does not administrate
        """
        validation.check_known_address(email)
        wanted = validation.check_privileges(privileges, self.privileges)
        service_guard.check_giving(actor, wanted)
        account = await self._database.look_up(accounts.FIND, email)
        if ADMIN in wanted and account is not None and not account.is_admin:
            # Those of a time before, should another program have taken the privilege away since.
            await service_endings.forget_tokens(self._state, email)
        return await self._change(service_changes.add_privileges, actor, email, wanted)

    async def remove_privileges(self, actor: Actor, email: str, privileges: Iterable[str]) -> Change:
        """Take privileges away; those that the user does not have are passed over.

        :raises InvalidInputError: if one does not exist
        :raises UnknownUserError: if there is no such user
        :raises ForbiddenChangeError: if it would leave the caller or the box without the admin privilege
        :raises AdministrationError: if the caller does not administrate
        """
        validation.check_known_address(email)
        unwanted = tuple(privileges)
        service_guard.check_giving(actor, unwanted)
        change = await self._change(
            service_changes.remove_privileges, actor, email, unwanted, self.privileges
        )
        if change.event_ids:
            await service_endings.end_sessions(self._state, email)
        if ADMIN in unwanted:
            await service_endings.forget_tokens(self._state, email)
        return change

    def seek(self, email: str) -> asyncio.Future[Account | None]:
        """Begin to look for an active account.

        :returns: done when that was found out
        :raises InvalidInputError: if it is no address that anybody can have
        :raises UnavailableError: if the process is ending
        """
        validation.check_known_address(email)
        return self._database.looking_up(accounts.FIND, email)

    async def account(self, email: str) -> Account:
        """Return an active account.

        :raises UnknownUserError: if there is no such user
        """
        account = await self.seek(email)
        if account is None:
            raise UnknownUserError(email)
        return account

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

    async def check_free(self, email: str) -> None:
        """Check the address of a new user as :meth:`add` does first.

        :raises InvalidInputError: if it breaks a rule
        :raises UserExistsError: if it is in use
        """
        await self._check_address(email)
        await self._check_exists_not(email)

    def check_password(self, password: str) -> None:
        """Check a new password by the rules that hold everywhere.

        :raises InvalidInputError: if it breaks a rule
        """
        self.policy.check_length(password)
        self._passwords.check_new(password)

    async def _check_address(self, email: str) -> None:
        validation.check_new_address(email)
        if await self._database.read(service_changes.is_reserved, email):
            raise InvalidInputError(service_changes.DOMAIN_CONTROL)

    async def _check_exists_not(self, email: str) -> None:
        if await self._database.read(accounts.find, email) is not None:
            raise UserExistsError

    async def _change(
        self,
        function: Callable[Concatenate[Connection, Actor, S, P], Change],
        actor: Actor,
        subject: S,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change:
        await self._dispatcher.subscribe()
        change = await self._database.write(
            service_terms.carry_out, function, actor, subject, *args, **kwargs
        )
        if change.event_ids:
            self._dispatcher.notify()
            await self._directory.refresh(change.emails)
        return change

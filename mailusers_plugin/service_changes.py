"""The changes of the use cases, each in one transaction with its event; :mod:`mailusers_plugin.service` calls them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mailusers_plugin import events, service_guard, service_undo, validation
from mailusers_plugin.errors import ForbiddenChangeError, InvalidInputError, RestoreConsentError
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import ADMIN, Account, Actor, Change
from mailusers_plugin.store import accounts, outbox
from mailusers_plugin.store.database import Connection
from mailusers_plugin.texts import N_

DOMAIN_CONTROL: Final = N_(
    "You may not make a user account for that address because it is frequently used for domain control "
    "validation. Use an alias instead if necessary."
)


def _record(connection: Connection, event: events.Event) -> Change:
    outbox.append(connection, event)
    return Change((event.id,), (event.email,))


def is_reserved(connection: Connection, email: str) -> bool:
    """Tell whether an address may not be given, because it proves control over its domain; the first may be one."""
    """Tell whether an address is kept free because it proves control over its domain; the first user may have it."""
    return validation.is_domain_control_address(email) and accounts.any_exists(connection)


def add(
    connection: Connection,
    actor: Actor,
    account: Account,
    mailboxes: Mailboxes,
    first_administrator: bool,
    restore: bool,
) -> Change:
    """Add an account; parameters and errors as of :meth:`mailusers_plugin.service.Service.add`."""
    # Both depend on nobody being there.
    alone = first_administrator or validation.is_domain_control_address(account.email)
    accounts.hold_additions(connection, exclusively=alone)
    if is_reserved(connection, account.email):
        raise InvalidInputError(DOMAIN_CONTROL)
    if first_administrator and accounts.administrators(connection):
        raise ForbiddenChangeError(N_("There is an administrator already. Log in instead."))
    record = accounts.archive_record(connection, account.email)
    if record is not None and record.purge_name is not None:
        raise InvalidInputError(service_undo.PURGING)
    service_guard.check_restoring(actor, (record.privileges or "") if record is not None else "")
    restored = record is not None or mailboxes.exists(account.email)
    if restored and not restore and accounts.find(connection, account.email) is None:
        # Said here and not only by the page: the mailbox may have been archived while somebody typed.
        raise RestoreConsentError
    accounts.add(connection, account)
    accounts.forget_archived(connection, account.email)
    event = events.UserAdded(
        email=account.email,
        privileges=account.privileges,
        quota=account.quota,
        quota_bytes=validation.quota_bytes(account.quota) or 0,
        restored=restored,
        **events.by(actor, account.email),
    )
    return _record(connection, event)


def set_password(connection: Connection, actor: Actor, email: str, password_hash: str) -> Change:
    """Store a new hash; errors as of :meth:`mailusers_plugin.service.Service.set_password`."""
    # Held, so that nobody gets privileges between this look and the change.
    service_guard.check_changing(actor, accounts.get(connection, email, lock=True).privileges)
    accounts.set_password(connection, email, password_hash)
    return _record(connection, events.PasswordChanged(email=email, **events.by(actor, email)))


def set_quota(connection: Connection, actor: Actor, email: str, quota: str) -> Change:
    """Store a quota; one that is there already is no change."""
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
        **events.by(actor, email),
    )
    return _record(connection, event)


def add_privileges(connection: Connection, actor: Actor, email: str, wanted: tuple[str, ...]) -> Change:
    """Give privileges; those that are there already are no change."""
    account = accounts.get(connection, email, lock=True)
    return _store_privileges(connection, actor, account, tuple(dict.fromkeys(account.privileges + wanted)))


def remove_privileges(
    connection: Connection, actor: Actor, email: str, unwanted: tuple[str, ...], known: Collection[str]
) -> Change:
    """Take privileges away, but not the last administrator's, nor one's own.

    :param known: those that exist here
    """
    administrators = accounts.administrators(connection, lock=True)
    account = accounts.find(connection, email, lock=True)
    # One that another program gave may be taken away although it does not exist for us.
    validation.check_privileges(unwanted, {*known, *(account.privileges if account else ())})
    account = accounts.get(connection, email)
    if ADMIN in unwanted and account.is_admin:
        if actor.name == email:
            raise ForbiddenChangeError(N_("You cannot remove the admin privilege from yourself."))
        service_undo.keep_an_administrator(administrators, account)
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
        **events.by(actor, account.email),
    )
    return _record(connection, event)

"""Archiving and its undoing, inside their transactions; :mod:`mailusers_plugin.service` calls them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailusers_plugin import events, service_guard, validation
from mailusers_plugin.errors import (
    ForbiddenChangeError,
    InvalidInputError,
    NotArchivedError,
    UndoOverError,
)
from mailusers_plugin.models import Account, Actor, AddRequest, Change
from mailusers_plugin.store import accounts, outbox, undo
from mailusers_plugin.store.database import Connection
from mailusers_plugin.texts import N_

LAST_ADMINISTRATOR = N_("That is the last administrator.")
PURGING = N_(
    "That address's old mailbox is being deleted for good and is half gone. Repeat the purge until it succeeds, "
    "then add the user."
)


def archive(
    connection: Connection, actor: Actor, email: str, mailbox: str, keep_seconds: float = 0.0
) -> Change:
    """Remove an account and note that; its hash is kept for a while where that is wanted.

    :param mailbox: the directory of its mail
    :param keep_seconds: how long it can be undone; not at all where this is not positive
    :raises UnknownUserError: if there is no such user
    :raises ForbiddenChangeError: if it is the caller, or the last administrator
    :raises AdministrationError: if it has privileges and the caller does not administrate
    """
    # Who has no privileges concerns nobody else; finding all who have some can mean to read every user.
    privileged = bool(accounts.get(connection, email).privileges)
    administrators = accounts.administrators(connection, lock=True) if privileged else ()
    account = accounts.get(connection, email, lock=True)
    if account.is_admin and not privileged:
        administrators = accounts.administrators(connection, lock=True)
    if actor.name == email:
        raise ForbiddenChangeError(N_("You cannot archive your own account."))
    service_guard.check_changing(actor, account.privileges)
    keep_an_administrator(administrators, account)
    event = events.UserArchived(
        email=email,
        privileges=account.privileges,
        quota=account.quota,
        mailbox=mailbox,
        **events.by(actor, email),
    )
    accounts.keep_archived(connection, account, actor, event.time)
    # Also where no server runs that would do it in time.
    undo.wipe(connection, event.time)
    if keep_seconds > 0:
        undo.keep(connection, email, event.time + timedelta(seconds=keep_seconds))
    accounts.remove(connection, email)
    outbox.append(connection, event)
    return Change((event.id,), (email,))


def keep_an_administrator(administrators: tuple[str, ...], account: Account) -> None:
    """Refuse what would leave the box without an administrator.

    :raises ForbiddenChangeError: if the account is the only one
    """
    if administrators == (account.email,):
        raise ForbiddenChangeError(LAST_ADMINISTRATOR)


def request(connection: Connection, actor: Actor, email: str) -> AddRequest:
    """Return what undoing would add, for those who may refuse it; raises as :func:`undo_archive` does."""
    kept = _kept(connection, email)
    service_guard.check_restoring(actor, kept.account.privileges)
    return AddRequest(email, kept.account.privileges, kept.account.quota, actor)


def undo_archive(connection: Connection, actor: Actor, email: str) -> Change:
    """Bring an archived account back as it was: password, second factors, privileges, quota.

    :raises NotArchivedError: if the address is active, or nothing of it is archived
    :raises InvalidInputError: if its mailbox is being deleted
    :raises UndoOverError: if its password is not kept any more
    """
    accounts.hold_additions(connection, exclusively=False)
    kept = _kept(connection, email, lock=True)
    service_guard.check_restoring(actor, kept.account.privileges)
    undo.bring_back(connection, kept)
    event = events.UserAdded(
        email=email,
        privileges=kept.account.privileges,
        quota=kept.account.quota,
        quota_bytes=validation.quota_bytes(kept.account.quota) or 0,
        restored=True,
        undone=True,
        **events.by(actor, email),
    )
    outbox.append(connection, event)
    return Change((event.id,), (email,))


def _kept(connection: Connection, email: str, *, lock: bool = False) -> undo.Kept:
    # Of two who undo at once the second one waits here, and then finds nothing.
    record = accounts.archive_record(connection, email, lock=lock)
    if accounts.find(connection, email) is not None:
        raise NotArchivedError
    if record is None:
        raise NotArchivedError
    if record.purge_name is not None:
        raise InvalidInputError(PURGING)
    kept = undo.find(connection, email, datetime.now(UTC))
    if kept is None:
        raise UndoOverError
    return kept

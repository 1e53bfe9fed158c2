"""The steps of deleting a mailbox for good, inside their transactions; :mod:`mailusers_plugin.service` calls them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from mailusers_plugin import events, service_terms
from mailusers_plugin.errors import NotArchivedError
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import Actor, Change
from mailusers_plugin.store import accounts, outbox, undo
from mailusers_plugin.store.database import Connection


def begin(connection: Connection, actor: Actor, email: str, mailboxes: Mailboxes) -> str:
    """Note that a purge has begun; from now on archiving cannot be undone.

    :returns: the name under which the mailbox is deleted
    :raises NotArchivedError: if the account is active, or nothing of it is kept
    :raises ChangedError: if it is not the one that the caller has seen
    """
    accounts.hold_additions(connection, exclusively=True)
    service_terms.check(connection, actor, email)
    if accounts.find(connection, email) is not None:
        raise NotArchivedError
    # Looked at inside the transaction: the same purge, asked for twice at once, may have ended meanwhile; if it has
    # not, it cannot until we have.
    record = accounts.archive_record(connection, email, lock=True)
    if record is None and not mailboxes.exists(email):
        raise NotArchivedError
    undo.drop(connection, email)
    outbox.append(
        connection, events.PurgeBegun(email=email, mailbox=mailboxes.path(email), **events.by(actor))
    )
    name = f".mailusers-purge-{uuid.uuid4().hex}"
    return accounts.begin_purge(connection, email, name, datetime.now(UTC))


def set_aside(connection: Connection, email: str, purge_name: str, mailboxes: Mailboxes) -> bool:
    """Take the mailbox out of the mail server's reach.

    :returns: ``False`` where somebody has added the user meanwhile
    :raises StorageError: if that is not possible
    """
    # Other programs add users without knowing of our purge. Renaming inside the write transaction means that
    # the mailbox of a user who exists is never touched: until we commit, nobody can add one.
    accounts.hold_additions(connection, exclusively=True)
    if accounts.find(connection, email) is not None:
        accounts.forget_archived(connection, email)
        return False
    mailboxes.set_aside(email, purge_name)
    return True


def end(connection: Connection, actor: Actor, email: str, purge_name: str, mailbox: str) -> Change:
    """Forget the account."""
    record = accounts.archive_record(connection, email, lock=True)
    if record is None or record.purge_name != purge_name:
        # The same purge, asked for twice at once, ended in the other request.
        return Change()
    accounts.forget_archived(connection, email)
    event = events.UserPurged(email=email, mailbox=mailbox, **events.by(actor, email))
    outbox.append(connection, event)
    return Change((event.id,), (email,))

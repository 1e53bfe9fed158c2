"""Reads the mailboxes' sizes into our own table, in the background."""

from __future__ import annotations

from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.mailserver.usage import UsageSource
from mailusers_plugin.models import Usage
from mailusers_plugin.store import usage
from mailusers_plugin.store.database import Database


def refresh_usage(state: Database, mailboxes: Mailboxes, source: UsageSource) -> int:
    """Read all sizes and store those that changed, in one transaction. Blocks; called in a thread.

    :returns: how many changed
    :raises StorageError: if the mail store cannot be read
    :raises UnavailableError: if the database is away
    """
    known = state.read_now(usage.known)
    found = dict(source.read(mailboxes.scan().mailboxes))
    changed = {email: size for email, size in found.items() if _key(known.get(email)) != _key(size)}
    gone = known.keys() - found.keys()
    if changed or gone:
        state.write_now(usage.replace, changed, gone)
    return len(changed) + len(gone)


def _key(size: Usage | None) -> tuple[int, int, int] | None:
    return None if size is None else (size.box_bytes, size.messages, size.limit_bytes)

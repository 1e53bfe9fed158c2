"""What is known of the mailboxes' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, insert, select

from mailusers_plugin.models import Usage
from mailusers_plugin.store import schema

_usage = schema.usage.c
_BATCH = 500


def known(connection: Connection) -> dict[str, Usage]:
    """Return all sizes by address."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.checked_at)
    return {email: Usage(*size) for email, *size in connection.execute(query).all()}


def of(connection: Connection, email: str) -> Usage | None:
    """Return one mailbox's size."""
    query = select(_usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.checked_at)
    row = connection.execute(query.where(_usage.email == email)).first()
    return None if row is None else Usage(*row)


def replace(connection: Connection, changed: Mapping[str, Usage], gone: Iterable[str] = ()) -> None:
    """Store new sizes and drop those of mailboxes that are no more.

    :param changed: by address
    :param gone: addresses
    """
    addresses = [*changed, *gone]
    for start in range(0, len(addresses), _BATCH):
        connection.execute(delete(schema.usage).where(_usage.email.in_(addresses[start : start + _BATCH])))
    if changed:
        connection.execute(
            insert(schema.usage),
            [
                {
                    "email": email,
                    "box_bytes": size.box_bytes,
                    "messages": size.messages,
                    "limit_bytes": size.limit_bytes,
                    "checked_at": size.checked_at,
                }
                for email, size in changed.items()
            ],
        )

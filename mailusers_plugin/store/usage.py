"""What is known of the mailboxes' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, insert, select

from mailusers_plugin.models import Usage
from mailusers_plugin.store import schema

_usage = schema.usage.c
_BATCH = 500


def known(connection: Connection) -> dict[str, tuple[int, int, int]]:
    """Return bytes, messages and limit by address."""
    rows = connection.execute(
        select(_usage.email, _usage.box_bytes, _usage.messages, _usage.limit_bytes)
    )
    return {email: (box_bytes, messages, limit) for email, box_bytes, messages, limit in rows}


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

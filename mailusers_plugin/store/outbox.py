"""The outbox: events written in the same transaction as the change that they tell of.

It only hands them on: :mod:`mailusers_plugin.store.deliveries` keeps who has been told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, insert, select

from mailusers_plugin.events import EVENT_TYPES, Event
from mailusers_plugin.store import schema

_outbox = schema.outbox.c


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is stored."""

    seq: int
    id: str
    type: str
    email: str
    time: datetime
    body: str


def append(connection: Connection, event: Event) -> None:
    """Write an event, with the change."""
    connection.execute(
        insert(schema.outbox).values(
            id=event.id,
            type=event.type,
            email=event.email,
            time=event.time,
            body=json.dumps(event.as_dict()),
        )
    )


def after(connection: Connection, seq: int, limit: int) -> list[Entry]:
    """Return the events behind a number, oldest first.

    A number beyond all that are stored comes from before a backup was restored; then all are returned.
    Types that a newer version of the plugin wrote are left for it.
    """
    newest = connection.execute(select(func.max(_outbox.seq))).scalar()
    if newest is None or newest == seq:
        return []
    query = (
        select(_outbox.seq, _outbox.id, _outbox.type, _outbox.email, _outbox.time, _outbox.body)
        .where(_outbox.seq > (seq if newest > seq else 0), _outbox.type.in_(EVENT_TYPES))
        .order_by(_outbox.seq)
        .limit(limit)
    )
    return [Entry(*row) for row in connection.execute(query)]


def not_taken_over(connection: Connection, limit: int) -> list[Entry]:
    """Return the events that no deliveries were planned for, oldest first.

    For databases that hold the outbox and the deliveries: there, unlike on SQLite, an event with a lower number may
    be committed after one with a higher number.
    """
    query = (
        select(_outbox.seq, _outbox.id, _outbox.type, _outbox.email, _outbox.time, _outbox.body)
        .where(_outbox.type.in_(EVENT_TYPES), ~exists().where(schema.event.c.id == _outbox.id))
        .order_by(_outbox.seq)
        .limit(limit)
    )
    return [Entry(*row) for row in connection.execute(query)]


def prune_taken_over(connection: Connection, before: datetime) -> None:
    """Delete older events that deliveries were planned for; for such databases too."""
    taken_over = exists().where(schema.event.c.id == _outbox.id)
    connection.execute(delete(schema.outbox).where(_outbox.time < before, taken_over))


def has_before(connection: Connection, seq: int, before: datetime) -> bool:
    """Tell whether there is anything to prune."""
    query = select(_outbox.seq).where(_outbox.seq <= seq, _outbox.time < before).limit(1)
    return connection.execute(query).first() is not None


def prune(connection: Connection, seq: int, before: datetime) -> None:
    """Delete events that have been handed on.

    :param seq: of the last one that was
    :param before: only older ones
    """
    connection.execute(
        delete(schema.outbox).where(_outbox.seq <= seq, _outbox.time < before, _outbox.type.in_(EVENT_TYPES))
    )

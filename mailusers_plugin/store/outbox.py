"""The outbox: events written in the same transaction as the change that they tell of.

It only hands them on: :mod:`mailusers_plugin.store.deliveries` keeps who has been told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text

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
    connection.execute(insert(schema.outbox).values(**values(event)))


def append_all(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write many events, with their changes.

    :param rows: the :func:`values` of each; at least one
    """
    connection.execute(insert(schema.outbox), rows)


def values(event: Event) -> dict[str, Any]:
    """Return the columns of an event. For many of them this takes longer than writing them."""
    return {
        "id": event.id,
        "type": event.type,
        "email": event.email,
        "time": event.time,
        "body": json.dumps(event.as_dict()),
    }


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


def position(connection: Connection) -> int:
    """Return the highest number that an outbox on SQLite has given, 0 where there is none yet."""
    query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    return connection.execute(query, {"name": schema.outbox.name}).scalar() or 0


def claim(connection: Connection, limit: int) -> list[Entry]:
    """Return events, oldest first, that stay this transaction's; those that others have in hand are passed over.

    For databases that hold the outbox and the deliveries: there, unlike on SQLite, an event with a lower number may
    be committed after one with a higher number. Of one address that does not happen: who changes it locks its row.
    """
    query = (
        select(_outbox.seq, _outbox.id, _outbox.type, _outbox.email, _outbox.time, _outbox.body)
        .where(_outbox.type.in_(EVENT_TYPES))
        .order_by(_outbox.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [Entry(*row) for row in connection.execute(query)]


def first_of_others(connection: Connection, claimed: Sequence[Entry]) -> dict[str, int]:
    """Return the lowest number of those events that others have in hand, by address, as far as that matters to ours.

    :param claimed: what :func:`claim` has returned
    """
    numbers = {entry.seq for entry in claimed}
    emails = {entry.email for entry in claimed}
    # All that is older than ours and is still there is some other process's at this moment, so these are few.
    query = select(_outbox.email, _outbox.seq).where(
        _outbox.seq < claimed[-1].seq, _outbox.type.in_(EVENT_TYPES)
    )
    first: dict[str, int] = {}
    for email, seq in connection.execute(query):
        if seq not in numbers and email in emails:
            first[email] = min(seq, first.get(email, seq))
    return first


def remove(connection: Connection, numbers: Sequence[int]) -> None:
    """Delete events that have been handed on, in the transaction that does so."""
    connection.execute(delete(schema.outbox).where(_outbox.seq.in_(numbers)))


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

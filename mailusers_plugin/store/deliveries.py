"""Who has been told of which event.

A delivery is one event for one implementation: ``pending``, ``done`` or ``failed``. Who works on a pending one
holds a lease on it; a lease that ran out, or whose process has died, may be taken by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, delete, exists, func, insert, or_, select, update

from mailusers_plugin.events import EVENT_TYPES, Event
from mailusers_plugin.store import schema
from mailusers_plugin.store.outbox import Entry

PENDING: Final = "pending"
DONE: Final = "done"
FAILED: Final = "failed"

_event = schema.event.c
_delivery = schema.delivery.c
_subscription = schema.subscription.c


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that is ours to carry out.

    :ivar attempts: how often it was tried before
    """

    seq: int
    implementation: str
    attempts: int
    event: Event


def plan(connection: Connection, entries: Sequence[Entry]) -> None:
    """Take over events from the outbox, each once, with a delivery for each implementation that wants it.

    :param entries: oldest first
    """
    ids = [entry.id for entry in entries]
    known = set(connection.execute(select(_event.id).where(_event.id.in_(ids))).scalars())
    subscribed = connection.execute(
        select(_subscription.implementation, _subscription.hook, _subscription.since)
    ).all()
    for entry in entries:
        if entry.id in known:
            continue
        values = {
            "id": entry.id,
            "type": entry.type,
            "email": entry.email,
            "time": entry.time,
            "body": entry.body,
        }
        (seq,) = connection.execute(insert(schema.event).values(values)).inserted_primary_key or (None,)
        hook = EVENT_TYPES[entry.type].hook
        rows = [
            {
                "seq": seq,
                "implementation": implementation,
                "email": entry.email,
                "state": PENDING,
                "attempts": 0,
                "due_at": entry.time,
                "updated_at": entry.time,
            }
            for implementation, wanted, since in subscribed
            if wanted == hook and since <= entry.time
        ]
        if rows:
            connection.execute(insert(schema.delivery), rows)


def subscribe(connection: Connection, wanted: Mapping[str, Iterable[str]], now: datetime) -> None:
    """Remember which implementation wants which hooks, so that every process plans deliveries for it.

    :param wanted: names of hooks by implementation; what an implementation no longer wants is dropped
    :param now: it gets the events from now on, unless it was known before
    """
    for implementation, hooks in wanted.items():
        of_it = _subscription.implementation == implementation
        known = connection.execute(select(_subscription.hook, _subscription.since).where(of_it))
        since = dict(known.all())
        connection.execute(delete(schema.subscription).where(of_it))
        rows = [
            {"implementation": implementation, "hook": hook, "since": since.get(hook, now), "seen_at": now}
            for hook in hooks
        ]
        if rows:
            connection.execute(insert(schema.subscription), rows)


def subscriptions(connection: Connection) -> dict[str, datetime]:
    """Return every known implementation and when a process had it last."""
    seen_at = func.max(_subscription.seen_at, type_=schema.UTCDateTime())
    query = select(_subscription.implementation, seen_at).group_by(_subscription.implementation)
    return dict(connection.execute(query).all())


def forget(connection: Connection, implementation: str) -> int:
    """Drop an implementation that is not installed any more, with its deliveries.

    :returns: how many deliveries were dropped that were not done
    """
    connection.execute(delete(schema.subscription).where(_subscription.implementation == implementation))
    open_ = and_(_delivery.implementation == implementation, _delivery.state != DONE)
    count = connection.execute(select(func.count()).where(open_)).scalar_one()
    connection.execute(delete(schema.delivery).where(_delivery.implementation == implementation))
    return count


def claim(
    connection: Connection, free: Mapping[str, int], owner: str, now: datetime, until: datetime
) -> list[Delivery]:
    """Take leases on deliveries that are due, at most one at a time for an address and implementation.

    :param free: how many more each implementation that this process has can take
    :param owner: this process
    :param until: when the lease runs out
    """
    claimed: list[Delivery] = []
    for implementation, limit in free.items():
        for seq, attempts, type_, body in connection.execute(_due(implementation, now).limit(limit)).all():
            connection.execute(
                update(schema.delivery)
                .where(_delivery.seq == seq, _delivery.implementation == implementation)
                .values(lease_owner=owner, lease_until=until)
            )
            event = EVENT_TYPES[type_].from_dict(json.loads(body))
            claimed.append(Delivery(seq, implementation, attempts, event))
    return claimed


def _due(implementation: str, now: datetime) -> Select[Any]:
    """Select what is due for an implementation; an earlier event of the same address goes first."""
    earlier = schema.delivery.alias("earlier")
    blocked = exists().where(
        earlier.c.implementation == _delivery.implementation,
        earlier.c.email == _delivery.email,
        earlier.c.state == PENDING,
        earlier.c.seq < _delivery.seq,
    )
    return (
        select(_delivery.seq, _delivery.attempts, _event.type, _event.body)
        .join(schema.event, _event.seq == _delivery.seq)
        .where(
            _delivery.state == PENDING,
            _delivery.due_at <= now,
            _delivery.implementation == implementation,
            or_(_delivery.lease_until.is_(None), _delivery.lease_until < now),
            # A newer version of the plugin may have written a type that only it can deliver.
            _event.type.in_(EVENT_TYPES),
            ~blocked,
        )
        .order_by(_delivery.due_at, _delivery.seq)
    )


def finish(
    connection: Connection,
    delivery: Delivery,
    now: datetime,
    *,
    error: str | None = None,
    retry_at: datetime | None = None,
) -> None:
    """Store the outcome of a try.

    :param error: what went wrong, ``None`` for a success
    :param retry_at: when to try again; with an error and without a time the delivery goes on the failed list
    """
    state = DONE if error is None else PENDING if retry_at else FAILED
    connection.execute(
        update(schema.delivery)
        .where(_delivery.seq == delivery.seq, _delivery.implementation == delivery.implementation)
        .values(
            state=state,
            attempts=delivery.attempts + 1,
            due_at=retry_at or now,
            lease_owner=None,
            lease_until=None,
            error=error,
            updated_at=now,
        )
    )


def release(connection: Connection, owners: Iterable[str]) -> None:
    """Give up the leases of processes that have ended."""
    connection.execute(
        update(schema.delivery)
        .where(_delivery.lease_owner.in_(list(owners)))
        .values(lease_owner=None, lease_until=None)
    )


def lease_owners(connection: Connection) -> set[str]:
    """Return who holds leases."""
    query = select(_delivery.lease_owner).where(_delivery.lease_owner.is_not(None)).distinct()
    return {owner for owner in connection.execute(query).scalars() if owner is not None}


def count_open(
    connection: Connection,
    event_ids: Sequence[str],
    implementations: Sequence[str],
    *,
    untried_only: bool = False,
) -> int:
    """Return how many deliveries of some events to some implementations are neither done nor failed.

    An event that has not been taken over from the outbox counts as one.

    :param untried_only: count only those that were never tried
    """
    planned = connection.execute(select(func.count()).where(_event.id.in_(event_ids))).scalar_one()
    query = (
        select(func.count())
        .select_from(schema.delivery.join(schema.event, _event.seq == _delivery.seq))
        .where(
            _event.id.in_(event_ids),
            _delivery.implementation.in_(implementations),
            _delivery.state == PENDING,
        )
    )
    if untried_only:
        query = query.where(_delivery.attempts == 0)
    return len(set(event_ids)) - planned + connection.execute(query).scalar_one()


def count_failed(connection: Connection, event_ids: Sequence[str]) -> int:
    """Return how many deliveries of some events have failed for good."""
    return connection.execute(
        select(func.count())
        .select_from(schema.delivery.join(schema.event, _event.seq == _delivery.seq))
        .where(_event.id.in_(event_ids), _delivery.state == FAILED)
    ).scalar_one()


def next_due(connection: Connection, implementations: Sequence[str]) -> datetime | None:
    """Return when the next pending delivery is due."""
    return connection.execute(
        select(func.min(_delivery.due_at, type_=schema.UTCDateTime())).where(
            _delivery.state == PENDING, _delivery.implementation.in_(implementations)
        )
    ).scalar()


def listing(connection: Connection, *, unfinished_only: bool, limit: int) -> list[dict[str, Any]]:
    """Return events with the state of their deliveries, newest first.

    :param unfinished_only: leave out deliveries that are done
    """
    query = (
        select(
            _event.seq,
            _event.id,
            _event.type,
            _event.email,
            _event.time,
            _delivery.implementation,
            _delivery.state,
            _delivery.attempts,
            _delivery.due_at,
            _delivery.error,
        )
        .select_from(schema.event.outerjoin(schema.delivery, _event.seq == _delivery.seq))
        .order_by(_event.seq.desc(), _delivery.implementation)
        .limit(limit)
    )
    if unfinished_only:
        query = query.where(_delivery.state != DONE)
    return [dict(row._mapping) for row in connection.execute(query)]


def retry_failed(
    connection: Connection, now: datetime, event_id: str | None = None, implementation: str | None = None
) -> list[str]:
    """Make failed deliveries pending again, from their first try on.

    :param event_id: only this event's
    :param implementation: only this implementation's
    :returns: the ids of their events, one for each delivery
    """
    query = select(_event.id, _delivery.seq, _delivery.implementation).join(
        schema.event, _event.seq == _delivery.seq
    )
    query = query.where(_delivery.state == FAILED)
    if event_id is not None:
        query = query.where(_event.id == event_id)
    if implementation is not None:
        query = query.where(_delivery.implementation == implementation)
    failed = connection.execute(query).all()
    for _, seq, name in failed:
        connection.execute(
            update(schema.delivery)
            .where(_delivery.seq == seq, _delivery.implementation == name)
            .values(state=PENDING, attempts=0, due_at=now, updated_at=now)
        )
    return [found for found, _, _ in failed]


def counts(connection: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    rows = connection.execute(select(_delivery.state, func.count()).group_by(_delivery.state))
    return dict(rows.all())


def prune(connection: Connection, before: datetime) -> None:
    """Delete events older than a time whose deliveries are all done, a thousand at a time."""
    unfinished = exists().where(_delivery.seq == _event.seq, _delivery.state != DONE)
    old = select(_event.seq).where(_event.time < before, ~unfinished).limit(1000)
    # MariaDB does not delete from a table that a subquery reads, so the numbers are read first.
    numbers = connection.execute(old).scalars().all()
    connection.execute(delete(schema.delivery).where(_delivery.seq.in_(numbers)))
    connection.execute(delete(schema.event).where(_event.seq.in_(numbers)))

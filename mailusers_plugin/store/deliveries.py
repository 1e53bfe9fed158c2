"""Who has been told of which event.

A delivery is one event for one implementation: ``pending``, ``done`` or ``failed``. Who works on a pending one
holds a lease on it; a lease that ran out, or whose process has died, may be taken by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, or_, select, update

from mailusers_plugin.events import EVENT_TYPES, Event
from mailusers_plugin.store import clock, ended, schema

PENDING: Final = ended.PENDING
DONE: Final = "done"
FAILED: Final = ended.FAILED
_CANDIDATES: Final = 8
"""So many times more are looked at than taken, for other processes look at the same."""
_SET_BACK: Final = timedelta(seconds=1)
"""A row that was written later than now by more than this was written before the clock was set back."""

_event = schema.event.c
_delivery = schema.delivery.c


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that is ours to carry out.

    :ivar attempts: how often it was tried before
    :ivar owner: who holds the lease
    :ivar suspect: whether a process has ended while it was tried
    """

    seq: int
    implementation: str
    attempts: int
    owner: str
    event: Event
    suspect: bool = False


def repeatable(connection: Connection) -> None:
    """Say of this transaction that it need not survive a crash of the database, so that it need not wait for the disk.

    What is lost then is done again: an event is taken over, leased or delivered once more. PostgreSQL loses the newest
    transactions only, never one without those behind it (https://www.postgresql.org/docs/15/wal-async-commit.html).
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def claim(
    connection: Connection,
    free: Mapping[str, int],
    owner: str,
    lease_seconds: float,
    *,
    with_suspect: bool = True,
) -> list[Delivery]:
    """Take leases on deliveries that are due, at most one at a time for an address and implementation.

    Rows that another process is taking at this moment are passed over, so that each is taken once and nobody waits.

    :param free: how many more each implementation that this process has can take
    :param owner: this process
    :param lease_seconds: for how long; by the clock of the database, which all processes share
    :param with_suspect: whether one may be among them during which a process has ended before. One at a time, so that
        it is known which one it was should it happen again
    """
    repeatable(connection)
    now = clock.now(connection)
    until = now + timedelta(seconds=lease_seconds)
    claimed: list[Delivery] = []
    for implementation, limit in free.items():
        found = _lock(connection, implementation, _is_due(now, owner) & ~ended.is_suspect, limit)
        claimed += _lease(connection, implementation, found, owner, until)
        if with_suspect and len(found) < limit:
            found = _lock(connection, implementation, _is_due(now, owner) & ended.is_suspect, 1)
            claimed += _lease(connection, implementation, found, owner, until, suspect=True)
            with_suspect = not found
    return claimed


def _lease(
    connection: Connection,
    implementation: str,
    attempts: Mapping[int, int],
    owner: str,
    until: datetime,
    *,
    suspect: bool = False,
) -> list[Delivery]:
    """Store leases on rows that are locked, and read what is to be delivered."""
    if not attempts:
        return []
    connection.execute(
        update(schema.delivery)
        .where(_delivery.seq.in_(list(attempts)), _delivery.implementation == implementation)
        .values(lease_owner=owner, lease_until=until)
    )
    events = select(_event.seq, _event.type, _event.body).where(_event.seq.in_(list(attempts)))
    bodies = {seq: (type_, body) for seq, type_, body in connection.execute(events)}
    leased: list[Delivery] = []
    for seq, tried in attempts.items():
        type_, body = bodies[seq]
        event = EVENT_TYPES[type_].from_dict(json.loads(body))
        leased.append(Delivery(seq, implementation, tried, owner, event, suspect))
    return leased


def _lock(
    connection: Connection, implementation: str, wanted: ColumnElement[bool], limit: int
) -> dict[int, int]:
    """Lock deliveries that are wanted, oldest first; return how often each was tried before.

    In two steps, for MariaDB locks all rows that it looks at, and looks at all to put them in order.
    """
    due = connection.execute(_first(implementation, wanted).limit(limit * _CANDIDATES)).scalars().all()
    if not due:
        return {}
    query = (
        _first(implementation, wanted)
        .with_only_columns(_delivery.seq, _delivery.attempts)
        .where(_delivery.seq.in_(due))
        .order_by(None)
        .order_by(_delivery.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    for dialect in ("mysql", "mariadb"):
        query = query.with_hint(schema.delivery, "FORCE INDEX (PRIMARY)", dialect)
    return dict(connection.execute(query).all())


def _is_due(now: datetime, owner: str) -> ColumnElement[bool]:
    """Select what may be tried now and nobody is at.

    What was never tried may always be, whatever a clock says, and so may what was put off before the clock was set
    back: the time until then is not known any more. What this process has in hand is never due, however far the clock
    is put forward.
    """
    return and_(
        _delivery.state == PENDING,
        or_(_delivery.attempts == 0, _delivery.due_at <= now, _delivery.updated_at > now + _SET_BACK),
        or_(
            _delivery.lease_until.is_(None), and_(_delivery.lease_until < now, _delivery.lease_owner != owner)
        ),
    )


def _first(implementation: str, wanted: ColumnElement[bool]) -> Select[Any]:
    """Select what is wanted for an implementation; an earlier event of the same address goes first.

    Without a join: where rows are locked, those of the events would be too, and keep other implementations waiting.
    """
    earlier = schema.delivery.alias("earlier")
    blocked = exists().where(
        earlier.c.implementation == _delivery.implementation,
        earlier.c.email == _delivery.email,
        earlier.c.state == PENDING,
        earlier.c.seq < _delivery.seq,
    )
    # A newer version of the plugin may have written a type that only it can deliver.
    deliverable = exists().where(_event.seq == _delivery.seq, _event.type.in_(EVENT_TYPES))
    return (
        select(_delivery.seq)
        .where(_delivery.implementation == implementation, wanted, deliverable, ~blocked)
        .order_by(_delivery.due_at, _delivery.seq)
    )


def finish(
    connection: Connection,
    delivery: Delivery,
    *,
    error: str | None = None,
    retry_seconds: float | None = None,
) -> bool:
    """Store the outcome of a try.

    :param error: what went wrong, ``None`` for a success
    :param retry_seconds: when to try again; with an error and without a time the delivery goes on the failed list
    :returns: whether it was still ours. If not, its lease ran out, and who has it now tells the outcome
    """
    repeatable(connection)
    now = clock.now(connection)
    state = DONE if error is None else PENDING if retry_seconds is not None else FAILED
    changed = connection.execute(
        update(schema.delivery)
        .where(
            _delivery.seq == delivery.seq,
            _delivery.implementation == delivery.implementation,
            _delivery.lease_owner == delivery.owner,
        )
        .values(
            state=state,
            attempts=delivery.attempts + 1,
            due_at=now + timedelta(seconds=retry_seconds or 0.0),
            lease_owner=None,
            lease_until=None,
            error=error,
            updated_at=now,
        )
    )
    return changed.rowcount == 1


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


def next_due(connection: Connection, implementations: Sequence[str], owner: str = "") -> float | None:
    """Return in how many seconds the next delivery is due that nobody is at, ``None`` where there is none.

    :param owner: this process
    """
    now = clock.now(connection)
    of_them = _delivery.implementation.in_(implementations)
    if (
        connection.execute(select(_delivery.seq).where(of_them, _is_due(now, owner)).limit(1)).first()
        is not None
    ):
        return 0.0
    later = (of_them, _delivery.state == PENDING, _delivery.lease_until.is_(None))
    query = select(func.min(_delivery.due_at, type_=schema.UTCDateTime())).where(*later)
    soonest = connection.execute(query).scalar()
    return None if soonest is None else max(0.0, (soonest - now).total_seconds())


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
    connection: Connection, event_id: str | None = None, implementation: str | None = None
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
    now = clock.now(connection)
    for _, seq, name in failed:
        connection.execute(
            update(schema.delivery)
            .where(_delivery.seq == seq, _delivery.implementation == name)
            .values(state=PENDING, attempts=0, due_at=now, error=None, updated_at=now)
        )
    return [found for found, _, _ in failed]


def counts(connection: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    rows = connection.execute(select(_delivery.state, func.count()).group_by(_delivery.state))
    return dict(rows.all())


def prune(connection: Connection, before: datetime, limit: int = 1000) -> int:
    """Delete events older than a time whose deliveries are all done.

    :param limit: at most so many
    :returns: how many; those that another process is deleting are left to it
    """
    unfinished = exists().where(_delivery.seq == _event.seq, _delivery.state != DONE)
    old = select(_event.seq).where(_event.time < before, ~unfinished).order_by(_event.seq).limit(limit)
    # MariaDB does not delete from a table that a subquery reads, so the numbers are read first.
    numbers = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(schema.delivery).where(_delivery.seq.in_(numbers)))
    connection.execute(delete(schema.event).where(_event.seq.in_(numbers)))
    return len(numbers)

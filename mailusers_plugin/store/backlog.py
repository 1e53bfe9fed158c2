"""How much is left to be told to the hooks, whatever the number of events."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from mailusers_plugin.events import EVENT_TYPES
from mailusers_plugin.store import clock, schema
from mailusers_plugin.store.deliveries import FAILED, PENDING

_event = schema.event.c
_delivery = schema.delivery.c
_outbox = schema.outbox.c


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one implementation has not been told yet.

    :ivar pending: deliveries that are due or will be
    :ivar failed: those that were tried for the last time
    :ivar oldest_seconds: since the oldest pending event happened, 0 where nothing is pending
    """

    implementation: str
    pending: int
    failed: int
    oldest_seconds: float


def answer(connection: Connection) -> None:
    """Read a row that each of our databases has, to see that it can be read."""
    connection.execute(select(schema.version.c.version_num).limit(1)).scalar_one()


def waiting(connection: Connection) -> list[Waiting]:
    """Return what is left to be told, by implementation; those that have heard everything are there as well."""
    now = clock.now(connection)
    names = connection.execute(select(schema.subscription.c.implementation).distinct()).scalars().all()
    found = []
    for name in sorted(names):
        mine = _delivery.implementation == name
        query = select(func.count(), func.min(_delivery.seq)).where(mine, _delivery.state == PENDING)
        pending, oldest = connection.execute(query).one()
        failed = connection.execute(select(func.count()).where(mine, _delivery.state == FAILED)).scalar_one()
        at = connection.execute(select(_event.time).where(_event.seq == oldest)).scalar() if pending else None
        seconds = max(0.0, (now - at).total_seconds()) if at is not None else 0.0
        found.append(Waiting(name, int(pending), int(failed), seconds))
    return found


def newest_event(connection: Connection) -> str | None:
    """Return the id of the newest event in the outbox, of a type that is known here.

    :param connection: to the accounts
    """
    query = select(_outbox.id).where(_outbox.type.in_(EVENT_TYPES)).order_by(_outbox.seq.desc()).limit(1)
    return connection.execute(query).scalar()


def is_taken_over(connection: Connection, event_id: str) -> bool:
    """Tell whether deliveries were planned for an event."""
    return connection.execute(select(_event.seq).where(_event.id == event_id)).first() is not None


def count_untried(connection: Connection, implementations: Collection[str]) -> int:
    """Return how many deliveries to some implementations were never tried."""
    query = select(func.count()).where(
        _delivery.state == PENDING, _delivery.attempts == 0, _delivery.implementation.in_(implementations)
    )
    return int(connection.execute(query).scalar_one())


def count_unsettled(connection: Connection, implementations: Collection[str]) -> int:
    """Return how many deliveries to some implementations were tried and have not succeeded so far."""
    query = select(func.count()).where(
        _delivery.state.in_((PENDING, FAILED)),
        _delivery.attempts > 0,
        _delivery.implementation.in_(implementations),
    )
    return int(connection.execute(query).scalar_one())

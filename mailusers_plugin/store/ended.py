"""Deliveries that were in hand when a process ended: they are tried again, but not for ever.

An implementation runs in the server's process and can end it (``os._exit``, a fault in a library, all memory taken).
Its event is delivered again by the next start, and ends that one too. So it is counted, with the delivery itself, how
often that has happened in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, select, update

from mailusers_plugin.store import clock, schema

PENDING: Final = "pending"
FAILED: Final = "failed"
ENDED: Final = "The server ended during this call, times in a row: "
"""What stands as the error of a delivery during which a process has ended; a number follows."""

_event = schema.event.c
_delivery = schema.delivery.c
is_suspect: Final = func.coalesce(_delivery.error, "").startswith(ENDED, autoescape=True)
"""Selects those deliveries."""
_MOST_ENDS: Final = 5
"""So often a process may end during one delivery before that is no accident any more."""


def take_from_dead(connection: Connection, dead: Iterable[str], backoff_seconds: float) -> list[str]:
    """Take over what processes had in hand when they ended, and remember that they did.

    A delivery during which a process has ended again and again is put on the failed list: its implementation may be
    what ends them, and a server that ends at each start helps nobody.

    :param backoff_seconds: pause before the third try; it doubles each time
    :returns: a line about each that was put on that list
    """
    return _take(connection, _delivery.lease_owner.in_(list(dead)), backoff_seconds)


def take_from_silent(connection: Connection, owner: str, backoff_seconds: float) -> list[str]:
    """Do the same with leases that have run out: of processes on other machines nothing else is known.

    :param owner: this process, whose own are in hand whatever a clock says
    """
    now = clock.now(connection)
    return _take(
        connection, (_delivery.lease_owner != owner) & (_delivery.lease_until < now), backoff_seconds
    )


def _take(connection: Connection, whose: ColumnElement[bool], backoff_seconds: float) -> list[str]:
    query = (
        select(
            _delivery.seq,
            _delivery.implementation,
            _delivery.attempts,
            _delivery.error,
            _event.id,
            _event.email,
        )
        .join(schema.event, _event.seq == _delivery.seq)
        .where(whose, _delivery.state == PENDING)
        .with_for_update(of=schema.delivery, skip_locked=True)
    )
    now = clock.now(connection)
    failed: list[str] = []
    for row in connection.execute(query).all():
        ends = _ends(row.error) + 1
        given_up = ends >= _MOST_ENDS
        # The first time it is hardly ever to blame: a deployment, a power failure, another delivery.
        pause_seconds = backoff_seconds * 2 ** (ends - 2) if ends > 1 else 0.0
        connection.execute(
            update(schema.delivery)
            .where(_delivery.seq == row.seq, _delivery.implementation == row.implementation)
            .values(
                state=FAILED if given_up else PENDING,
                attempts=row.attempts + 1,
                due_at=now + timedelta(seconds=pause_seconds),
                lease_owner=None,
                lease_until=None,
                error=f"{ENDED}{ends}",
                updated_at=now,
            )
        )
        if given_up:
            failed.append(f"{row.implementation} with event {row.id} of {row.email}")
    return failed


def held(connection: Connection, implementations: Sequence[str]) -> set[str]:
    """Return which implementations are not called any more, because one of their deliveries ended the server too often.

    That lasts until it is tried again by :func:`mailusers_plugin.store.deliveries.retry_failed`, or forgotten.
    """
    query = (
        select(_delivery.implementation)
        .where(_delivery.implementation.in_(implementations), _delivery.state == FAILED, is_suspect)
        .distinct()
    )
    return set(connection.execute(query).scalars())


def _ends(error: str | None) -> int:
    """Return how often in a row processes have ended during a delivery, by the text that is left there."""
    if error is None or not error.startswith(ENDED):
        return 0
    return int(error.removeprefix(ENDED))

"""Which implementation is to be told of which event: taken over from the outbox, each event once.

Times are not compared for that, for clocks differ between machines and are set back. Where the outbox is a file of its
own (SQLite) an event has a number there in the order of the commits, and a subscription holds the number behind which
its events begin. Elsewhere an event with a lower number may be committed after one with a higher, but there the
outbox is emptied in the transaction that plans: who subscribes has all that waits planned first, for the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailusers_plugin.events import EVENT_TYPES
from mailusers_plugin.store import audit_chain, clock, outbox, schema
from mailusers_plugin.store.deliveries import DONE, PENDING, repeatable
from mailusers_plugin.store.outbox import Entry
from mailusers_plugin.trail_models import Entry as Trace

_event = schema.event.c
_delivery = schema.delivery.c
_subscription = schema.subscription.c


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What came of taking over from the outbox.

    :ivar planned: how many events
    :ivar waits: whether some must wait for another process, which has an earlier event of the same address in hand
    """

    planned: int
    waits: bool


def take_over(connection: Connection, limit: int, *, audited: bool = True) -> TakenOver:
    """Move events from the outbox to where deliveries are, in a database that holds both.

    Rows that another process is moving are passed over, so that processes do not wait for each other; but at the end of
    the audit trail, whose entries have one order, they take turns.

    :param limit: at most so many
    :param audited: whether the audit trail is kept
    """
    repeatable(connection)
    entries = outbox.claim(connection, limit)
    if not entries:
        return TakenOver(0, waits=False)
    # Another process may have an earlier event of an address in hand. Ours must get the later number there, so it is
    # left until that is done: for as long as it is not, its row is seen here.
    held_up = outbox.first_of_others(connection, entries)
    ours = [entry for entry in entries if entry.email not in held_up or entry.seq < held_up[entry.email]]
    # The subscriptions are read after the rows were locked: whoever was registered when an event was committed is told.
    plan(connection, ours, ordered=False, audited=audited)
    outbox.remove(connection, [entry.seq for entry in ours])
    return TakenOver(len(ours), waits=len(ours) < len(entries))


def plan(
    connection: Connection, entries: Sequence[Entry], *, ordered: bool = True, audited: bool = True
) -> None:
    """Take over events from the outbox, each once, with a delivery for each implementation that wants it.

    In the same transaction they go into the audit trail: so none is missing there that is not still in the outbox.

    :param entries: oldest first
    :param ordered: whether the numbers in the outbox are in the order of the commits
    :param audited: whether the audit trail is kept
    """
    ids = [entry.id for entry in entries]
    known = set(connection.execute(select(_event.id).where(_event.id.in_(ids))).scalars())
    new = [entry for entry in entries if entry.id not in known]
    if not new:
        return
    connection.execute(
        insert(schema.event),
        [
            {"id": entry.id, "type": entry.type, "email": entry.email, "time": entry.time, "body": entry.body}
            for entry in new
        ],
    )
    found = connection.execute(select(_event.id, _event.seq).where(_event.id.in_([e.id for e in new])))
    numbers: dict[str, int] = dict(found.all())
    subscribed = connection.execute(
        select(_subscription.implementation, _subscription.hook, _subscription.behind)
    ).all()
    now = clock.now(connection)
    rows = [
        {
            "seq": numbers[entry.id],
            "implementation": implementation,
            "email": entry.email,
            "state": PENDING,
            "attempts": 0,
            "due_at": now,
            "updated_at": now,
        }
        for entry in new
        for implementation, wanted, behind in subscribed
        if wanted == EVENT_TYPES[entry.type].hook and (not ordered or entry.seq > behind)
    ]
    if rows:
        connection.execute(insert(schema.delivery), rows)
    if audited:
        # At the end, since it keeps other processes from adding theirs until this is committed.
        audit_chain.append(connection, [Trace.of_event(entry.type, json.loads(entry.body)) for entry in new])


def subscribe(connection: Connection, wanted: Mapping[str, Iterable[str]], position: int = 0) -> None:
    """Remember which implementation wants which hooks, so that every process plans deliveries for it.

    It gets the events from now on, unless it was known before. Several processes may do this at once.

    :param wanted: names of hooks by implementation; what an implementation no longer wants is dropped
    :param position: the newest number in an outbox of its own
    """
    now = clock.now(connection)
    # In one order, so that two processes that start together do not wait for each other.
    for implementation in sorted(wanted):
        hooks = sorted(wanted[implementation])
        of_it = _subscription.implementation == implementation
        known = set(connection.execute(select(_subscription.hook).where(of_it).with_for_update()).scalars())
        for hook in hooks:
            if hook not in known:
                _add(connection, implementation, hook, position, now)
        connection.execute(delete(schema.subscription).where(of_it, _subscription.hook.not_in(hooks)))
        connection.execute(update(schema.subscription).where(of_it).values(seen_at=now))
        # Where the outbox was restored from a backup its numbers begin again further down.
        ahead = and_(of_it, _subscription.behind > position)
        connection.execute(update(schema.subscription).where(ahead).values(behind=position))


def begin_anew(connection: Connection, wanted: Mapping[str, Iterable[str]], position: int) -> None:
    """Go on with files of which one is a backup put in place of the one before, while processes run.

    Who was known by then is told of everything from there on, also of what was changed before this was noticed; what
    was told of already is known by its id. Who is not known in it is told of what comes from now on.

    :param wanted: names of hooks by implementation
    :param position: the newest number in the outbox
    """
    connection.execute(update(schema.subscription).where(_subscription.behind > position).values(behind=0))
    subscribe(connection, wanted, position)


def _add(connection: Connection, implementation: str, hook: str, position: int, now: datetime) -> None:
    savepoint = connection.begin_nested()
    try:
        connection.execute(
            insert(schema.subscription).values(
                implementation=implementation, hook=hook, behind=position, seen_at=now
            )
        )
    except IntegrityError:
        # Another process that started at the same moment was quicker.
        savepoint.rollback()
    else:
        savepoint.commit()


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

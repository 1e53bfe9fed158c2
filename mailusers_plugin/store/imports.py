"""Queries and changes of imports: how far each is, and what became of its lines.

Each function takes a connection to the state database inside a transaction, but for :func:`told`. A change of a job's
state is made only where the state is what the caller takes it for, so that of two processes only one makes it. When a
job's process was there last is written by the clock that all processes share, for others judge by it whether it died.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.import_models import (
    BUSY_STATES,
    OPEN_STATES,
    Fault,
    Job,
    JobState,
    KeptRow,
    Outcome,
)
from mailusers_plugin.models import Actor
from mailusers_plugin.store import clock, schema
from mailusers_plugin.texts import N_

_job = schema.import_job.c
_row = schema.import_row.c
_BATCH: Final = 500


def create(connection: Connection, job: Job) -> None:
    """Store a new job."""
    connection.execute(
        insert(schema.import_job).values(
            id=job.id,
            name=job.name,
            actor=job.actor.name,
            via=job.actor.via,
            created_at=job.created_at,
            owner=job.owner,
            seen_at=clock.now(connection),
            state=job.state.value,
            total=job.total,
            wanted=job.wanted,
            prepared=job.prepared,
            added=job.added,
        )
    )


def find(connection: Connection, job_id: str) -> Job | None:
    """Return a job."""
    row = connection.execute(select(schema.import_job).where(_job.id == job_id)).first()
    return None if row is None else _as_job(row)


def recent(connection: Connection, limit: int) -> list[Job]:
    """Return the newest jobs, the newest first."""
    query = select(schema.import_job).order_by(_job.created_at.desc(), _job.id).limit(limit)
    return [_as_job(row) for row in connection.execute(query)]


def unfinished(connection: Connection) -> list[Job]:
    """Return the jobs that something may still come of."""
    query = select(schema.import_job).where(_job.state.in_(OPEN_STATES))
    return [_as_job(row) for row in connection.execute(query)]


def begin(connection: Connection, job_id: str, kept: Sequence[KeptRow]) -> None:
    """Begin to import a job that is ready, unless another one is being imported.

    :param kept: its lines; those that are to be added are planned
    :raises InvalidInputError: if that cannot be
    """
    # Locks all that could begin at the same time, in one order.
    query = select(schema.import_job).where(_job.state.in_(OPEN_STATES)).order_by(_job.id).with_for_update()
    there = [_as_job(row) for row in connection.execute(query)]
    other = next((job for job in there if job.state in BUSY_STATES), None)
    if other is not None:
        raise InvalidInputError(
            N_("Another file is being imported: %(name)s. Wait until that is done."), name=other.name
        )
    wanted = sum(row.outcome is Outcome.PLANNED for row in kept)
    now = clock.now(connection)
    values = {"state": JobState.RUNNING, "seen_at": now, "wanted": wanted, "prepared": 0, "fault": None}
    if not _change(connection, job_id, (JobState.READY,), **values):
        raise InvalidInputError(N_("Nothing can be imported from this file any more. Upload it again."))
    connection.execute(delete(schema.import_row).where(_row.import_id == job_id))
    connection.execute(insert(schema.import_row), [_row_values(job_id, row) for row in kept])


def say_progress(connection: Connection, job_id: str, prepared: int) -> bool:
    """Store how far a running job is.

    :returns: whether it is still to go on
    """
    now = clock.now(connection)
    return _change(connection, job_id, (JobState.RUNNING,), prepared=prepared, seen_at=now)


def begin_adding(connection: Connection, job_id: str) -> bool:
    """Go past the point up to which a job can be cancelled.

    :returns: whether it was not cancelled before
    """
    now = clock.now(connection)
    return _change(connection, job_id, (JobState.RUNNING,), state=JobState.ADDING, seen_at=now)


def end(
    connection: Connection,
    job_id: str,
    state: JobState,
    now: datetime,
    *,
    of: Collection[JobState] = OPEN_STATES,
    fault: Fault | None = None,
    line: int = 0,
) -> bool:
    """End a job without anything having been imported.

    :param of: only if it is in one of these states
    :param fault: why
    :param line: of the file, where it is one line's fault
    :returns: whether it was
    """
    kept = None if fault is None else _fault_text(fault, line)
    return _change(connection, job_id, of, state=state, ended_at=now, fault=kept)


def reopen(connection: Connection, job_id: str) -> bool:
    """Make a job ready again of which nothing was imported."""
    now = clock.now(connection)
    values = {"state": JobState.READY, "seen_at": now, "ended_at": None, "fault": None, "prepared": 0}
    return _change(connection, job_id, (JobState.FAILED, JobState.READY), **values)


def succeed(
    connection: Connection,
    job_id: str,
    now: datetime,
    outcomes: Mapping[int, Outcome],
    faults: Mapping[int, Fault],
    remark: Fault | None = None,
) -> None:
    """Store that users were added.

    :param outcomes: by line, of those who were
    :param faults: by line, of those who were left out when it came to it
    :param remark: what else is to be said
    """
    restored = [number for number, outcome in outcomes.items() if outcome is Outcome.RESTORED]
    _set_outcome(connection, job_id, None, Outcome.ADDED)
    _set_outcome(connection, job_id, restored, Outcome.RESTORED)
    left_out = [number for number in planned(connection, job_id) if number not in outcomes]
    _set_outcome(connection, job_id, left_out, Outcome.LEFT_OUT)
    if faults:
        connection.execute(
            update(schema.import_row)
            .where(_row.import_id == job_id, _row.number == bindparam("line"))
            .values(fault=bindparam("text")),
            [
                {"line": number, "text": _fault_text(fault.for_keeping(), number)}
                for number, fault in faults.items()
            ],
        )
    values: dict[str, Any] = {
        "state": JobState.DONE,
        "ended_at": now,
        "added": len(outcomes),
        "prepared": _job.wanted,
    }
    values["fault"] = None if remark is None else _fault_text(remark, 0)
    _change(connection, job_id, OPEN_STATES, **values)


def planned(connection: Connection, job_id: str) -> list[int]:
    """Return the lines that were to be added."""
    wanted = (Outcome.PLANNED, Outcome.ADDED, Outcome.RESTORED)
    query = select(_row.number).where(_row.import_id == job_id, _row.outcome.in_(wanted))
    return list(connection.execute(query.order_by(_row.number)).scalars())


def rows(
    connection: Connection, job_id: str, offset: int, limit: int, outcomes: Collection[Outcome] = ()
) -> list[KeptRow]:
    """Return lines in their order.

    :param offset: how many to pass over; of a job's lines there are never very many
    :param outcomes: only of these; of all where there are none
    """
    query = select(schema.import_row).where(_row.import_id == job_id)
    if outcomes:
        query = query.where(_row.outcome.in_(outcomes))
    return [
        _as_kept(row) for row in connection.execute(query.order_by(_row.number).offset(offset).limit(limit))
    ]


def count(connection: Connection, job_id: str) -> dict[Outcome, int]:
    """Return of how many lines what became."""
    query = select(_row.outcome, func.count()).where(_row.import_id == job_id).group_by(_row.outcome)
    return {Outcome(outcome): number for outcome, number in connection.execute(query)}


def told(connection: Connection, event_ids: Iterable[str], table: str) -> dict[str, str]:
    """Return which of some events were written, each with its body.

    :param connection: to the accounts for ``outbox``, to the state for ``event``
    :param table: one of these
    """
    columns = schema.outbox.c if table == "outbox" else schema.event.c
    found: dict[str, str] = {}
    wanted = list(event_ids)
    for start in range(0, len(wanted), _BATCH):
        query = select(columns.id, columns.body).where(columns.id.in_(wanted[start : start + _BATCH]))
        found.update((event_id, body) for event_id, body in connection.execute(query))
    return found


def prune(connection: Connection, before: datetime) -> list[str]:
    """Delete older jobs that nothing more can come of.

    :returns: which
    """
    query = select(_job.id).where(_job.created_at < before, _job.state.not_in(OPEN_STATES))
    old = list(connection.execute(query).scalars())
    for start in range(0, len(old), _BATCH):
        some = old[start : start + _BATCH]
        connection.execute(delete(schema.import_row).where(_row.import_id.in_(some)))
        connection.execute(delete(schema.import_job).where(_job.id.in_(some)))
    return old


def _change(connection: Connection, job_id: str, of: Collection[JobState], **values: Any) -> bool:
    changed = connection.execute(
        update(schema.import_job).where(_job.id == job_id, _job.state.in_(of)).values(**values)
    )
    return changed.rowcount == 1


def _set_outcome(
    connection: Connection, job_id: str, numbers: Sequence[int] | None, outcome: Outcome
) -> None:
    change = update(schema.import_row).where(_row.import_id == job_id).values(outcome=outcome)
    if numbers is None:
        connection.execute(change.where(_row.outcome == Outcome.PLANNED))
        return
    for start in range(0, len(numbers), _BATCH):
        connection.execute(change.where(_row.number.in_(numbers[start : start + _BATCH])))


def _row_values(job_id: str, row: KeptRow) -> dict[str, Any]:
    return {
        "import_id": job_id,
        "number": row.number,
        "email": row.email,
        "made_password": int(row.made_password),
        "outcome": row.outcome.value,
        "fault": None if row.fault is None else _fault_text(row.fault.for_keeping(), row.number),
    }


def _fault_text(fault: Fault, line: int) -> str:
    return json.dumps([fault.name, fault.template, dict(fault.values), line])


def _as_fault(text: str | None) -> tuple[Fault | None, int]:
    if text is None:
        return None, 0
    name, template, values, line = json.loads(text)
    return Fault(name, template, values), line


def _as_kept(row: Row[Any]) -> KeptRow:
    fault, _ = _as_fault(row.fault)
    return KeptRow(row.number, row.email, bool(row.made_password), Outcome(row.outcome), fault)


def _as_job(row: Row[Any]) -> Job:
    fault, line = _as_fault(row.fault)
    return Job(
        row.id,
        row.name,
        Actor(row.actor, row.via),
        row.created_at,
        row.owner,
        row.seen_at,
        JobState(row.state),
        row.total,
        row.wanted,
        row.prepared,
        row.added,
        row.ended_at,
        fault,
        line,
    )

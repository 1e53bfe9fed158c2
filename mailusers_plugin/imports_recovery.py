"""Finds out what became of imports whose process died, or could not write down what it had done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from mailusers_plugin import owners
from mailusers_plugin.import_models import Fault, Job, JobState, Outcome
from mailusers_plugin.service_import import event_id
from mailusers_plugin.store import imports
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_

_STALE: Final = {
    JobState.READY: timedelta(days=1),
    JobState.RUNNING: timedelta(minutes=1),
    JobState.ADDING: timedelta(minutes=10),
}
"""When a process of another machine that has said nothing counts as dead."""
_SURVIVED: Final = N_(
    "The server ended just after the users were added. The passwords that it had made up are lost: set new ones for "
    "those whose lines had none."
)


def is_orphaned(job: Job, now: datetime) -> bool:
    """Tell whether the process that an unfinished import belongs to has ended."""
    return owners.is_dead(job.owner) or now - job.seen_at > _STALE[job.state]


async def added_users(database: Database, state: Database, job_id: str) -> dict[int, Outcome]:
    """Return which lines' users were added, as their events say; they are written in the same transaction.

    :param database: the accounts
    """
    lines = await state.read(imports.planned, job_id)
    told = await told_users(database, state, {event_id(job_id, line): line for line in lines})
    return {line: outcome for line, (_, outcome) in told.items()}


async def told_users(
    database: Database, state: Database, by_event: Mapping[str, int]
) -> dict[int, tuple[str, Outcome]]:
    """Return of which lines an event tells that their users were added: the address, and what became of the line.

    :param database: the accounts
    :param by_event: lines by the ids that their events have
    """
    told = await database.read(imports.told, by_event, "outbox")
    # Events leave the outbox once they are taken over.
    told |= await state.read(imports.told, by_event, "event")
    found = {}
    for key, body in told.items():
        event = json.loads(body)
        outcome = Outcome.RESTORED if event["restored"] else Outcome.ADDED
        found[by_event[key]] = (str(event["email"]), outcome)
    return found


async def settle(database: Database, state: Database, job: Job, *, lost: bool = True) -> Job:
    """Write down what became of an import that nobody works at any more.

    :param database: the accounts
    :param lost: whether its result is
    :returns: the import as it is now
    """
    now = datetime.now(UTC)
    if job.state is JobState.ADDING:
        outcomes = await added_users(database, state, job.id)
        if outcomes:
            remark = Fault("", _SURVIVED) if lost else None
            await state.write(imports.succeed, job.id, now, outcomes, {}, remark)
            return await state.read(imports.find, job.id) or job
    if await state.write(imports.end, job.id, JobState.INTERRUPTED, now, of=[job.state]):
        return replace(job, state=JobState.INTERRUPTED, ended_at=now)
    # It went on after it was read.
    return await state.read(imports.find, job.id) or job

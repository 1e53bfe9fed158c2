"""Adding many users at once, and what is kept of that, on every database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailusers_plugin import owners
from mailusers_plugin.errors import InvalidInputError, UserExistsError
from mailusers_plugin.import_models import Candidate, Fault, Job, JobState, KeptRow, Outcome
from mailusers_plugin.imports_recovery import is_orphaned, settle
from mailusers_plugin.models import ADMIN, Actor
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.service_import import event_id
from mailusers_plugin.store import accounts, imports, outbox
from tests.support import BOSS, CONSOLE, PASSWORD, USER

ACTOR = Actor(BOSS, "cookie")
JOB = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def candidate(number: int, email: str = "", *, restore: bool = False) -> Candidate:
    """Return somebody who is to be added."""
    return Candidate(
        number, email or f"user{number}@example.org", "hash", (), "5G", restore, event_id(JOB, number)
    )


def job(state: JobState = JobState.READY, job_id: str = JOB) -> Job:
    """Return an import."""
    return Job(job_id, "users.csv", ACTOR, NOW, owners.new_owner(), NOW, state, 3)


def planned(*numbers: int) -> list[KeptRow]:
    """Return lines that are to be added."""
    return [KeptRow(number, f"user{number}@example.org", True, Outcome.PLANNED) for number in numbers]


@pytest.fixture
def bulk(runtime: Runtime) -> Any:
    """What adds many."""
    return runtime.imports._bulk


async def test_all_with_their_events(runtime: Runtime, bulk: Any) -> None:
    """Two thousand users are added with an event each, told once and in order."""
    await runtime.dispatcher.start()
    many = [candidate(number) for number in range(1, 2001)]
    added = await bulk.add_all(ACTOR, many, leave_out=False)
    assert added.faults == {}
    assert set(added.outcomes.values()) == {Outcome.ADDED}
    assert len(await runtime.service.addresses()) == len(added.outcomes) == 2000
    entries = await runtime.database.read(outbox.after, 0, 3000)
    assert [entry.id for entry in entries] == [one.event_id for one in many]
    user = await runtime.listing.user("user7@example.org")
    assert user is not None
    assert user.quota == "5G"
    await bulk.show([one.email for one in many])
    assert len(await runtime.directory.entries([one.email for one in many])) == 2000
    await runtime.dispatcher.stop()


async def test_all_or_nothing(runtime: Runtime, bulk: Any) -> None:
    """Where one cannot be added, nobody is, and no event is written; or that one is left out."""
    await runtime.service.add(CONSOLE, USER, PASSWORD, (ADMIN,))
    many = [candidate(1), candidate(2, USER), candidate(3, "postmaster@example.org")]
    added = await bulk.add_all(ACTOR, many, leave_out=False)
    assert added.outcomes == {}
    assert [fault.message[:20] for fault in added.faults.values()] == [
        "User already exists.",
        "You may not make a u",
    ]
    assert await runtime.service.addresses() == [USER]
    assert len(await runtime.database.read(outbox.after, 0, 10)) == 1
    added = await bulk.add_all(ACTOR, many, leave_out=True)
    assert added.outcomes == {1: Outcome.ADDED}
    assert await runtime.service.addresses() == [USER, "user1@example.org"]


async def test_restoring_needs_consent(runtime: Runtime, bulk: Any) -> None:
    """An archived user comes back by consent only, and the note of the archive goes with it."""
    await runtime.service.add(CONSOLE, BOSS, PASSWORD, (ADMIN,))
    for email in (USER, "other@example.com"):
        await runtime.service.add(CONSOLE, email, PASSWORD)
        await runtime.service.archive(CONSOLE, email)
    many = [candidate(1, USER, restore=True), candidate(2, "other@example.com"), candidate(3, restore=True)]
    added = await bulk.add_all(ACTOR, many, leave_out=True)
    assert added.outcomes == {1: Outcome.RESTORED, 3: Outcome.ADDED}
    assert list(added.faults) == [2]
    records = await runtime.database.read(accounts.archive_records)
    assert [record.email for record in records] == ["other@example.com"]
    told = {entry.id: entry.body for entry in await runtime.database.read(outbox.after, 0, 100)}
    assert '"restored": true' in told[event_id(JOB, 1)]
    # It was not archived any more when it came to it.
    assert '"restored": false' in told[event_id(JOB, 3)]


async def test_two_at_once(runtime: Runtime, bulk: Any) -> None:
    """Of two imports with the same addresses at the same time each address is added by one, and nobody fails."""
    results = await asyncio.gather(
        *(
            bulk.add_all(
                ACTOR, [candidate(offset + n, f"u{n}@example.com") for n in range(300)], leave_out=True
            )
            for offset in (1000, 2000)
        )
    )
    assert sum(len(added.outcomes) for added in results) == 300
    assert sum(len(added.faults) for added in results) == 300
    assert len(await runtime.service.addresses()) == 300


async def test_somebody_is_quicker_in_the_same_moment(
    runtime: Runtime, bulk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database refuses an address that was free a moment ago, it is looked at again from the start."""
    await runtime.service.add(CONSOLE, USER, PASSWORD, (ADMIN,))
    look_up = accounts.in_use
    looks = []

    def too_early(connection: Any, emails: Any) -> set[str]:
        looks.append(1)
        return set() if len(looks) == 1 else look_up(connection, emails)

    monkeypatch.setattr(accounts, "in_use", too_early)
    added = await bulk.add_all(ACTOR, [candidate(1), candidate(2, USER)], leave_out=True)
    assert len(looks) == 2
    assert added.outcomes == {1: Outcome.ADDED}
    assert added.faults[2].message == UserExistsError().message


async def test_what_is_kept(runtime: Runtime) -> None:
    """A job goes from state to state only by the steps that there are, and its lines say what became of them."""
    state = runtime.state
    await state.write(imports.create, job())
    rows = [
        *planned(1, 2, 3),
        KeptRow(4, "", False, Outcome.LEFT_OUT, Fault("email", "No %(x)s", {"x": "secret"})),
    ]
    await state.write(imports.begin, JOB, rows)
    with pytest.raises(InvalidInputError, match=r"Another file is being imported: users\.csv"):
        await state.write(imports.begin, JOB, rows)
    assert await state.write(imports.say_progress, JOB, 2)
    found = await state.read(imports.find, JOB)
    assert found is not None
    assert (found.state, found.wanted, found.prepared) == (JobState.RUNNING, 3, 2)
    assert not await state.write(imports.reopen, JOB)
    assert await state.write(imports.begin_adding, JOB)
    assert not await state.write(imports.begin_adding, JOB)
    running = (JobState.READY, JobState.RUNNING)
    assert not await state.write(imports.end, JOB, JobState.CANCELLED, NOW, of=running)
    outcomes = {1: Outcome.ADDED, 2: Outcome.RESTORED}
    await state.write(imports.succeed, JOB, NOW, outcomes, {3: Fault("", "Gone.")})
    assert not await state.write(imports.end, JOB, JobState.INTERRUPTED, NOW)
    kept = await state.read(imports.rows, JOB, 0, 10)
    assert [(row.number, row.email, row.outcome, row.fault) for row in kept] == [
        (1, "user1@example.org", Outcome.ADDED, None),
        (2, "user2@example.org", Outcome.RESTORED, None),
        (3, "user3@example.org", Outcome.LEFT_OUT, Fault("", "Gone.")),
        (4, "", Outcome.LEFT_OUT, Fault("email", "No %(x)s", {"x": "…"})),
    ]
    assert [row.number for row in await state.read(imports.rows, JOB, 1, 1, [Outcome.LEFT_OUT])] == [4]
    found = await state.read(imports.find, JOB)
    assert found is not None
    assert (found.state, found.added, found.ended_at) == (JobState.DONE, 2, NOW)


@pytest.mark.parametrize("was_added", [True, False])
@pytest.mark.parametrize("taken_over", [True, False])
async def test_died_while_adding(runtime: Runtime, bulk: Any, was_added: bool, taken_over: bool) -> None:
    """Whether a process that died while it added had added anybody is told by the events, wherever they are by now."""
    state = runtime.state
    await state.write(imports.create, job())
    await state.write(imports.begin, JOB, planned(1, 2))
    await state.write(imports.begin_adding, JOB)
    if was_added:
        await bulk.add_all(ACTOR, [candidate(1)], leave_out=True)
    if taken_over:
        await runtime.dispatcher._plan()
        if state is not runtime.database:
            await runtime.database.write(outbox.prune, 10, datetime.now(UTC) + timedelta(hours=1))
    found = await state.read(imports.find, JOB)
    assert found is not None
    settled = await settle(runtime.database, state, found)
    if not was_added:
        assert settled.state is JobState.INTERRUPTED
        return
    assert (settled.state, settled.added) == (JobState.DONE, 1)
    assert settled.fault is not None
    assert "passwords that it had made up are lost" in settled.fault.message
    assert await state.read(imports.count, JOB) == {Outcome.ADDED: 1, Outcome.LEFT_OUT: 1}


async def test_prune(runtime: Runtime) -> None:
    """Old jobs go with their lines, but none that something may still come of."""
    state = runtime.state
    await state.write(imports.create, job())
    await state.write(imports.begin, JOB, planned(1))
    later = NOW + timedelta(days=8)
    assert await state.write(imports.prune, later) == []
    await state.write(imports.end, JOB, JobState.CANCELLED, NOW)
    assert await state.write(imports.prune, NOW) == []
    assert await state.write(imports.prune, later) == [JOB]
    assert await state.read(imports.rows, JOB, 0, 10) == []


def test_a_process_of_another_machine() -> None:
    """Of another machine's process it is known only how long it has said nothing."""
    away = Job(JOB, "x", ACTOR, NOW, "elsewhere:1:x", NOW, JobState.RUNNING, 1)
    assert not is_orphaned(away, NOW + timedelta(seconds=50))
    assert is_orphaned(away, NOW + timedelta(seconds=70))

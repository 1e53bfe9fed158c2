"""How an import runs: decided, hashed, added all at once, cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import Any

import pytest

from mailusers_plugin.errors import InvalidInputError, RestoreConsentError, UnavailableError
from mailusers_plugin.import_models import Candidate, Fault, JobState, Outcome, Row
from mailusers_plugin.imports_memory import Held
from mailusers_plugin.models import ADMIN
from mailusers_plugin.service_import import event_id
from mailusers_plugin.store import imports as imports_store
from tests.import_support import ACTOR, OTHER, Gate, asked, ended, faults, opened, run, seen, upload
from tests.recorders import Recorder
from tests.support import BOSS, PASSWORD, Box, Boxes


@pytest.fixture
def gate() -> Gate:
    """An open gate."""
    made = Gate()
    made.open.set()
    return made


async def test_rules_and_words(boxes: Boxes, gate: Gate) -> None:
    """Every rule of the form is a rule here, in the same words, all faults of a line at once."""
    box = await opened(boxes, gate)
    box.make_mailbox("gone@example.com")
    job_id = await upload(
        box.runtime.imports,
        f"new@example.com,{PASSWORD},1g,admin\n{BOSS}\nnew@example.com\nAnna@example.com\n,\n"
        "postmaster@example.com,short,1 G,boss|admin\n"
        "gone@example.com,,0M\n"
        "not an address\n",
    )
    view = await seen(box.runtime.imports, job_id)
    lowercase = (
        "User account email addresses may only use the lowercase ASCII letters a-z, the digits 0-9, "
        "underscore (_), hyphen (-), and period (.)."
    )
    reserved = (
        "You may not make a user account for that address because it is frequently used for domain control "
        "validation. Use an alias instead if necessary."
    )
    assert faults(view) == [
        (1, []),
        (2, ["User already exists."]),
        (3, ["This address stands in line 1 already."]),
        (4, [lowercase]),
        (
            6,
            [
                reserved,
                "Passwords must be at least eight characters.",
                "Quotas cannot contain spaces, commas, or decimal points.",
                "That's not a valid privilege (boss).",
            ],
        ),
        (7, []),
        (8, ["Invalid email address."]),
    ]
    assert view.held is not None
    rows = {row.number: row for row in view.held.rows}
    assert (rows[1].quota, rows[1].privileges, rows[1].archived) == ("1G", (ADMIN,), False)
    assert (rows[7].quota, rows[7].archived) == ("0", True)


async def test_each_user_has_its_event(boxes: Boxes, gate: Gate) -> None:
    """Hooks are asked before and told afterwards of each user, as if each had been added by itself."""
    recorder = Recorder()
    box = await boxes.open(hooks=[gate, recorder])
    await box.runtime.start()
    box.make_mailbox("gone@example.com")
    imports = box.runtime.imports
    job_id = await upload(imports, "gone@example.com,,2G\nanna@example.com,,,admin\n")
    assert await run(imports, job_id, restore=True) is JobState.DONE
    await box.delivered()
    assert sorted((request.email, request.quota) for request in gate.asked) == [
        ("anna@example.com", "0"),
        ("gone@example.com", "2G"),
    ]
    told = {event.email: event.as_dict() for event in recorder.events}
    assert {(e["type"], e["actor"], e["via"]) for e in (await box.events())} == {
        ("UserAdded", BOSS, "cookie")
    }
    assert (told["gone@example.com"]["restored"], told["gone@example.com"]["quota_bytes"]) == (True, 2**31)
    assert (told["anna@example.com"]["restored"], told["anna@example.com"]["privileges"]) == (False, (ADMIN,))
    assert set(await box.runtime.directory.entries(told)) == set(told)


async def test_faults_must_be_left_out_explicitly(boxes: Boxes, gate: Gate) -> None:
    """With errors nothing begins until somebody says that those lines are left out."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    job_id = await upload(imports, "anna@example.com\nnonsense\n")
    with pytest.raises(InvalidInputError, match="Mend the file, or leave them out"):
        await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    assert await run(imports, job_id, leave_out=True) is JobState.DONE
    result = await imports.result(ACTOR, job_id)
    assert result is not None
    assert [(line.number, line.outcome, bool(line.password)) for line in result] == [
        (1, Outcome.ADDED, True),
        (2, Outcome.LEFT_OUT, False),
    ]
    assert await imports.counts(job_id) == {Outcome.ADDED: 1, Outcome.LEFT_OUT: 1}


async def test_consent_to_restore(boxes: Boxes, gate: Gate) -> None:
    """An archived mailbox goes to the new user only if somebody says so; else its line is left out."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    box.make_mailbox("gone@example.com")
    text = "anna@example.com\ngone@example.com\n"
    job_id = await upload(imports, text)
    with pytest.raises(RestoreConsentError):
        await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    assert await run(imports, job_id, restore=False) is JobState.DONE
    assert await box.find("gone@example.com") is None
    result = await imports.result(ACTOR, job_id)
    assert result is not None
    assert [fault.message for line in result for fault in line.faults] == [
        "The address has an archived mailbox, which the new user was not to have."
    ]
    job_id = await upload(imports, "gone@example.com\n")
    assert await run(imports, job_id, restore=True) is JobState.DONE
    assert await imports.counts(job_id) == {Outcome.RESTORED: 1}


@pytest.mark.parametrize("leave_out", [True, False])
async def test_somebody_was_quicker(boxes: Boxes, gate: Gate, leave_out: bool) -> None:
    """A user who came into being meanwhile is left out and named, or nothing is imported and the line is named."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    gate.open.clear()
    job_id = await upload(imports, "anna@example.com\nbert@example.com\n")
    await imports.run(ACTOR, job_id, leave_out=leave_out, restore=None)
    await asked(gate)
    await box.add("bert@example.com", password="quicker than the file")
    gate.open.set()
    view = await ended(imports, job_id)
    bert = await box.find("bert@example.com")
    assert bert is not None
    assert (await box.runtime.passwords.verify("quicker than the file", bert.password_hash)).matches
    if leave_out:
        assert await imports.counts(job_id) == {Outcome.ADDED: 1, Outcome.LEFT_OUT: 1}
        left_out = (await imports.rows(job_id, 0, 10, [Outcome.LEFT_OUT]))[0]
        assert left_out.fault is not None
        assert (left_out.email, left_out.fault.message) == ("bert@example.com", "User already exists.")
        return
    assert view.job.state is JobState.FAILED
    assert view.job.fault is not None
    assert (view.job.fault_line, view.job.fault.message) == (2, "User already exists.")
    assert await box.emails() == ["bert@example.com", BOSS]


@pytest.mark.parametrize("leave_out", [True, False])
async def test_a_module_refuses_one(boxes: Boxes, gate: Gate, leave_out: bool) -> None:
    """A user whom a module refuses is left out, or stops everything, in the module's words."""
    box = await opened(boxes, gate)
    gate.refused = "bert@example.com"
    imports = box.runtime.imports
    job_id = await upload(imports, "anna@example.com\nbert@example.com\n")
    state = await run(imports, job_id, leave_out=leave_out)
    assert state is (JobState.DONE if leave_out else JobState.FAILED)
    assert await box.emails() == ["anna@example.com"] * leave_out + [BOSS]
    if leave_out:
        result = await imports.result(ACTOR, job_id)
        assert result is not None
        assert [fault.message for fault in result[1].faults] == ["No room for this one."]
        return
    view = await seen(imports, job_id)
    assert view.job.fault is not None
    assert (view.job.fault_line, view.job.fault.message) == (2, "No room for this one.")
    # The file is still there: once the module lets him in, it is checked again and imported.
    gate.refused = ""
    await imports.check_again(ACTOR, job_id)
    assert await run(imports, job_id) is JobState.DONE


async def test_cancel(boxes: Boxes, gate: Gate) -> None:
    """Cancelled before anything was added, an import has left no trace but that it was cancelled."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    gate.open.clear()
    job_id = await upload(imports, f"anna@example.com,{PASSWORD}\n")
    await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    await asked(gate)
    await imports.cancel(job_id)
    view = await seen(imports, job_id)
    assert (view.job.state, view.held) == (JobState.CANCELLED, None)
    gate.open.set()
    assert await box.emails() == [BOSS]
    assert [event["email"] for event in await box.events()] == [BOSS]
    with pytest.raises(InvalidInputError, match="not in this server's memory"):
        await imports.run(ACTOR, job_id, leave_out=False, restore=None)


async def test_too_late_to_cancel(boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """While users are being added nothing cancels it, neither a button nor the server's end."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    adding, may_add = asyncio.Event(), asyncio.Event()
    add_all = imports._bulk.add_all

    async def slowly(*args: object, **kwargs: object) -> object:
        adding.set()
        await may_add.wait()
        return await add_all(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(imports._bulk, "add_all", slowly)
    job_id = await upload(imports, "anna@example.com\n")
    await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    await adding.wait()
    with pytest.raises(InvalidInputError, match="too late"):
        await imports.cancel(job_id)
    assert (await seen(imports, job_id)).job.state is JobState.ADDING
    stopping = asyncio.ensure_future(box.handle.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    may_add.set()
    await stopping
    again = await opened(boxes, gate, box.storage)
    assert await again.emails() == ["anna@example.com", BOSS]
    assert (await seen(again.runtime.imports, job_id)).job.state is JobState.DONE


async def test_one_at_a_time(boxes: Boxes, gate: Gate) -> None:
    """A second file is refused while one is imported, naming it; sending the same form twice is sending it once."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    gate.open.clear()
    first = await upload(imports, "anna@example.com\n")
    second = await upload(imports, "bert@example.com\n", OTHER)
    await imports.run(ACTOR, first, leave_out=False, restore=None)
    await imports.run(ACTOR, first, leave_out=False, restore=None)
    with pytest.raises(InvalidInputError, match=r"Another file is being imported: users\.csv"):
        await imports.run(OTHER, second, leave_out=False, restore=None)
    gate.open.set()
    assert (await ended(imports, first)).job.state is JobState.DONE
    await imports.run(OTHER, second, leave_out=False, restore=None)
    assert (await ended(imports, second)).job.state is JobState.DONE
    assert len(gate.asked) == 2


@pytest.mark.sqlite_only(reason="about readers of the file")
async def test_many_do_not_keep_postfix_out(box: Box) -> None:
    """While 5 000 users are added, a program that reads the accounts' file is kept out for a moment at the most."""
    many = [
        Candidate(number, f"user{number}@example.com", "hash", (), "0", False, event_id("0" * 32, number))
        for number in range(5000)
    ]
    adding = asyncio.ensure_future(box.runtime.imports._bulk.add_all(ACTOR, many, leave_out=False))

    def is_kept_out() -> bool:
        # As Postfix looks somebody up: without any patience.
        with contextlib.closing(sqlite3.connect(box.database, timeout=0)) as connection:
            try:
                connection.execute("SELECT 1 FROM users WHERE email = 'x'").fetchall()
            except sqlite3.OperationalError:
                return True
        return False

    def longest_wait() -> float:
        """Look all the time; return the longest time without a look that went well."""
        well, longest = time.monotonic(), 0.0
        while not adding.done():
            if not is_kept_out():
                longest = max(longest, time.monotonic() - well)
                well = time.monotonic()
        return max(longest, time.monotonic() - well)

    began = time.monotonic()
    longest = await asyncio.to_thread(longest_wait)
    await adding
    assert len(await box.emails()) == 5000
    # Most of the time goes into preparing the transaction; only its end keeps others out.
    assert longest < max(1.0, (time.monotonic() - began) / 2)


async def test_made_passwords_outlast_a_failed_note(
    boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing down that it is done fails at first, the passwords that were made up are still told."""
    box = await opened(boxes, gate)
    real, tries = imports_store.succeed, 0

    def fails_once(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UnavailableError("The disk is full.")
        real(*arguments)

    monkeypatch.setattr(imports_store, "succeed", fails_once)
    job_id = await upload(box.runtime.imports, "anna@example.com\nbert@example.com\n")
    assert await run(box.runtime.imports, job_id) is JobState.DONE
    result = await box.runtime.imports.result(ACTOR, job_id)
    assert result is not None
    assert [line.email for line in result if line.password] == ["anna@example.com", "bert@example.com"]


async def test_another_file_beside_a_decision(boxes: Boxes, gate: Gate) -> None:
    """Whoever uploads another file while one's own import begins takes nothing from that import."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    job_id = await upload(imports, "anna@example.com\n")
    await asyncio.gather(
        imports.run(ACTOR, job_id, leave_out=False, restore=None), upload(imports, "carl@example.com\n")
    )
    view = await ended(imports, job_id)
    assert view.job.state is JobState.DONE
    assert view.held is not None
    assert view.held.result is not None
    assert await box.find("carl@example.com") is None


async def test_a_look_at_the_moment_of_beginning(boxes: Boxes, gate: Gate) -> None:
    """An import that is looked at just when it begins is not taken for one whose process died."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    for number in range(5):
        job_id = await upload(imports, f"anna{number}@example.com\n")
        beginning = asyncio.create_task(imports.run(ACTOR, job_id, leave_out=False, restore=None))
        while not beginning.done():
            await seen(imports, job_id)
        await beginning
        assert (await ended(imports, job_id)).job.state is JobState.DONE


async def test_result_of_many_lines_that_were_left_out() -> None:
    """What became of each line is found once, however many were left out."""
    lines = range(1, 20_001)
    rows = [Row(line, f"u{line}@example.com", "", "0", (), "", True, ()) for line in lines]
    held = Held("0" * 32, ACTOR, None, rows)
    held.begin(1, {line: Fault("", "not restored") for line in lines})
    held.finish({1: Outcome.ADDED}, {2: Fault("", "refused")})
    assert held.result is not None
    assert [len(line.faults) for line in held.result] == [0] + [1] * 19_999
    assert held.result[1].faults[0].template == "refused"

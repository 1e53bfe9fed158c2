"""What is only kept in memory, for whom and how long; and what is left of an import afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin.errors import InvalidInputError, UnavailableError
from mailusers_plugin.import_models import JobState
from mailusers_plugin.imports import Imports
from mailusers_plugin.imports_memory import MAX_HELD
from mailusers_plugin.models import Actor
from mailusers_plugin.store import schema
from tests.import_support import ACTOR, OTHER, Gate, asked, ended, opened, run, seen, upload
from tests.support import BOSS, PASSWORD, Box, Boxes, stored_time

SECRET = "the-secret-of-anna"


@pytest.fixture
def gate() -> Gate:
    """An open gate."""
    made = Gate()
    made.open.set()
    return made


def on_disk(box: Box, text: str) -> list[str]:
    """Return the files of a box in which a text stands, and the tables where these are on a server."""
    files = [path for path in box.storage.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
    tables = []
    if box.runtime.settings.database:
        tables = [*schema.box.tables, *schema.ours.tables, *schema.state.tables]
    return [
        *(path.name for path in files),
        *(table for table in tables if text in str(box.sql(f"SELECT * FROM {table}"))),  # noqa: S608
    ]


async def test_the_server_ends(boxes: Boxes, gate: Gate) -> None:
    """What was only being hashed, or only uploaded, is interrupted by the server's end, and nobody was added."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    gate.open.clear()
    running = await upload(imports, "anna@example.com\n")
    await imports.run(ACTOR, running, leave_out=False, restore=None)
    await asked(gate)
    ready = await upload(imports, "bert@example.com\n", OTHER)
    await box.handle.stop()
    again = await opened(boxes, gate, box.storage)
    for job_id in (running, ready):
        assert (await seen(again.runtime.imports, job_id)).job.state is JobState.INTERRUPTED
    assert await again.emails() == [BOSS]


async def test_passwords_stay_in_memory(boxes: Boxes, gate: Gate) -> None:
    """No password of a file, no made one and no cell that may be one in the wrong column is ever on the disk."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    text = (
        f"anna@example.com,{SECRET}\nbert@example.com\n{SECRET},x@example.com,{SECRET},{SECRET}\n"
        f"chris@example.com,{PASSWORD},{SECRET}-2G\ndora@example.com,,,{SECRET}\n"
    )
    gate.open.clear()
    job_id = await upload(imports, text)
    await imports.run(ACTOR, job_id, leave_out=True, restore=None)
    await asked(gate)
    assert on_disk(box, SECRET) == []
    gate.open.set()
    await ended(imports, job_id)
    result = await imports.result(ACTOR, job_id)
    assert result is not None
    await box.delivered()
    made = next(line.password for line in result if line.password)
    assert on_disk(box, SECRET) == on_disk(box, made) == []
    assert on_disk(box, "bert@example.com") != []
    held = (await seen(imports, job_id)).held
    assert held is not None
    assert (held.parsed, held.rows, held.made) == (None, (), {})


async def test_result_belongs_to_one(boxes: Boxes, gate: Gate) -> None:
    """Nobody but who uploaded the file imports it or gets the result; others may cancel it."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    job_id = await upload(imports, "anna@example.com\n")
    for forbidden in (
        imports.check_again(OTHER, job_id),
        imports.run(OTHER, job_id, leave_out=True, restore=True),
    ):
        with pytest.raises(InvalidInputError, match="Somebody else"):
            await forbidden
    assert await run(imports, job_id) is JobState.DONE
    for other in (OTHER, Actor(BOSS, "basic"), Actor(None, "cookie")):
        with pytest.raises(InvalidInputError, match="Somebody else"):
            await imports.result(other, job_id)
    await imports.cancel(job_id)
    assert await imports.result(ACTOR, job_id) is not None


async def test_forgotten_after_its_time(boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that nobody looks at and a result are forgotten when their time is over, whether anybody asks or not."""
    box = await opened(boxes, gate)
    imports = Imports(
        box.runtime.database, box.runtime.state, box.runtime.imports._bulk, max_rows=10, keep_seconds=3
    )
    await imports.start()
    ready = await upload(imports, "anna@example.com\n")
    done = await upload(imports, "bert@example.com\n", OTHER)
    await imports.run(OTHER, done, leave_out=False, restore=None)
    await ended(imports, done)
    memory = imports._memory._held
    # It lasts as long as somebody looks at it; a result does not.
    for _ in range(20):
        await asyncio.sleep(0.2)
        assert (await seen(imports, ready)).held is not None
    assert list(memory) == [ready]
    async with asyncio.timeout(10):
        while memory:
            await asyncio.sleep(0.02)
    assert await imports.result(OTHER, done) is None
    assert (await seen(imports, ready)).job.state is JobState.INTERRUPTED
    await imports.stop()


async def test_not_too_many_at_once(boxes: Boxes, gate: Gate) -> None:
    """A new file of the same person takes the place of his last one; of many persons only some are taken."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    first = await upload(imports, "anna@example.com\n")
    await upload(imports, "anna@example.com\n")
    assert (await seen(imports, first)).job.state is JobState.CANCELLED
    for number in range(MAX_HELD - 1):
        await upload(imports, "anna@example.com\n", Actor(f"admin{number}@example.com", "cookie"))
    with pytest.raises(UnavailableError, match="Too many files"):
        await upload(imports, "anna@example.com\n", OTHER)
    await upload(imports, "anna@example.com\n")


async def test_old_ones_go(boxes: Boxes, gate: Gate) -> None:
    """After a week nothing is left of an import."""
    box = await opened(boxes, gate)
    job_id = await upload(box.runtime.imports, "anna@example.com\n")
    assert await run(box.runtime.imports, job_id) is JobState.DONE
    await box.handle.stop()
    box.state_sql(
        "UPDATE mailusers_import SET created_at = ?", stored_time(datetime.now(UTC) - timedelta(days=6.9))
    )
    again = await opened(boxes, gate, box.storage)
    assert [job.id for job in await again.runtime.imports.recent()] == [job_id]
    await again.handle.stop()
    again.state_sql(
        "UPDATE mailusers_import SET created_at = ?", stored_time(datetime.now(UTC) - timedelta(days=7.1))
    )
    again = await opened(boxes, gate, box.storage)
    assert await again.runtime.imports.recent() == []
    assert again.state_sql("SELECT * FROM mailusers_import_row") == []

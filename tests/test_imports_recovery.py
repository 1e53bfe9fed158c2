"""What an import is taken for when it is looked at in the wrong moment, or when nobody knows what it did."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailusers_plugin import imports_run
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.import_models import JobState
from mailusers_plugin.imports import Imports
from mailusers_plugin.imports_recovery import settle
from mailusers_plugin.store import imports as store
from tests.import_support import ACTOR, Gate, asked, ended, opened, seen, upload
from tests.support import BOSS, Boxes


@pytest.fixture
def gate() -> Gate:
    """An open gate."""
    made = Gate()
    made.open.set()
    return made


async def test_looked_at_while_uploading(boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists the imports in the moment in which one is stored does not take it for one that was lost."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    write = box.runtime.state.write

    async def looked_at(function: Any, *args: Any, **kwargs: Any) -> Any:
        done = await write(function, *args, **kwargs)
        if function is store.create:
            await imports.recent()
        return done

    monkeypatch.setattr(box.runtime.state, "write", looked_at)
    job_id = await upload(imports, "anna@example.com\n")
    assert (await seen(imports, job_id)).job.state is JobState.READY


async def test_not_stored(boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose import cannot be stored is not kept."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports

    def away(*args: object) -> None:
        raise UnavailableError("The database is away.")

    monkeypatch.setattr(store, "create", away)
    with pytest.raises(UnavailableError):
        await upload(imports, "anna@example.com\n")
    assert not imports._memory._held


async def test_ended_after_it_was_read(boxes: Boxes, gate: Gate) -> None:
    """Who has read an import just before it ended is told how it ended, and its result stays."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    gate.open.clear()
    job_id = await upload(imports, "anna@example.com\n")
    await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    await asked(gate)
    before = (await seen(imports, job_id)).job
    assert before.state is JobState.RUNNING
    gate.open.set()
    await ended(imports, job_id)
    now = await settle(box.runtime.database, box.runtime.state, before)
    assert now.state is JobState.DONE
    assert await imports.result(ACTOR, job_id) is not None


async def test_the_server_ends_before_it_is_known(
    boxes: Boxes, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users were added, but the database was away when that was to be asked: the next start finds them."""
    box = await opened(boxes, gate)
    imports = box.runtime.imports
    add_all = imports._bulk.add_all

    async def lost(*args: Any, **kwargs: Any) -> None:
        await add_all(*args, **kwargs)
        raise UnavailableError("The database is away.")

    async def unknown(*args: object) -> None:
        raise UnavailableError("The database is away.")

    monkeypatch.setattr(imports._bulk, "add_all", lost)
    monkeypatch.setattr(imports_run, "added_users", unknown)
    job_id = await upload(imports, "anna@example.com\n")
    await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    assert await finished(imports, job_id)
    await box.handle.stop()
    again = await opened(boxes, gate, box.storage)
    assert await again.emails() == ["anna@example.com", BOSS]
    assert (await seen(again.runtime.imports, job_id)).job.state is JobState.DONE


async def test_a_result_has_its_whole_time(boxes: Boxes, gate: Gate) -> None:
    """The time of a result begins when the import ends, not when somebody last looked before."""
    box = await opened(boxes, gate)
    imports = Imports(
        box.runtime.database, box.runtime.state, box.runtime.imports._bulk, max_rows=10, keep_seconds=1.5
    )
    await imports.start()
    gate.open.clear()
    job_id = await upload(imports, "anna@example.com\n")
    await imports.run(ACTOR, job_id, leave_out=False, restore=None)
    await asyncio.sleep(1)
    gate.open.set()
    assert await finished(imports, job_id)
    await asyncio.sleep(1)
    assert await imports.result(ACTOR, job_id) is not None
    await imports.stop()


async def finished(imports: Imports, job_id: str) -> bool:
    """Wait for the end of an import without looking at it."""
    task = imports._memory._held[job_id].task
    assert task is not None
    return bool((await asyncio.wait([task], timeout=10))[0])

"""What the tests of imports share: a module at whose gate an import can be met, and ways to upload and wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mailusers_plugin import hookimpl
from mailusers_plugin.errors import VetoError
from mailusers_plugin.import_models import JobState
from mailusers_plugin.imports import Imports, View
from mailusers_plugin.models import ADMIN, Actor, AddRequest
from tests.support import BOSS, Box, Boxes

ACTOR = Actor(BOSS, "cookie")
OTHER = Actor("second@example.com", "cookie")


@dataclass
class Gate:
    """A module that lets users pass only when it is opened, so that an import can be met in the middle."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[AddRequest] = field(default_factory=list)
    refused: str = ""

    @hookimpl
    async def mailusers_validate_add(self, request: AddRequest) -> None:
        """Wait; refuse one."""
        if request.actor.via != "cookie":
            return
        self.asked.append(request)
        await self.open.wait()
        if request.email == self.refused:
            raise VetoError("No room for this one.")


async def opened(boxes: Boxes, gate: Gate, storage: Path | None = None) -> Box:
    """Open a box with an administrator and the gate."""
    box = await boxes.open(storage, hooks=[gate])
    await box.runtime.start()
    if storage is None:
        await box.add(BOSS, (ADMIN,))
    return box


async def upload(imports: Imports, text: str, actor: Actor = ACTOR) -> str:
    """Upload a file."""
    return await imports.upload(actor, "users.csv", text.encode())


async def seen(imports: Imports, job_id: str) -> View:
    """Look at an import."""
    view = await imports.view(job_id)
    assert view is not None
    return view


async def ended(imports: Imports, job_id: str) -> View:
    """Wait until an import is over."""
    async with asyncio.timeout(20):
        while not (view := await seen(imports, job_id)).job.state.is_over:
            await asyncio.sleep(0.01)
    return view


async def run(
    imports: Imports, job_id: str, *, leave_out: bool = False, restore: bool | None = None
) -> JobState:
    """Import and wait."""
    await imports.run(ACTOR, job_id, leave_out=leave_out, restore=restore)
    return (await ended(imports, job_id)).job.state


def faults(view: View) -> list[tuple[int, Sequence[str]]]:
    """Return what is wrong with the lines of an import that is ready."""
    assert view.held is not None
    return [(row.number, [fault.message for fault in row.faults]) for row in view.held.rows]


async def asked(gate: Gate) -> None:
    """Wait until an import has come to the gate."""
    async with asyncio.timeout(10):
        while not gate.asked:
            await asyncio.sleep(0.01)

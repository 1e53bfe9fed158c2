"""The audit trail on a disk that is really full: a small file system in memory, which only root can mount."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailusers_plugin import trail
from mailusers_plugin.models import ADMIN
from mailusers_plugin.store import audit_chain
from tests.support import BOSS, USER, Boxes

QUOTA = f"/admin/mail/users/quota?email={BOSS}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                continue
    return file


async def test_log_ins_on_a_full_disk(
    small_disk: Path,
    blank_box: Path,
    boxes: Boxes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Passwords go on being checked while it is full; the log has the entries at once, the trail when there is room."""
    monkeypatch.setattr(trail, "_AGAIN_SECONDS", 0.2)
    storage = small_disk / "box"
    shutil.copytree(blank_box, storage)
    box = await boxes.open(storage)
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    await box.delivered()
    filler = fill(small_disk)
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "mailusers_plugin.audit"):
        assert (await box.basic(BOSS).get(QUOTA)).status == 200
        # Who guesses is let in no more often because it cannot be counted.
        assert (await box.basic(BOSS, "wrong password").get(QUOTA)).status == 503
        assert (await box.basic(USER).get(QUOTA)).status == 401
        await box.runtime.trail.note("SessionsEnded", email=BOSS)
        # What needs the disk itself says so, and when to try again.
        refused = await box.basic(BOSS).post("/admin/login")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
        async with asyncio.timeout(10):
            while len(caplog.records) < 4:
                await asyncio.sleep(0.01)
    assert time.monotonic() - began < 10
    lines = [record.getMessage() for record in caplog.records if record.name == "mailusers_plugin.audit"]
    assert {line.partition('"type": "')[2].partition('"')[0] for line in lines} == {
        "LoggedIn",
        "LoginRefused",
        "SessionsEnded",
    }
    assert "is full" in lines[0]
    assert [entry.type for entry in await box.trail()] == ["UserAdded", "UserAdded"]
    filler.unlink()
    async with asyncio.timeout(30):
        while len(await box.trail()) < 5:
            await asyncio.sleep(0.05)
    kept = [(entry.type, entry.email) for entry in (await box.trail())[2:]]
    assert sorted(kept) == [
        ("LoggedIn", BOSS),
        ("LoginRefused", USER),
        ("SessionsEnded", BOSS),
    ]
    assert (await box.runtime.state.read(audit_chain.verify)).fault is None

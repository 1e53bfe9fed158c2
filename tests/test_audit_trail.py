"""The audit trail: every change, and who logged in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.events import PasswordChanged
from mailusers_plugin.store import audit, audit_chain
from mailusers_plugin.trail_models import Entry
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client


async def test_every_change_is_kept(box: Box, admin: Client, user: str) -> None:
    """Every change is in the trail with its time, its maker, his address and what changed, and without secrets."""
    await admin.post("/admin/mail/users/quota", email=USER, quota="1G")
    await admin.post("/admin/mail/users/password", email=USER, password="another secret")
    await admin.post("/admin/mail/users/privileges/add", email=USER, privilege="admin")
    await admin.post("/admin/mail/users/remove", email=USER)
    await admin.post("/admin/mail/users/purge", email=USER, confirm=USER)
    trail = [entry for entry in await box.events() if entry["email"] == USER]
    assert [entry["type"] for entry in trail] == [
        "UserAdded",
        "QuotaChanged",
        "PasswordChanged",
        "PrivilegesChanged",
        "UserArchived",
        "UserPurged",
    ]
    (begun,) = [kept for kept in await box.trail() if kept.type == "PurgeBegun"]
    assert (begun.actor, begun.ip, begun.email) == (BOSS, "127.0.0.1", USER)
    assert (trail[1]["old_quota"], trail[1]["new_quota"]) == ("0", "1G")
    assert (trail[3]["old_privileges"], trail[3]["new_privileges"]) == ([], ["admin"])
    assert {entry["actor"] for entry in trail[1:]} == {BOSS}
    assert [entry["ip"] for entry in trail] == [None, *["127.0.0.1"] * 5]
    assert "secret" not in str(await box.trail())
    times = [entry["time"] for entry in trail]
    assert times == sorted(times)
    assert (await box.runtime.state.read(audit_chain.verify)).fault is None


async def test_restoring_is_visible(box: Box, admin: Client, user: str) -> None:
    """That an address has got its archived mailbox back stands in the trail, and whether that undid the archiving."""
    box.make_mailbox(USER, "a message")
    await admin.post("/admin/mail/users/remove", email=USER)
    await admin.post("/admin/mail/users/add", email=USER, password=PASSWORD)
    await admin.post("/admin/mail/users/remove", email=USER)
    await box.service.undo_archive(CONSOLE, USER)
    told = [(e["restored"], e["undone"]) for e in await box.events() if e["type"] == "UserAdded"][1:]
    assert told == [(False, False), (True, False), (True, True)]


async def test_repeat_changes_nothing(box: Box) -> None:
    """An event that is taken over twice is in the trail once."""
    event = PasswordChanged(email=USER, actor=None, via="cli")
    for _ in range(3):
        await box.runtime.state.write(audit_chain.append, [Entry.of_event(event.type, event.as_dict())] * 2)
    assert [kept.type for kept in await box.trail()] == ["PasswordChanged"]


async def test_trail_can_be_left_out(boxes: Boxes) -> None:
    """A host that keeps its own trail turns ours off."""
    box = await boxes.open(audit_log=False)
    await box.add(USER)
    await box.service.set_quota(CONSOLE, USER, "1G")
    await box.delivered()
    assert (await box.basic(USER).get("/admin/mail/users")).status == 401
    assert await box.runtime.state.read(audit.newest, 10) == []


async def test_an_entry_is_not_lost_where_it_cannot_be_written(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose entry cannot be stored is not taken out of the outbox, and its entry comes later, once."""
    box = await boxes.open()
    append, failures = audit_chain.append, 3

    def away(*args: Any) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise UnavailableError("The database is away.")
        return append(*args)

    monkeypatch.setattr(audit_chain, "append", away)
    monkeypatch.setattr("mailusers_plugin.dispatch._TROUBLE_SECONDS", 0.01)
    await box.add(USER)
    await box.delivered()
    assert failures == 0
    assert [(kept.type, kept.email) for kept in await box.trail()] == [("UserAdded", USER)]


async def test_several_add_entries_at_once(box: Box) -> None:
    """Changes and log-ins at the same time make one chain."""
    await asyncio.gather(
        *(box.add(f"user{number}@example.com") for number in range(10)),
        *(box.runtime.trail.note("LoggedIn", email=f"user{number}@example.com") for number in range(50)),
    )
    await box.delivered()
    trail = await box.trail()
    assert [kept.seq for kept in trail] == list(range(1, 61))
    verdict = await box.runtime.state.read(audit_chain.verify)
    assert (verdict.checked, verdict.fault, verdict.guarded) == (60, None, True)

"""The audit trail."""

from __future__ import annotations

from mailusers_plugin.events import PasswordChanged
from mailusers_plugin.store import audit
from tests.support import BOSS, CONSOLE, USER, Box, Boxes, Client


async def test_every_change_is_kept(box: Box, admin: Client, user: str) -> None:
    """Every change is in the trail with its time, its maker and what changed, and without secrets."""
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
    assert {entry["actor"] for entry in trail[1:]} == {BOSS}
    assert "secret" not in str(trail)
    times = [entry["time"] for entry in trail]
    assert times == sorted(times)


async def test_repeat_changes_nothing(box: Box) -> None:
    """An event that is delivered twice is in the trail once."""
    event = PasswordChanged(email=USER, actor=None, via="cli")
    for _ in range(3):
        await box.runtime.state.write(audit.record, event)
    assert len(await box.runtime.state.read(audit.newest, 10)) == 1


async def test_trail_can_be_left_out(boxes: Boxes) -> None:
    """A host that keeps its own trail turns ours off."""
    box = await boxes.open(audit_log=False)
    await box.add(USER)
    await box.service.set_quota(CONSOLE, USER, "1G")
    await box.delivered()
    assert await box.runtime.state.read(audit.newest, 10) == []

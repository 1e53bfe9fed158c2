"""Forgetting what Dovecot has written of a mailbox that was deleted for good."""

from __future__ import annotations

from tests.support import USER, Boxes, run_sql


async def test_purge_forgets_what_dovecot_wrote(boxes: Boxes) -> None:
    """A new mailbox of the same name does not begin with the size of the one that was purged."""
    box = await boxes.open(usage_source="quota_clone")
    await box.add(USER)
    file = box.runtime.settings.usage_file
    run_sql(file, "INSERT INTO mailusers_quota VALUES (?, 5, 1)", USER)
    assert box.runtime.refresh_usage() == 1
    await box.api.post("/admin/mail/users/remove", email=USER)
    await box.api.post("/admin/mail/users/purge", email=USER, confirm=USER)
    await box.delivered()
    assert run_sql(file, "SELECT * FROM mailusers_quota") == []
    await box.add(USER)
    assert box.runtime.refresh_usage() == 0
    assert box.state_sql("SELECT * FROM mailusers_usage") == []


async def test_nothing_to_forget_elsewhere(boxes: Boxes) -> None:
    """Where sizes come from elsewhere there is no such file, and no such implementation."""
    box = await boxes.open()
    assert "sizes" not in box.runtime.manager.implementations()
    assert not box.runtime.settings.usage_file.exists()

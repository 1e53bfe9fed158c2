"""Sessions when the clock is set: what was stored is a time to come, or one long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support import BOSS, Box, Client, stored_time


@pytest.mark.parametrize(("days", "status"), [(1, 200), (400, 200), (-400, 401)])
async def test_the_clock_was_set(box: Box, admin: Client, days: int, status: int) -> None:
    """A session from before the clock was set back goes on; one from before it was put forward by long has ended."""
    key = await box.session_key(BOSS)
    client = box.basic(BOSS, key)
    assert (await client.get("/admin/mail/users")).status == 200
    time = stored_time(datetime.now(UTC) + timedelta(days=days))
    box.state_sql("UPDATE mailusers_session SET created_at = ?, used_at = ?", time, time)
    assert (await client.get("/admin/mail/users")).status == status
    # A new one works in any case.
    again = box.basic(BOSS, await box.session_key(BOSS))
    assert (await again.get("/admin/mail/users")).status == 200

"""Each hook of hooks/specs.py, implemented by a module of a panel, on a running box."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailusers_plugin import events, hookimpl
from mailusers_plugin.errors import VetoError
from mailusers_plugin.models import ADMIN, AddRequest
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.told: list[events.Event] = []
        self.asked: list[AddRequest] = []

    @hookimpl
    def mailusers_validate_add(self, request: AddRequest) -> None:
        """Refuse one address."""
        self.asked.append(request)
        if request.email.startswith("unwanted@"):
            raise VetoError("Nobody wants that user.")

    @hookimpl
    def mailusers_post_add(self, event: events.UserAdded) -> None:
        """Keep it."""
        self.told.append(event)

    @hookimpl
    async def mailusers_post_archive(self, event: events.UserArchived) -> None:
        """Keep it."""
        self.told.append(event)

    @hookimpl
    def mailusers_post_purge(self, event: events.UserPurged) -> None:
        """Keep it."""
        self.told.append(event)

    @hookimpl
    async def mailusers_quota_change(self, event: events.QuotaChanged) -> None:
        """Keep it."""
        self.told.append(event)

    @hookimpl
    def mailusers_password_change(self, event: events.PasswordChanged) -> None:
        """Keep it."""
        self.told.append(event)

    @hookimpl
    def mailusers_privileges_change(self, event: events.PrivilegesChanged) -> None:
        """Keep it."""
        self.told.append(event)


async def box_with(boxes: Boxes) -> tuple[Box, Recorder]:
    """Open a box with an administrator, a user and a recorder that has heard of neither."""
    box = await boxes.open()
    await box.add(BOSS, (ADMIN,))
    await box.add(USER, quota="1G")
    await box.delivered()
    recorder = Recorder()
    box.handle.pm.register(recorder)
    return box, recorder


async def told(box: Box, recorder: Recorder) -> events.Event:
    """Return the one event that the recorder was told of."""
    await box.delivered()
    (event,) = recorder.told
    assert event.email == USER or event.email.endswith("@example.net")
    assert (event.actor, event.via) == (CONSOLE.name, CONSOLE.via)
    assert 0 <= (datetime.now(UTC) - event.time).total_seconds() < 60
    return event


async def test_mailusers_validate_add(boxes: Boxes) -> None:
    """A module sees a user before it is added, without the password, and can refuse it with its own words."""
    box, recorder = await box_with(boxes)
    with pytest.raises(VetoError, match=r"Nobody wants that user\."):
        await box.add("unwanted@example.net", (ADMIN,), "5G")
    assert recorder.asked == [AddRequest("unwanted@example.net", (ADMIN,), "5G", CONSOLE)]
    assert PASSWORD not in repr(recorder.asked)
    assert await box.find("unwanted@example.net") is None
    answer = await box.api.post("/admin/mail/users/add", email="unwanted@example.net", password=PASSWORD)
    assert (answer.status, answer.text) == (400, "Nobody wants that user.")


async def test_mailusers_post_add(boxes: Boxes) -> None:
    """A module is told of a new user, with privileges and quota."""
    box, recorder = await box_with(boxes)
    await box.add("new@example.net", (ADMIN,), "5G")
    event = await told(box, recorder)
    assert isinstance(event, events.UserAdded)
    assert (event.email, event.privileges, event.quota) == ("new@example.net", (ADMIN,), "5G")
    assert (event.quota_bytes, event.restored) == (5 * 2**30, False)


async def test_mailusers_post_archive(boxes: Boxes) -> None:
    """A module is told of an archived user, with what the account had and where the mail is."""
    box, recorder = await box_with(boxes)
    await box.service.archive(CONSOLE, USER)
    event = await told(box, recorder)
    assert isinstance(event, events.UserArchived)
    assert (event.privileges, event.quota, event.mailbox) == ((), "1G", str(box.maildir(USER)))


async def test_mailusers_post_purge(boxes: Boxes) -> None:
    """A module is told of a mailbox that was deleted for good."""
    box, recorder = await box_with(boxes)
    await box.service.archive(CONSOLE, USER)
    await box.delivered()
    recorder.told.clear()
    await box.service.purge(CONSOLE, USER, USER)
    event = await told(box, recorder)
    assert isinstance(event, events.UserPurged)
    assert event.mailbox == str(box.maildir(USER))


async def test_mailusers_quota_change(boxes: Boxes) -> None:
    """A module is told of a new quota and the old one, and of nothing where it stays the same."""
    box, recorder = await box_with(boxes)
    await box.service.set_quota(CONSOLE, USER, "1g")
    await box.service.set_quota(CONSOLE, USER, "0")
    event = await told(box, recorder)
    assert isinstance(event, events.QuotaChanged)
    assert (event.old_quota, event.new_quota) == ("1G", "0")
    assert (event.old_quota_bytes, event.new_quota_bytes) == (2**30, 0)


async def test_mailusers_password_change(boxes: Boxes) -> None:
    """A module is told that a password was set, and not which."""
    box, recorder = await box_with(boxes)
    await box.service.set_password(CONSOLE, USER, "another secret thing")
    event = await told(box, recorder)
    assert isinstance(event, events.PasswordChanged)
    assert set(event.as_dict()) == {"id", "time", "actor", "via", "ip", "request_id", "email"}
    stored = box.sql("SELECT body FROM mailusers_outbox")
    assert "secret" not in repr(stored)
    assert "$6$" not in repr(stored)


async def test_mailusers_privileges_change(boxes: Boxes) -> None:
    """A module is told of privileges before and after, and of nothing where they stay the same."""
    box, recorder = await box_with(boxes)
    await box.service.remove_privileges(CONSOLE, USER, (ADMIN,))
    await box.service.add_privileges(CONSOLE, USER, (ADMIN,))
    event = await told(box, recorder)
    assert isinstance(event, events.PrivilegesChanged)
    assert (event.old_privileges, event.new_privileges) == ((), (ADMIN,))

"""Undoing an archive, what is kept for it and for how long, and the consent that restoring needs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailusers_plugin import hookimpl
from mailusers_plugin.errors import (
    InvalidInputError,
    NotArchivedError,
    RestoreConsentError,
    StorageError,
    UndoOverError,
    UserExistsError,
    VetoError,
)
from mailusers_plugin.models import ADMIN
from mailusers_plugin.store import undo
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the wiping to the tests."""
    monkeypatch.setattr("mailusers_plugin.runtime._WIPE_SECONDS", 3600.0)


async def fill(box: Box) -> None:
    """Add an administrator, and a user who has everything that can be lost."""
    await box.add(BOSS, (ADMIN,))
    await box.add(USER, (ADMIN,), "3G")
    # Mail-in-a-Box's column has no type on SQLite, and could hold anything.
    extra = "more of it" if box.runtime.settings.database else b"\x00\xff"
    box.sql("UPDATE users SET extra = ? WHERE email = ?", extra, USER)
    box.sql(
        "INSERT INTO mfa (user_id, type, secret, mru_token, label) "
        "SELECT id, 'totp', 'SECRET', '123456', 'phone' FROM users WHERE email = ?",
        USER,
    )


async def archived(box: Box) -> None:
    """Archive that user."""
    await fill(box)
    await box.service.archive(CONSOLE, USER)


def whole(box: Box, email: str) -> list[tuple[Any, ...]]:
    """Return all that the box has of a user."""
    return box.sql(
        "SELECT u.password, u.extra, u.privileges, u.quota, m.type, m.secret, m.mru_token, m.label "
        "FROM users u LEFT JOIN mfa m ON m.user_id = u.id WHERE u.email = ?",
        email,
    )


async def test_undo_brings_everything_back(box: Box) -> None:
    """The user is what it was, to the second factor, and the event says that it was restored."""
    await fill(box)
    before = whole(box, USER)
    await box.service.archive(CONSOLE, USER)
    assert whole(box, USER) == []
    await box.service.undo_archive(CONSOLE, USER)
    assert whole(box, USER) == before
    assert before[0][5] == "SECRET"
    assert box.sql("SELECT * FROM mailusers_archive") == []
    event = (await box.events())[-1]
    assert (event["type"], event["email"], event["restored"], event["quota"], event["privileges"]) == (
        "UserAdded",
        USER,
        True,
        "3G",
        [ADMIN],
    )


async def test_the_directory_says_until_when(box: Box) -> None:
    """An archived user's line says until when undo is possible, an active one's nothing."""
    await archived(box)
    entry = (await box.runtime.directory.entries([USER]))[USER]
    assert entry.undo_until is not None
    left = (entry.undo_until - datetime.now(UTC)).total_seconds()
    assert 590 < left <= 600
    await box.service.undo_archive(CONSOLE, USER)
    assert (await box.runtime.directory.entries([USER]))[USER].undo_until is None


async def test_undo_can_be_switched_off(boxes: Boxes) -> None:
    """With undo_minutes 0 nothing is kept and undo is refused."""
    box = await boxes.open(undo_minutes=0)
    await archived(box)
    assert box.sql("SELECT kept, kept_until FROM mailusers_archive") == [(None, None)]
    with pytest.raises(UndoOverError):
        await box.service.undo_archive(CONSOLE, USER)


async def test_undo_ends(box: Box) -> None:
    """When the time is over undo is refused, also before anything is wiped."""
    await archived(box)
    late(box)
    with pytest.raises(UndoOverError):
        await box.service.undo_archive(CONSOLE, USER)
    assert await box.find(USER) is None


def late(box: Box) -> None:
    """Let the time be over."""
    box.sql("UPDATE mailusers_archive SET kept_until = '2020-01-01 00:00:00.000000'")


async def test_what_was_kept_is_wiped(box: Box) -> None:
    """After the time the hash is gone from the archive, and the rest of the note stays."""
    await archived(box)
    assert "SECRET" in box.sql("SELECT kept FROM mailusers_archive")[0][0]
    late(box)
    assert await box.runtime.wipe_kept() == 3600.0
    assert box.sql("SELECT kept, kept_until, quota FROM mailusers_archive") == [(None, None, "3G")]
    assert (await box.runtime.directory.entries([USER]))[USER].undo_until is None


async def test_wiping_writes_only_where_there_is_something(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for what to wipe never writes by itself: each commit may cost Postfix a look-up."""
    await archived(box)
    with monkeypatch.context() as patch:
        patch.setattr(box.runtime.database, "write", None)
        assert 0 < await box.runtime.wipe_kept() <= 600


async def test_a_server_that_starts_wipes(boxes: Boxes) -> None:
    """What became overdue while no server ran is wiped by the next one at once."""
    box = await boxes.open()
    await archived(box)
    late(box)
    await box.handle.stop()
    again = await boxes.open(box.storage)
    await again.runtime.start()
    async with asyncio.timeout(10):
        while again.sql("SELECT kept FROM mailusers_archive") != [(None,)]:
            await asyncio.sleep(0.02)


async def test_a_server_wipes_when_the_time_comes(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause until the next look ends where the first time ends, however long it could be."""
    await archived(box)
    monkeypatch.setattr("mailusers_plugin.runtime._WIPE_SECONDS", 100_000.0)
    wait_seconds = await box.runtime.wipe_kept()
    assert 590 < wait_seconds <= 600


async def test_the_next_archive_wipes_too(box: Box) -> None:
    """Without a server, what is overdue goes with the next archive."""
    await archived(box)
    late(box)
    await box.add("second@example.com")
    await box.service.archive(CONSOLE, "second@example.com")
    kept = dict(box.sql("SELECT email, kept IS NOT NULL FROM mailusers_archive"))
    assert kept == {USER: 0, "second@example.com": 1}


async def test_adding_anew_drops_what_was_kept(box: Box) -> None:
    """After the address was added again there is nothing to undo, and no hash left."""
    await archived(box)
    await box.add(USER)
    with pytest.raises(NotArchivedError):
        await box.service.undo_archive(CONSOLE, USER)
    assert box.sql("SELECT * FROM mailusers_archive") == []


async def test_another_program_adds_the_user(box: Box) -> None:
    """A user whom another program added meanwhile is left as it is."""
    await archived(box)
    box.sql("INSERT INTO users (email, password) VALUES (?, 'theirs')", USER)
    with pytest.raises(NotArchivedError):
        await box.service.undo_archive(CONSOLE, USER)
    assert box.sql("SELECT password FROM users WHERE email = ?", USER) == [("theirs",)]


async def test_a_purge_ends_undo(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a purge began undo is refused and the hash is gone, also where the purge did not end."""
    await archived(box)
    box.make_mailbox(USER, "a letter")

    def fail(*_: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr(box.runtime.mailboxes, "delete_aside", fail)
    with pytest.raises(StorageError):
        await box.service.purge(CONSOLE, USER, USER)
    with pytest.raises(InvalidInputError, match="being deleted for good"):
        await box.service.undo_archive(CONSOLE, USER)
    assert box.sql("SELECT kept FROM mailusers_archive") == [(None,)]


async def test_undo_of_what_was_never_archived(box: Box) -> None:
    """Nobody is made up: a folder without a note, or nothing at all, cannot be undone."""
    box.make_mailbox("folder@example.com")
    for email in ("folder@example.com", "never@example.com"):
        with pytest.raises(NotArchivedError):
            await box.service.undo_archive(CONSOLE, email)


async def test_two_at_once(box: Box) -> None:
    """Of several who undo at once one does; the others are told that there is nothing archived."""
    await archived(box)
    results = await asyncio.gather(
        *(box.service.undo_archive(CONSOLE, USER) for _ in range(5)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Change", *["NotArchivedError"] * 4]
    assert [event["type"] for event in await box.events()].count("UserAdded") == 3


async def test_modules_may_refuse(box: Box) -> None:
    """Undo is asked for like any new user: a module that counts users can say no."""

    class Full:
        @hookimpl
        def mailusers_validate_add(self, request: Any) -> None:
            raise VetoError(f"No room for {request.email}, who had {request.quota}.")

    await archived(box)
    box.handle.pm.register(Full())
    with pytest.raises(VetoError, match=r"No room for user@example[.]com, who had 3G"):
        await box.service.undo_archive(CONSOLE, USER)
    assert await box.find(USER) is None


async def test_restoring_needs_consent_where_it_is_asked(box: Box) -> None:
    """Without consent an address with an old mailbox is refused, with or without a note of ours."""
    await archived(box)
    box.make_mailbox("folder@example.com", "a letter")
    for email in (USER, "folder@example.com"):
        with pytest.raises(RestoreConsentError):
            await box.service.add(CONSOLE, email, PASSWORD, restore=False)
        assert await box.find(email) is None
        await box.service.add(CONSOLE, email, PASSWORD)
    await box.service.add(CONSOLE, "fresh@example.com", PASSWORD, restore=False)


async def test_consent_is_not_asked_for_who_exists(box: Box) -> None:
    """Somebody who is there already, with mailbox, is said to exist: there is nothing to consent to."""
    await box.add(USER)
    box.make_mailbox(USER)
    with pytest.raises(UserExistsError):
        await box.service.add(CONSOLE, USER, PASSWORD, restore=False)


async def test_archived_while_somebody_typed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox that appears after the form was checked is found inside the transaction."""
    hash_password = box.runtime.passwords.hash

    async def hash_slowly(password: str) -> str:
        box.make_mailbox(USER, "a letter")
        return await hash_password(password)

    monkeypatch.setattr(box.runtime.passwords, "hash", hash_slowly)
    with pytest.raises(RestoreConsentError):
        await box.service.add(CONSOLE, USER, PASSWORD, restore=False)


async def test_kept_is_unreadable_after_its_time(box: Box) -> None:
    """The store's own look-up minds the time, to the microsecond."""
    await archived(box)
    end = await box.runtime.database.read(undo.first_end)
    assert end is not None
    before = end - timedelta(microseconds=1)
    assert await box.runtime.database.read(undo.find, USER, before) is not None
    assert await box.runtime.database.read(undo.find, USER, end) is None


async def test_undo_brings_no_session_back(box: Box) -> None:
    """Sessions that archiving has ended stay ended."""
    await fill(box)
    browser = await box.browser(USER)
    assert (await browser.get("/admin/users")).status == 200
    await box.service.archive(CONSOLE, USER)
    await box.service.undo_archive(CONSOLE, USER)
    assert (await browser.get("/admin/users")).status == 303

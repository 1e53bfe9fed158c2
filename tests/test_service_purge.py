"""Deleting an archived mailbox for good: what goes, what stays, and what an interruption leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from mailusers_plugin.errors import InvalidInputError, NotArchivedError, StorageError
from mailusers_plugin.mailserver import mailboxes
from mailusers_plugin.store import accounts
from tests.support import CONSOLE, PASSWORD, USER, Box, Boxes, Client

NEIGHBOUR = "neighbour@example.com"
PURGE = "/admin/mail/users/purge"


@pytest.fixture
def maildir(io_loop: IOLoop, box: Box, admin: Client, user: str) -> Path:
    """The mailbox of an archived account, beside that of somebody else."""
    found = box.make_mailbox(USER, "a letter")
    box.make_mailbox(NEIGHBOUR, "another letter")
    io_loop.run_sync(lambda: box.service.archive(CONSOLE, USER))
    return found


def everything(folder: Path) -> list[str]:
    """Return every path below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def purged(box: Box) -> list[str]:
    """Return the addresses of which the purge was told."""
    return [event["email"] for event in await box.events() if event["type"] == "UserPurged"]


async def test_everything_goes(box: Box, maildir: Path) -> None:
    """Mailbox, size and our record go, the neighbour stays, and the hooks are told once."""
    (maildir / "maildirsize").write_text("0S\n1 1\n")
    (maildir / ".Sent" / "cur").mkdir(parents=True)
    box.runtime.refresh_usage()
    await box.service.purge(CONSOLE, USER, USER)
    assert [path.name for path in (box.mailboxes / "example.com").iterdir()] == ["neighbour"]
    assert box.sql("SELECT * FROM mailusers_archive") == []
    assert box.state_sql("SELECT * FROM mailusers_usage WHERE email = ?", USER) == []
    assert await purged(box) == [USER]


async def test_sieve_scripts_go(box: Box, maildir: Path) -> None:
    """The address's sieve scripts go, and those of others with similar names stay."""
    sieve = maildir.parents[2] / "sieve" / "example.com"
    (sieve / "user").mkdir(parents=True)
    (sieve / "user2").mkdir()
    (sieve / "user" / "main.sieve").touch()
    for name in ("user.sieve", "user.svbin", "user2.sieve", "user.sieve.bak", "neighbour.svbin"):
        (sieve / name).touch()
    await box.service.purge(CONSOLE, USER, USER)
    assert everything(sieve) == ["neighbour.svbin", "user.sieve.bak", "user2", "user2.sieve"]


async def test_second_purge(box: Box, maildir: Path) -> None:
    """What is gone cannot be deleted again."""
    await box.service.purge(CONSOLE, USER, USER)
    with pytest.raises(NotArchivedError):
        await box.service.purge(CONSOLE, USER, USER)
    assert await purged(box) == [USER]


async def test_purge_of_an_older_mailbox(box: Box, maildir: Path) -> None:
    """A mailbox that we never archived can be deleted too, and so can a record without a mailbox."""
    await box.service.purge(CONSOLE, NEIGHBOUR, NEIGHBOUR)
    await box.add("empty@example.com")
    await box.service.archive(CONSOLE, "empty@example.com")
    await box.service.purge(CONSOLE, "empty@example.com", "empty@example.com")
    assert await purged(box) == [NEIGHBOUR, "empty@example.com"]


async def test_active_account_is_refused(box: Box, maildir: Path) -> None:
    """The mailbox of an active account is never touched."""
    await box.add(USER)
    with pytest.raises(NotArchivedError, match=r"^That account is not archived\.$"):
        await box.service.purge(CONSOLE, USER, USER)
    assert (maildir / "cur" / "0.message").exists()


@pytest.mark.parametrize("confirm", ["", "x", USER.upper(), NEIGHBOUR])
async def test_confirmation(box: Box, maildir: Path, confirm: str) -> None:
    """Only the same address confirms."""
    with pytest.raises(InvalidInputError):
        await box.service.purge(CONSOLE, USER, confirm)
    assert maildir.exists()


@pytest.mark.parametrize(
    "email",
    [
        "..@example.com",
        ".@example.com",
        "user@..",
        "../example.com/neighbour@example.com",
        "neighbour@example.com/../example.com",
        "/etc@example.com",
        "@example.com",
        "neighbour",
        "user\n@example.com",
        "\udcff@example.com",
    ],
)
async def test_hostile_address(box: Box, maildir: Path, email: str) -> None:
    """No address leads out of its own mailbox."""
    before = everything(box.storage / "mail" / "mailboxes")
    with pytest.raises((InvalidInputError, NotArchivedError, StorageError)):
        await box.service.purge(CONSOLE, email, email)
    assert everything(box.storage / "mail" / "mailboxes") == before


async def test_links_are_not_followed(box: Box, maildir: Path, tmp_path: Path) -> None:
    """What a link inside the mailbox points to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (maildir / "cur" / "link").symlink_to(outside)
    (maildir / ".Link").symlink_to(outside, target_is_directory=True)
    await box.service.purge(CONSOLE, USER, USER)
    assert not maildir.exists()
    assert everything(outside) == ["precious"]


@pytest.mark.parametrize("what", ["mailbox", "domain", "sieve"])
async def test_link_in_place_of_a_folder(box: Box, maildir: Path, tmp_path: Path, what: str) -> None:
    """A link in place of the mailbox, the domain or the sieve folder keeps its target from being deleted."""
    outside = tmp_path / "outside"
    (outside / "user").mkdir(parents=True)
    (outside / "user" / "precious").touch()
    (outside / "user.sieve").touch()
    before = everything(outside)
    if what == "mailbox":
        maildir.rename(maildir.with_name("moved"))
        maildir.symlink_to(outside / "user")
    elif what == "domain":
        maildir.parent.rename(maildir.parent.with_name("moved.example.com"))
        maildir.parent.symlink_to(outside)
    else:
        (box.storage / "mail" / "sieve").mkdir(exist_ok=True)
        (box.storage / "mail" / "sieve" / "example.com").symlink_to(outside)
    with pytest.raises(StorageError):
        await box.service.purge(CONSOLE, USER, USER)
    assert everything(outside) == before


@pytest.mark.parametrize("step", ["set_aside", "delete_aside", "rmtree", "rename", "the last transaction"])
async def test_interrupted(box: Box, maildir: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """What is interrupted anywhere stays archived, tells nobody, and can be repeated until it succeeds."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if step == "rmtree":
            patch.setattr("mailusers_plugin.mailserver.mailboxes.shutil.rmtree", fail)
        elif step == "rename":
            patch.setattr("mailusers_plugin.mailserver.mailboxes.os.rename", fail)
        elif step == "the last transaction":
            patch.setattr(accounts, "forget_archived", fail)
        else:
            patch.setattr(mailboxes.Mailboxes, step, fail)
        with pytest.raises((OSError, StorageError)):
            await box.service.purge(CONSOLE, USER, USER)
    assert await purged(box) == []
    archived = await box.runtime.listing.archived(USER)
    assert archived is not None
    assert archived.purging
    await box.service.purge(CONSOLE, USER, USER)
    assert await purged(box) == [USER]
    assert [path.name for path in (box.mailboxes / "example.com").iterdir()] == ["neighbour"]
    assert box.sql("SELECT * FROM mailusers_archive") == []


async def test_error_says_what_to_do(box: Box, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses is answered as a trouble of the storage, with what is left and what to do."""

    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("mailusers_plugin.mailserver.mailboxes.shutil.rmtree", fail)
        answer = await box.api.post(PURGE, email=USER, confirm=USER)
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert answer.text == (
        f"{maildir} cannot be deleted: Permission denied. What is left is still archived; mend "
        "that and try again."
    )


async def test_half_purged_address_cannot_be_added(
    box: Box, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address whose old mailbox is half gone is given to nobody before the rest is gone too."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(mailboxes.Mailboxes, "delete_aside", fail)
        with pytest.raises(OSError, match="Input/output"):
            await box.service.purge(CONSOLE, USER, USER)
    with pytest.raises(InvalidInputError, match="half gone"):
        await box.add(USER)
    await box.service.purge(CONSOLE, USER, USER)
    await box.add(USER)
    event = (await box.events())[-1]
    assert (event["type"], event["restored"]) == ("UserAdded", False)


async def test_other_program_adds_the_user_meanwhile(
    box: Box, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another program adds the user after the purge began, the mailbox is that user's and stays."""
    original = box.runtime.database.write

    async def write(function: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(function, *args, **kwargs)
        if function.__name__ == "begin":
            box.sql("INSERT INTO users (email, password) VALUES (?, 'x')", USER)
        return result

    monkeypatch.setattr(box.runtime.database, "write", write)
    with pytest.raises(NotArchivedError):
        await box.service.purge(CONSOLE, USER, USER)
    assert (maildir / "cur" / "0.message").read_text() == "a letter"
    assert box.sql("SELECT * FROM mailusers_archive") == []
    assert await purged(box) == []


async def test_other_program_adds_the_user_after_an_interruption(
    box: Box, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new mailbox of a user added by another program is not mixed up with the half-deleted old one."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(mailboxes.Mailboxes, "delete_aside", fail)
        with pytest.raises(OSError, match="Input/output"):
            await box.service.purge(CONSOLE, USER, USER)
    box.sql("INSERT INTO users (email, password) VALUES (?, 'x')", USER)
    box.make_mailbox(USER, "a new letter")
    with pytest.raises(NotArchivedError):
        await box.service.purge(CONSOLE, USER, USER)
    assert (maildir / "cur" / "0.message").read_text() == "a new letter"


async def test_same_purge_twice_at_once(boxes: Boxes, box: Box, maildir: Path) -> None:
    """The same purge through two servers at once ends well in both and is told once."""
    other = await boxes.open(box.storage)
    for number in range(200):
        (maildir / "cur" / f"{number}.many").touch()
    await asyncio.gather(
        *(each.service.purge(CONSOLE, USER, USER) for each in (box, other)), return_exceptions=True
    )
    assert not maildir.exists()
    assert await purged(box) == [USER]


async def test_purge_through_a_second_login(box: Box, maildir: Path) -> None:
    """After a purge the address can be given away like any other, with an empty mailbox."""
    assert (await box.api.post(PURGE, email=USER, confirm=USER)).text == "mail user purged\n"
    answer = await box.api.post("/admin/mail/users/add", email=USER, password=PASSWORD)
    assert answer.text == "mail user added\n"
    assert not maildir.exists()


async def test_a_purge_that_fails_is_shown(box: Box, admin: Client, user: str) -> None:
    """Where the mailbox cannot be deleted the list says so at once, and offers no undo any more."""
    elsewhere = box.mailboxes / "elsewhere"
    elsewhere.mkdir()
    box.maildir(USER).parent.mkdir(exist_ok=True)
    box.maildir(USER).symlink_to(elsewhere)
    await box.service.archive(CONSOLE, USER)
    with pytest.raises(StorageError):
        await box.service.purge(CONSOLE, USER, USER)
    entry = (await box.runtime.directory.entries([USER]))[USER]
    assert entry.purging
    assert entry.undo_until is None

"""Scanning the mail store: strange names neither break the list nor lead out of it, and nothing is missed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from mailusers_plugin.errors import StorageError
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from tests.support import Box, Client, make_mailbox


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A mail folder with one mailbox."""
    folder = tmp_path / "mail"
    make_mailbox(folder / "mailboxes", "user@example.com")
    return folder


@pytest.fixture
def mailboxes(mail: Path) -> Mailboxes:
    """What is tested."""
    return Mailboxes(mail)


ONLY = frozenset({("example.com", "user")})
STRANGE = [
    b"new\nline",
    b"not utf-8 \xff\xfe",
    b"with space",
    b"tab\there",
    b"a,b",
    b"<script>",
    b'quote"',
    b"back\\slash",
    b"at@sign",
    "ünicode".encode(),
    b"-" * 255,
    b"\x1b[31mred",
    b"\xe2\x80\xaertl",
]


@pytest.mark.parametrize("level", ["domain", "local part"])
@pytest.mark.parametrize("name", STRANGE)
def test_strange_folder(mail: Path, mailboxes: Mailboxes, level: str, name: bytes) -> None:
    """A folder that cannot be an address's is named so that it can be printed; the rest is found."""
    parent = os.fsencode(mail / "mailboxes" / ("example.com" if level == "local part" else ""))
    os.makedirs(os.path.join(parent, name, b"cur"))  # noqa: PTH103, PTH118
    scan = mailboxes.scan()
    assert scan.mailboxes == ONLY
    (strange,) = scan.strange
    assert strange.isascii()
    assert strange.isprintable()


@pytest.mark.parametrize("name", [".hidden", "..double", ".mailusers-purge-0123", "..."])
def test_dot_folder(mail: Path, mailboxes: Mailboxes, name: str) -> None:
    """What begins with a dot is somebody's own and no mailbox, on both levels."""
    (mail / "mailboxes" / name / "user").mkdir(parents=True)
    (mail / "mailboxes" / "example.com" / name).mkdir()
    scan = mailboxes.scan()
    assert (scan.mailboxes, scan.strange) == (ONLY, ())


def test_plain_files(mail: Path, mailboxes: Mailboxes) -> None:
    """A plain file is no mailbox and no domain."""
    (mail / "mailboxes" / "file.example.com").touch()
    (mail / "mailboxes" / "example.com" / "file").touch()
    os.mkfifo(mail / "mailboxes" / "example.com" / "pipe")
    scan = mailboxes.scan()
    assert scan.mailboxes == ONLY
    assert set(scan.strange) == {"'file.example.com'", "'example.com/file'", "'example.com/pipe'"}


def test_names_too_long_together(mail: Path, mailboxes: Mailboxes) -> None:
    """A folder that makes no address together with its domain's is no mailbox."""
    (mail / "mailboxes" / ("d" * 200) / ("l" * 53)).mkdir(parents=True)
    (mail / "mailboxes" / ("d" * 200) / ("l" * 54)).mkdir()
    scan = mailboxes.scan()
    assert scan.mailboxes == {*ONLY, ("d" * 200, "l" * 53)}
    assert len(scan.strange) == 1


def test_links(mail: Path, mailboxes: Mailboxes, tmp_path: Path) -> None:
    """A link, inside the tree or out of it, is no mailbox and no domain."""
    make_mailbox(tmp_path / "outside", "other@outside.example.com")
    (mail / "mailboxes" / "outside.example.com").symlink_to(tmp_path / "outside" / "outside.example.com")
    (mail / "mailboxes" / "example.com" / "link").symlink_to(
        tmp_path / "outside" / "outside.example.com" / "other"
    )
    (mail / "mailboxes" / "example.com" / "twin").symlink_to("user")
    (mail / "mailboxes" / "example.com" / "loop").symlink_to("loop")
    (mail / "mailboxes" / "example.com" / "dangling").symlink_to("/nowhere")
    scan = mailboxes.scan()
    assert scan.mailboxes == ONLY
    assert len(scan.strange) == 5
    for email in ("other@outside.example.com", "link@example.com", "twin@example.com", "loop@example.com"):
        assert not mailboxes.exists(email)


async def test_list_survives(box: Box, admin: Client) -> None:
    """The list is answered whole whatever lies in the mail store."""
    box.make_mailbox("archived@example.com")
    for name in STRANGE:
        os.makedirs(os.fsencode(box.mailboxes) + b"/example.com/" + name)  # noqa: PTH103
    await asyncio.to_thread(box.runtime.directory.compare_now)
    domains = (await admin.get("/admin/mail/users", format="json")).json()
    assert [user["email"] for user in domains[0]["users"]] == ["boss@example.com", "archived@example.com"]


def test_new_mailbox_right_after_a_scan(mail: Path, mailboxes: Mailboxes) -> None:
    """A mailbox made right after a scan, within the file system's coarse clock, is in the next one."""
    found = {("example.com", "user")}
    for number in range(50):
        make_mailbox(mail / "mailboxes", f"u{number}@d{number % 3}.example.com")
        found.add((f"d{number % 3}.example.com", f"u{number}"))
        assert mailboxes.scan().mailboxes == found


def age(folder: Path) -> None:
    """Let a folder have changed long ago."""
    then = time.time() - 3600
    os.utime(folder, (then, then))


def test_cache(mail: Path, mailboxes: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that did not change are not read again, and one that changed is."""
    make_mailbox(mail / "mailboxes", "user@example.org")
    for domain in ("", "example.com", "example.org"):
        age(mail / "mailboxes" / domain)
    mailboxes.scan()
    read: list[str] = []
    scandir = os.scandir

    def remember(path: Path) -> object:
        read.append(path.name)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", remember)
    mailboxes.scan()
    assert read == []
    make_mailbox(mail / "mailboxes", "new@example.org")
    assert ("example.org", "new") in mailboxes.scan().mailboxes
    assert read == ["example.org"]


def test_removed_mailbox(mail: Path, mailboxes: Mailboxes) -> None:
    """What is gone is gone from the next scan: mailboxes and whole domains."""
    maildir = make_mailbox(mail / "mailboxes", "user@example.org")
    assert len(mailboxes.scan().mailboxes) == 2
    maildir.rename(mail / "elsewhere")
    assert mailboxes.scan().mailboxes == ONLY
    maildir.parent.rmdir()
    assert mailboxes.scan().mailboxes == ONLY


def test_domain_that_comes_back(mail: Path, mailboxes: Mailboxes) -> None:
    """A domain's folder that was replaced by another with an older time is read again."""
    for domain in ("", "example.com"):
        age(mail / "mailboxes" / domain)
    mailboxes.scan()
    (mail / "mailboxes" / "example.com").rename(mail / "mailboxes" / "kept.example.com")
    make_mailbox(mail / "mailboxes", "restored@example.com")
    assert mailboxes.scan().mailboxes == {("example.com", "restored"), ("kept.example.com", "user")}


def test_no_mail_store(tmp_path: Path) -> None:
    """A box without any mail yet has no mailboxes; a mail store that cannot be read is said to be so."""
    assert Mailboxes(tmp_path / "nothing").scan().mailboxes == frozenset()
    (tmp_path / "mailboxes").touch()
    with pytest.raises(StorageError, match="cannot be read: Not a directory"):
        Mailboxes(tmp_path).scan()


@pytest.mark.parametrize(
    ("email", "exists"),
    [
        ("user@example.com", True),
        ("user@Example.com", False),
        ("nobody@example.com", False),
        ("user@nowhere.example.com", False),
        ("..@example.com", False),
        (".@example.com", False),
        ("user@..", False),
        ("user@.", False),
        ("user/../user@example.com", False),
        ("/user@example.com", False),
        ("@example.com", False),
        ("user@", False),
        ("user", False),
        ("", False),
        ("us\0er@example.com", False),
        ("user\n@example.com", False),
        ("\udcff@example.com", False),
        ("x" * 300 + "@example.com", False),
    ],
)
def test_exists(mailboxes: Mailboxes, email: str, exists: bool) -> None:
    """Whether an address has a mailbox is answered for any text, without leaving the tree."""
    assert mailboxes.exists(email) is exists


@pytest.mark.parametrize("email", ["..@example.com", "user@..", "a/b@example.com", "@example.com", "user@"])
def test_nothing_is_set_aside_for_a_strange_address(mailboxes: Mailboxes, email: str) -> None:
    """An address that cannot have a mailbox is refused before the disk is touched."""
    for step in (mailboxes.set_aside, mailboxes.delete_aside):
        with pytest.raises(StorageError):
            step(email, ".purge")
    assert mailboxes.scan().mailboxes == ONLY

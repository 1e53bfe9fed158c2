"""Reading Dovecot's maildirsize files."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailusers_plugin.mailserver import maildir_sizes
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.mailserver.maildir_sizes import MaildirSizes, parse_maildirsize
from mailusers_plugin.mailserver.usage import Known, Pace, StoppedError
from mailusers_plugin.models import SizeBatch
from tests.support import USER, make_mailbox

WHOLE: list[tuple[bytes, tuple[int, int, int]]] = [
    (b"1048576S\n100 1\n", (100, 1, 1048576)),
    (b"1048576S\n", (0, 0, 1048576)),
    (b"1048576S", (0, 0, 1048576)),
    (b"0S\n5 1\n", (5, 1, 0)),
    (b"1048576S,1000C\n100 1\n200 2\n-50 -1\n", (250, 2, 1048576)),
    (b"1000C\n100 1\n", (100, 1, 0)),
    (b"1048576S\n         100            1\n   -100           -1\n", (0, 0, 1048576)),
    (b"1048576S\n100 1\n\n200 1\n", (300, 2, 1048576)),
    (b"1048576S\r\n100 1\r\n", (100, 1, 1048576)),
    (b"1048576S\n100 1\n-300 -3\n", (0, 0, 1048576)),
    (b"5000000000S\n4000000000 70000\n", (4000000000, 70000, 5000000000)),
]

DAMAGED = [
    b"",
    b"\n",
    b"\n100 1\n",
    b"garbage",
    b"S\n100 1\n",
    b"xS\n100 1\n",
    b"1048576S\n100\n",
    b"1048576S\n100 1 1\n",
    b"1048576S\n100\n1 1 1\n",
    b"1048576S\n1_0 1\n",
    b"1_0S\n5 1\n",
    b"+10S\n5 1\n",
    b"1048576S\nabc def\n",
    b"1048576S\n100 1\n10",
    b"1048576S\n1.5 1\n",
    b"\x00\x00\x00\x00",
    b"\xff\xfeS\n1 1\n",
    b"1048576S\n" + b"9" * 5000 + b" 1\n",
    b"1048576S\n1125899906842625 1\n",
    b"1048576S\n1 1125899906842625\n",
]


@pytest.mark.parametrize(("content", "expected"), WHOLE)
def test_whole_file(content: bytes, expected: tuple[int, int, int]) -> None:
    """The lines are added up, whatever their padding; a sum below zero is zero."""
    usage = parse_maildirsize(content)
    assert usage is not None
    assert (usage.box_bytes, usage.messages, usage.limit_bytes) == expected


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_file(content: bytes) -> None:
    """What is not whole is not known, and never an error."""
    assert parse_maildirsize(content) is None


class Nothing:
    """Nothing is known yet."""

    def marks(self, emails: Sequence[str]) -> dict[str, int | None]:
        """Return nothing."""
        return {}

    def after(self, email: str) -> list[str]:
        """Return nothing."""
        return []


class Remembered(Nothing):
    """What batches said before."""

    def __init__(self, *batches: SizeBatch) -> None:
        """Remember the batches."""
        self.sizes = {email: size.mark for batch in batches for email, size in batch.found.items()}

    def marks(self, emails: Sequence[str]) -> dict[str, int | None]:
        """Return what was said of some."""
        return {email: self.sizes[email] for email in emails if email in self.sizes}

    def after(self, email: str) -> list[str]:
        """Return the next ten."""
        return sorted(each for each in self.sizes if each > email)[:10]


@pytest.fixture
def mail(tmp_path: Path) -> Mailboxes:
    """An empty mail store."""
    (tmp_path / "mailboxes").mkdir()
    return Mailboxes(tmp_path)


def write(mail: Mailboxes, email: str, content: str) -> Path:
    """Give a mailbox its file."""
    path = make_mailbox(mail.root, email) / "maildirsize"
    path.write_text(content)
    return path


def read(source: MaildirSizes, known: Known | None = None, position: str = "") -> list[SizeBatch]:
    """Read everything."""
    return list(source.read(position, known or Nothing(), Pace()))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that are written count as settled at once."""
    monkeypatch.setattr(maildir_sizes, "_SETTLED_NS", -(10**12))


@pytest.mark.parametrize("kind", ["nothing", "folder", "link", "pipe"])
def test_no_plain_file(mail: Mailboxes, tmp_path: Path, kind: str) -> None:
    """What is not a plain file is not read, not waited for and not followed."""
    path = make_mailbox(mail.root, USER) / "maildirsize"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "other").write_text("1S\n1 1\n")
        path.symlink_to(tmp_path / "other")
    elif kind == "pipe":
        os.mkfifo(path)
    (batch,) = read(MaildirSizes(mail))
    assert (batch.found, list(batch.gone)) == ({}, [])


def test_source(mail: Mailboxes) -> None:
    """Mailboxes whose size is known are told, and the others left out."""
    write(mail, "user@example.com", "0S\n5 1\n")
    write(mail, "damaged@example.com", "x")
    make_mailbox(mail.root, "unknown@example.com")
    (batch,) = read(MaildirSizes(mail))
    assert list(batch.found) == ["user@example.com"]
    assert batch.found["user@example.com"].usage.box_bytes == 5


@pytest.mark.usefixtures("later")
def test_only_what_changed_is_read(mail: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pass opens only the files that are not the same as before, however little of them differs."""
    paths = [write(mail, f"user{n}@example.com", "0S\n5 1\n") for n in range(20)]
    source = MaildirSizes(mail)
    first = read(source)
    opened: list[str] = []
    content = maildir_sizes._content

    def counted(path: str) -> bytes:
        opened.append(path)
        return content(path)

    monkeypatch.setattr(maildir_sizes, "_content", counted)
    known = Remembered(*first)
    assert [(dict(batch.found), list(batch.gone)) for batch in read(source, known)] == [({}, [])]
    assert opened == []
    # More than a tick of the file system's clock.
    time.sleep(0.05)
    # In place and with the same length and times, as one that is copied from a backup.
    times = paths[3].stat()
    paths[3].write_text("0S\n7 1\n")
    os.utime(paths[3], ns=(times.st_atime_ns, times.st_mtime_ns))
    with paths[4].open("a") as file:
        file.write("-2 0\n")
    new = paths[5].with_name("maildirsize.new")
    new.write_text("0S\n9 1\n")
    new.replace(paths[5])
    (batch,) = read(source, known)
    sizes = {email: size.usage.box_bytes for email, size in batch.found.items()}
    assert sizes == {"user3@example.com": 7, "user4@example.com": 3, "user5@example.com": 9}
    assert sorted(opened) == [str(path) for path in paths[3:6]]


def test_what_was_just_written_is_read_again(mail: Mailboxes) -> None:
    """A file that may change once more within a tick of the file system's clock is not taken for known."""
    write(mail, USER, "0S\n5 1\n")
    (batch,) = read(MaildirSizes(mail))
    assert batch.found[USER].mark is None


def test_what_is_gone(mail: Mailboxes) -> None:
    """A file that went or broke, a mailbox and a domain that went are told once; what cannot be read stays."""
    emails = [
        f"{name}@{domain}" for domain in ("example.com", "example.org") for name in ("a", "b", "c", "d")
    ]
    paths = {email: write(mail, email, "0S\n5 1\n") for email in emails}
    source = MaildirSizes(mail)
    known = Remembered(*read(source))
    paths["a@example.com"].unlink()
    paths["b@example.com"].write_text("x")
    shutil.rmtree(paths["c@example.com"].parent)
    shutil.rmtree(mail.root / "example.org")
    gone = [email for batch in read(source, known) for email in batch.gone]
    assert sorted(gone) == sorted(["a@example.com", "b@example.com", "c@example.com", *emails[4:]])


def test_an_error_of_the_disk_is_not_gone(mail: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known stays where the disk or the network fails for a moment."""
    write(mail, USER, "0S\n5 1\n")
    source = MaildirSizes(mail)
    known = Remembered(*read(source))

    def fails(path: str) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(maildir_sizes, "_content", fails)
    (batch,) = read(source, known)
    assert (dict(batch.found), list(batch.gone)) == ({}, [])


def test_a_pass_goes_on(mail: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each batch's position on the rest of the mailboxes follows, domain by domain, and none is left out."""
    monkeypatch.setattr(maildir_sizes, "_GROUP", 4)
    emails = {f"user{n}@domain{d}.example.com" for d in range(5) for n in range(d + 1)}
    for email in emails:
        write(mail, email, "0S\n5 1\n")
    source = MaildirSizes(mail)
    batches = read(source)
    assert max(len(batch.found) for batch in batches) == 4
    for number, batch in enumerate(batches, 1):
        before = {email for each in batches[:number] for email in each.found}
        rest = {email for each in read(source, position=batch.position) for email in each.found}
        assert before | rest == emails


def test_looking_at_some(mail: Mailboxes, tmp_path: Path) -> None:
    """Some mailboxes are read out of turn; an address that is no path of a mailbox is looked for nowhere."""
    write(mail, USER, "0S\n5 1\n")
    make_mailbox(mail.root, "new@example.com")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "maildirsize").write_text("0S\n9 1\n")
    others = ["new@example.com", "gone@example.com", "../../elsewhere@example.com", "elsewhere@../.."]
    batch = MaildirSizes(mail).look([USER, *others])
    assert {email: size.usage.box_bytes for email, size in batch.found.items()} == {USER: 5}
    assert list(batch.gone) == others


def test_pace() -> None:
    """Work takes the given share of the time, and stopping ends a pause."""
    pace = Pace(0.25)
    began = time.perf_counter()
    time.sleep(0.05)
    pace.rest()
    assert time.perf_counter() - began >= 0.2
    pace.stop()
    with pytest.raises(StoppedError):
        pace.rest()

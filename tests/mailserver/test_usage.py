"""Reading Dovecot's maildirsize files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailusers_plugin.mailserver.usage import MaildirSizes, parse_maildirsize, read_maildirsize
from tests.support import USER, Box, Client, make_mailbox

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
    b"1048576S\nabc def\n",
    b"1048576S\n100 1\n10",
    b"1048576S\n1.5 1\n",
    b"\x00\x00\x00\x00",
    b"\xff\xfeS\n1 1\n",
    b"1048576S\n" + b"9" * 5000 + b" 1\n",
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


@pytest.mark.parametrize("kind", ["nothing", "folder", "link", "pipe"])
def test_no_plain_file(tmp_path: Path, kind: str) -> None:
    """What is not a plain file is not read, not waited for and not followed."""
    path = tmp_path / "maildirsize"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "other").write_text("1S\n1 1\n")
        path.symlink_to(tmp_path / "other")
    elif kind == "pipe":
        os.mkfifo(path)
    assert read_maildirsize(str(path)) is None


def test_source(tmp_path: Path) -> None:
    """Mailboxes whose size is known are told, and the others left out."""
    (make_mailbox(tmp_path, "user@example.com") / "maildirsize").write_text("0S\n5 1\n")
    (make_mailbox(tmp_path, "damaged@example.com") / "maildirsize").write_text("x")
    make_mailbox(tmp_path, "unknown@example.com")
    names = [("example.com", name) for name in ("user", "damaged", "unknown", "gone")]
    found = dict(MaildirSizes(tmp_path).read(names))
    assert list(found) == ["user@example.com"]
    assert found["user@example.com"].box_bytes == 5


async def test_refresh(box: Box, admin: Client, user: str) -> None:
    """A refresh stores what changed and drops what is gone, and says how much that was."""
    maildir = box.make_mailbox(USER)
    size = maildir / "maildirsize"
    refresh = box.runtime.refresh_usage
    assert refresh() == 0
    size.write_text("0S\n5 1\n")
    assert (refresh(), refresh()) == (1, 0)
    assert box.state_sql("SELECT email, box_bytes, messages FROM mailusers_usage") == [(USER, 5, 1)]
    size.write_text("0S\n5 1\n7 1\n")
    assert refresh() == 1
    assert box.state_sql("SELECT box_bytes, messages FROM mailusers_usage") == [(12, 2)]
    size.unlink()
    assert refresh() == 1
    assert box.state_sql("SELECT * FROM mailusers_usage") == []

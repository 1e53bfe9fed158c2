"""The names of mailboxes are read some at a time, and again only where something changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailusers_plugin.errors import StorageError
from mailusers_plugin.mailserver.mailbox_names import MailboxNames
from tests.support import make_mailbox

OLD_NS = 1_700_000_000_000_000_000


def settle(root: Path) -> None:
    """Let all folders have changed long ago."""
    for folder in root.iterdir():
        os.utime(folder, ns=(OLD_NS, OLD_NS), follow_symlinks=False)


def read(names: MailboxNames, limit: int = 100) -> list[str]:
    """All names that are new."""
    return sorted(name for some in names.changed(limit) for name in some)


def test_only_what_changed(tmp_path: Path) -> None:
    """A folder is read once, and again after it has changed; one that has just changed is read until it rests."""
    for email in ("a@one.example.com", "b@one.example.com", "c@two.example.com"):
        make_mailbox(tmp_path, email)
    names = MailboxNames(tmp_path)
    assert read(names) == read(names) == ["a@one.example.com", "b@one.example.com", "c@two.example.com"]
    settle(tmp_path)
    assert len(read(names)) == 3
    assert read(names) == []
    make_mailbox(tmp_path, "d@two.example.com")
    assert read(names) == ["c@two.example.com", "d@two.example.com"]
    names.forget()
    assert len(read(names)) == 4


def test_some_at_a_time(tmp_path: Path) -> None:
    """A folder that was not read to its end counts as not read."""
    for number in range(5):
        make_mailbox(tmp_path, f"u{number}@one.example.com")
    settle(tmp_path)
    names = MailboxNames(tmp_path)
    some = names.changed(2)
    assert len(next(some)) == 2
    some.close()  # type: ignore[attr-defined]  # it is a generator
    assert [len(batch) for batch in names.changed(2)] == [2, 2, 1]
    assert read(names) == []


def test_what_is_no_mailbox(tmp_path: Path) -> None:
    """Links, files, hidden folders and names that no address has are passed over."""
    make_mailbox(tmp_path, "a@one.example.com")
    (tmp_path / "one.example.com" / ".hidden").mkdir()
    (tmp_path / "one.example.com" / "odd name").mkdir()
    (tmp_path / "one.example.com" / ("x" * 250)).mkdir()
    (tmp_path / "one.example.com" / "file").write_text("")
    (tmp_path / "one.example.com" / "link").symlink_to(tmp_path)
    (tmp_path / "linked.example.com").symlink_to(tmp_path / "one.example.com")
    (tmp_path / "file.example.com").write_text("")
    assert read(MailboxNames(tmp_path)) == ["a@one.example.com"]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    """A mail store that was not made yet is empty; one that is no folder is an error."""
    assert read(MailboxNames(tmp_path / "none")) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be read"):
        read(MailboxNames(tmp_path / "file"))

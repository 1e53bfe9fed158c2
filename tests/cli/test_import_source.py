"""The file that the command imports."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from mailusers_plugin.cli.import_source import Source
from mailusers_plugin.errors import InvalidInputError

TEXT = b"anna@example.com\n" * 5000


def test_the_same_however_it_comes(tmp_path: Path) -> None:
    """A file, a pipe and standard input have the same content, which can be read again and again."""
    file, pipe = tmp_path / "users.csv", tmp_path / "pipe"
    file.write_bytes(TEXT)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[TEXT])
    writer.start()
    sources = [
        Source(str(file), io.BytesIO()),
        Source(str(pipe), io.BytesIO()),
        Source("-", io.BytesIO(TEXT)),
    ]
    writer.join()
    assert [source.name for source in sources] == ["users.csv", "pipe", "standard input"]
    assert len({source.digest for source in sources}) == 1
    for source in sources:
        with source:
            assert source.size == len(TEXT)
            for _ in range(2):
                source.file.seek(0)
                assert source.file.read() == TEXT
            source.check_unchanged()


def test_changed_meanwhile(tmp_path: Path) -> None:
    """Somebody who writes to the file while it is imported is noticed."""
    file = tmp_path / "users.csv"
    file.write_bytes(TEXT)
    with Source(str(file), io.BytesIO()) as source:
        with file.open("ab") as more:
            more.write(b"bert@example.com\n")
        with pytest.raises(InvalidInputError, match=r"users\.csv was changed while it was read"):
            source.check_unchanged()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, or a folder, is said to be none."""
    with pytest.raises(InvalidInputError, match=r"nowhere\.csv cannot be read: No such file"):
        Source(str(tmp_path / "nowhere.csv"), io.BytesIO())
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory"):
        Source(str(tmp_path), io.BytesIO())

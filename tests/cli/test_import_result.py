"""The result file of the command's import: whose it is, what is never lost, what is never written over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mailusers_plugin.cli.import_result import ResultFile, ResultRow
from mailusers_plugin.errors import InvalidInputError, StorageError

ROW = ResultRow(2, "anna@example.com", "planned", "made-up", "")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """Both files are made readable by their owner only, whatever the umask."""
    old = os.umask(0)
    try:
        with ResultFile(tmp_path / "result.csv"):
            for name in ("result.csv", "result.csv.pending"):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    finally:
        os.umask(old)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A file that is there, or a link, is refused and stays as it is; nothing else is left behind."""
    (tmp_path / "there.csv").write_text("precious")
    (tmp_path / "link.csv").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "half.csv.pending").write_text("precious")
    for name in ("there.csv", "link.csv", "half.csv"):
        with pytest.raises(InvalidInputError, match="is there already"):
            ResultFile(tmp_path / name)
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "half.csv.pending").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.csv.pending", "link.csv", "there.csv"]
    with pytest.raises(InvalidInputError, match="cannot be made: No such file or directory"):
        ResultFile(tmp_path / "nowhere" / "result.csv")


def test_one_that_was_only_begun_is_taken(tmp_path: Path) -> None:
    """A file of ours in which nothing stands yet is no obstacle, for a crash may have left it."""
    path = tmp_path / "result.csv"
    for _ in range(2):
        with ResultFile(path) as result:
            size = result.size
    assert path.stat().st_size == size
    path.write_bytes(path.read_bytes()[:7])
    with ResultFile(path):
        assert path.stat().st_size == size
    path.chmod(0o644)
    with pytest.raises(InvalidInputError, match="is there already"):
        ResultFile(path)


def test_goes_on(tmp_path: Path) -> None:
    """What is not known to be true is cut off, and what was planned last is still there."""
    path = tmp_path / "result.csv"
    with ResultFile(path) as result:
        result.plan([ROW])
        result.append([ROW._replace(result="added")])
        size = result.size
        result.plan([ROW._replace(line=3), ROW._replace(line=4)])
        os.pwrite(result._file, b'"3","torn', size)
    with ResultFile(path, size) as result:
        assert [row.line for row in result.planned()] == [3, 4]
        assert path.read_text(encoding="utf-8-sig").splitlines()[1:] == [
            '"2","anna@example.com","added","made-up",""'
        ]
        result.end()
    assert not (tmp_path / "result.csv.pending").exists()


def test_not_as_it_was_left(tmp_path: Path) -> None:
    """One that is gone, shorter, or that others can read is not gone on with."""
    path = tmp_path / "result.csv"
    with pytest.raises(InvalidInputError, match="cannot be opened: No such file"):
        ResultFile(path, 10)
    with ResultFile(path) as result:
        size = result.size
    with pytest.raises(InvalidInputError, match="is shorter than"):
        ResultFile(path, size + 1)
    path.chmod(0o640)
    with pytest.raises(InvalidInputError, match="others may read or change it"):
        ResultFile(path, size)


def test_a_full_disk_is_said() -> None:
    """What cannot be written is an error that says so, before the transaction for which it was to be."""
    # Always full.
    full = Path("/dev/full")
    descriptor = os.open(full, os.O_RDWR)
    result = ResultFile.__new__(ResultFile)
    result.path, result._file, result._pending, result.size = full, descriptor, descriptor, 0
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        result.append([ROW])
    os.close(descriptor)

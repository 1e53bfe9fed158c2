"""The result file of the command's import: what became of each line, with the passwords that were made up.

Whatever is in it is so: a line is written when its user is in the box. Passwords must be on the disk before that,
so they are first written into a second file beside it, named after it with ``.pending``, which holds the lines of one
transaction. Both are readable by their owner only, and no file that is there already is ever written over.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from mailusers_plugin import csv_text
from mailusers_plugin.cli.import_journal import sync_folder
from mailusers_plugin.errors import InvalidInputError, StorageError

HEAD: Final = ("line", "address", "result", "password", "error")
_BEGINNING: Final = (csv_text.BYTE_ORDER_MARK + csv_text.lines([HEAD])).encode()
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class ResultRow(NamedTuple):
    """A line of it, in its columns.

    :ivar address: empty where the file has none there that is one
    :ivar password: the one that was made up, else empty
    """

    line: int
    address: str
    result: str
    password: str
    error: str


class ResultFile:
    """A result file that is open. All methods block.

    :ivar path: where it is
    :ivar size: how much of it is written, in bytes
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Make the file, or open one of an import that goes on.

        :param path: absolute
        :param size: how much of it is known to be true, of an import that goes on; the rest is cut off
        :raises InvalidInputError: if it cannot be made, or is not as it was left
        """
        self.path = path
        self._pending_path = pending_path(path)
        descriptors: list[int] = []
        try:
            for one in (path, self._pending_path):
                descriptors.append(_make(one) if size is None else _reopen(one))
            sync_folder(path.parent)
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            if size is None and descriptors:
                path.unlink(missing_ok=True)
            where = self._pending_path if descriptors else path
            raise InvalidInputError(_explain(where, error, is_new=size is None)) from None
        self._file, self._pending = descriptors
        self.size = size or 0
        if size is None:
            self._write_behind(_BEGINNING)
        else:
            self._cut()

    def _cut(self) -> None:
        """Drop what is behind what is known to be true; a crash may have torn it.

        :raises InvalidInputError: if the file is shorter than that
        """
        if os.fstat(self._file).st_size < self.size:
            self.close()
            raise InvalidInputError(
                f"{self.path} is shorter than the import has left it. Put it back as it was, or begin anew with "
                "--again and another result file."
            )
        os.ftruncate(self._file, self.size)

    def plan(self, rows: Iterable[ResultRow]) -> None:
        """Put the lines of the next transaction where they survive a crash, in place of those of the last.

        :raises StorageError: if that fails
        """
        with self._reported():
            os.ftruncate(self._pending, 0)
            _write_at(self._pending, csv_text.lines([HEAD, *rows]).encode(), 0)
            os.fsync(self._pending)

    def planned(self) -> list[ResultRow]:
        """Return the lines that were planned last; none where a crash has torn them, before that transaction."""
        size = os.fstat(self._pending).st_size
        text = os.pread(self._pending, size, 0).decode("utf-8", "replace")
        found = list(csv.reader(io.StringIO(text, newline="")))[1:]
        with suppress(ValueError, TypeError):
            return [ResultRow(int(cells[0]), *cells[1:]) for cells in found]
        return []

    def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Write what became of lines, so that it survives a crash.

        :raises StorageError: if that fails
        """
        self._write_behind(csv_text.lines(rows).encode())

    def _write_behind(self, content: bytes) -> None:
        with self._reported():
            _write_at(self._file, content, self.size)
            os.fsync(self._file)
        self.size += len(content)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from None

    def end(self) -> None:
        """Take the second file away: everything is in the first."""
        self._pending_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Take both away, of an import that has changed nothing."""
        self.end()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close both."""
        os.close(self._file)
        os.close(self._pending)

    def __enter__(self) -> Self:
        """Close them at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.close()


def pending_path(path: Path) -> Path:
    """Return where the lines of one transaction are, beside a result file."""
    return path.with_name(path.name + ".pending")


def _make(path: Path) -> int:
    try:
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _adopt(path)


def _adopt(path: Path) -> int:
    """Open a file in which nothing but the head stands: an import was ended just after it had made it."""
    try:
        descriptor = _reopen(path)
    except OSError:
        raise FileExistsError from None
    found = os.fstat(descriptor)
    if found.st_nlink == 1 and _BEGINNING.startswith(os.pread(descriptor, len(_BEGINNING) + 1, 0)):
        return descriptor
    os.close(descriptor)
    raise FileExistsError


def _reopen(path: Path) -> int:
    descriptor = os.open(path, _FLAGS)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(1, "others may read or change it")
    return descriptor


def _write_at(descriptor: int, content: bytes, position: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, position)
        content, position = content[written:], position + written


def _explain(path: Path, error: OSError, *, is_new: bool) -> str:
    if isinstance(error, FileExistsError):
        return f"{path} is there already, and is not written over. Name another file with --result."
    if is_new:
        return f"{path} cannot be made: {error.strerror}. Name another file with --result."
    return (
        f"{path}, which belongs to the import that goes on, cannot be opened: {error.strerror}. Put it back, or begin "
        "anew with --again and another result file."
    )

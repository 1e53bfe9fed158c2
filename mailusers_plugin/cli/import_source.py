"""The file that the command imports: read from its beginning several times, so what is piped in is kept in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, Self

from mailusers_plugin.errors import InvalidInputError

STANDARD_INPUT: Final = "-"


class Source:
    """An opened file of users.

    :ivar name: what it is called
    :ivar file: can be sought in
    :ivar digest: tells its content from any other
    :ivar size: in bytes
    """

    def __init__(self, path: str, standard_input: BinaryIO) -> None:
        """Open the file and read it once. Blocks.

        :param path: ``-`` for the standard input; of that, what is no file is copied into memory and never to a disk,
            for passwords are in it
        :raises InvalidInputError: if it cannot be read
        """
        self.name = "standard input" if path == STANDARD_INPUT else Path(path).name
        try:
            self.file = _copy(standard_input) if path == STANDARD_INPUT else _open(path)
            self.digest = hashlib.file_digest(self.file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidInputError(f"{self.name} cannot be read: {error.strerror}.") from None
        self.size = self.file.tell()
        self._state = self._look()

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self.file.fileno())
        return found.st_size, found.st_mtime_ns

    def check_unchanged(self) -> None:
        """See that nobody has written to it since it was opened.

        :raises InvalidInputError: if somebody has
        """
        if self._look() != self._state:
            raise InvalidInputError(
                f"{self.name} was changed while it was read. Start again with a file that stays."
            )

    def close(self) -> None:
        """Close it."""
        self.file.close()

    def __enter__(self) -> Self:
        """Close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _open(path: str) -> BufferedReader:
    file = Path(path).open("rb")  # noqa: SIM115 (closed by whoever has the source)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        with file:
            # A pipe that the shell has made of a command, or a terminal.
            return _copy(file)
    return file


def _copy(piped: BinaryIO) -> BufferedReader:
    """Return a file in memory. What is piped in cannot be read twice, and a disk is no place for passwords."""
    descriptor = os.memfd_create("mailusers-import", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as copy:
        shutil.copyfileobj(piped, copy)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.fdopen(descriptor, "rb")

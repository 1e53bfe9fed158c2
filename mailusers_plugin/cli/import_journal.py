"""How far each import of the command is, so that one that was ended can go on: small files in the box.

There is a file for each content that was imported, named after its SHA-256. Neither addresses nor passwords are in it.
It is replaced as a whole before each transaction, so that after a crash at most the lines of that one are in doubt;
whether their users were added is told by the events that are written in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import ConfigurationError, UnavailableError

_KEEP_SECONDS: Final = 30 * 24 * 3600
"""How long it is known that a file was imported, and an import that was given up can go on."""
_BUSY: Final = "Another 'mailusers user import' runs on this box. Wait until it has ended."
_RETRY_SECONDS: Final = 60


@dataclass(slots=True, kw_only=True)
class Journal:
    """How far an import is.

    :ivar id: from which the ids of its events are made
    :ivar name: of the file
    :ivar digest: of its content
    :ivar result: path of the result file, empty where there is none
    :ivar result_bytes: what of it is about lines up to ``done_line``
    :ivar done_line: the line up to which everything is done
    :ivar begun_line: the line up to which a transaction may have been made
    :ivar begun_rows: how many lines of the file are between them
    :ivar added: users added so far, those with a mailbox from the archive among them
    :ivar restored: how many those are
    :ivar left_out: lines left out so far
    :ivar ended_at: when all was done, empty before
    """

    digest: str
    name: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    began_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    result: str = ""
    result_bytes: int = 0
    done_line: int = 0
    begun_line: int = 0
    begun_rows: int = 0
    added: int = 0
    restored: int = 0
    left_out: int = 0
    ended_at: str = ""


class Journals:
    """The journals of one box. All methods block."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; it is made when something is written.

        :param folder: inside one that nobody else can read
        """
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only command that imports.

        :raises UnavailableError: if there is another
        :raises ConfigurationError: if the folder cannot be used
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigurationError(f"{self._folder} cannot be used: {error.strerror}.") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UnavailableError(_BUSY, _RETRY_SECONDS) from None
            self._prune()
            yield
        finally:
            os.close(descriptor)

    def find(self, digest: str) -> Journal | None:
        """Return the journal of a content, ``None`` where it was not imported.

        :raises ConfigurationError: if it is there and cannot be read
        """
        path = self._path(digest)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            names = {one.name for one in fields(Journal)}
            return Journal(**{name: value for name, value in found.items() if name in names})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError):
            raise ConfigurationError(
                f"{path} cannot be read. With --again the file is imported as if it had never been before."
            ) from None

    def save(self, journal: Journal) -> None:
        """Store a journal so that it survives a power failure.

        :raises ConfigurationError: if it cannot be written
        """
        path = self._path(journal.digest)
        new = path.with_suffix(".new")
        try:
            with open(new, "wb", opener=_private) as file:
                file.write(json.dumps(asdict(journal), indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None

    def discard(self, journal: Journal) -> None:
        """Forget an import that has changed nothing."""
        self._path(journal.digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"

    def _prune(self) -> None:
        for path in self._folder.glob("*.json"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEEP_SECONDS:
                    path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def sync_folder(folder: Path) -> None:
    """See that a new name in a folder survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

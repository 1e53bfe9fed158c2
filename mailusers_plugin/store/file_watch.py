"""Notices that another program has changed a SQLite file, without a lock and without a look into it.

The file must not even be opened: closing it would drop the locks that SQLite holds in this process
(https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Signature = tuple[tuple[int, int, int] | None, ...]


class FileWatch:
    """Counts the changes that were not ours, by the times and sizes of the file and its write-ahead log.

    Two changes inside one tick of the file system's clock, ours first, look like one; whoever needs to be certain
    reads everything now and then.
    """

    def __init__(self, path: Path) -> None:
        """Remember how the file is now.

        :param path: of the database
        """
        self._paths = (path, path.with_name(f"{path.name}-wal"))
        self._lock = threading.Lock()
        self._known = self._look()
        self._foreign = 0

    def foreign_changes(self) -> int:
        """Return how many times another program was seen to have changed the file. May wait for a commit."""
        with self._lock:
            self._compare()
            return self._foreign

    @contextmanager
    def own_change(self) -> Iterator[None]:
        """Commit a change of ours; the file's write lock is held, so that nobody else can."""
        with self._lock:
            self._compare()
            try:
                yield
            finally:
                self._known = self._look()

    def _compare(self) -> None:
        found = self._look()
        if found != self._known:
            self._known = found
            self._foreign += 1

    def _look(self) -> Signature:
        return tuple(_signature(path) for path in self._paths)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns

"""How the command line finds out whether a server is running for a box: a file that servers hold a lock on."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class ServerLock:
    """A lock that any number of servers share and that ends with their processes, however they end."""

    def __init__(self, path: Path) -> None:
        """Remember the file; it is made by the first server.

        :param path: where it is
        """
        self._path = path
        self._descriptor: int | None = None

    def share(self) -> None:
        """Say that a server runs; once is enough. Where the file cannot be made, nobody is told."""
        if self._descriptor is not None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def release(self) -> None:
        """Say that this server ends."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_shared(self) -> bool:
        """Tell whether a server runs."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

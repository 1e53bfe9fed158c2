"""Keeps connections to the SQLite file that has the database's name now, should a restored backup take its place.

An open connection stays with the file that it was opened for, also once that has no name any more: what is written
there is lost, and nobody is told. So the name is looked up before each use, and before and after each commit.

A write-ahead log that belonged to the file before must not be read with the new one, which it would damage
(https://www.sqlite.org/howtocorrupt.html, section 2.4): it is taken away, unless it was replaced as well.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.texts import N_

_log = logging.getLogger("mailusers_plugin")

Identity = tuple[int, int]
_FILE: Final = "mailusers_file"
_MISSING: Final = N_(
    "The account database is not there. If it is being restored, try again when that is done."
)
_MISSING_RETRY_SECONDS: Final = 10
_REPLACED: Final = N_("The account database was replaced while this was being done. Try again in a moment.")
_REPLACED_RETRY_SECONDS: Final = 2
_NO_CHECKPOINT_SINCE: Final = (3, 12)
_kept: list[Any] = []
"""Connections that are never closed."""


def identity(path: str | Path) -> Identity | None:
    """Return which file has a name, ``None`` where none has."""
    try:
        # Without the detour of a Path, for this is asked at each look-up.
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino


class FilePlace:
    """The file that has a database's name, and whether connections are to it."""

    def __init__(self, path: Path, engine: Engine, close_idle: Callable[[], None]) -> None:
        """Look after an engine; nothing is opened yet.

        :param path: of the database
        :param close_idle: closes what connections are kept beside those of the engine's pool
        """
        self._path = path
        self._name = str(path)
        self._engine = engine
        self._close_idle = close_idle
        self._changing = threading.Lock()
        self._beside = tuple(path.with_name(path.name + end) for end in ("-wal", "-shm"))
        self._known: Identity | None = None
        self._known_beside: tuple[Identity | None, ...] = (None, None)
        self.replacements = 0
        self._keeper: sqlite3.Connection | None = None
        event.listen(engine, "do_connect", self.before_connect)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkin", self._given_back)

    def check(self) -> None:
        """Make sure that what is opened or taken from now on is the file that has the name.

        :raises UnavailableError: if there is none, as while somebody restores a backup
        """
        if self._known is None or identity(self._name) == self._known:
            return
        with self._changing:
            found = identity(self._name)
            if found is None:
                # Opening it would make an empty one.
                raise UnavailableError(_MISSING, _MISSING_RETRY_SECONDS)
            if found != self._known:
                self._follow()
                self._known = found
                self.replacements += 1
                _log.warning("%s was replaced; the new file is used from now on.", self._path)

    def check_connection(self, connection: Connection) -> None:
        """Make sure that a connection is to the file that has the name.

        :raises UnavailableError: if it is not
        """
        if connection.info.get(_FILE) != identity(self._name):
            connection.invalidate()
            # At once, for until then the old log lies beside the new file.
            self.check()
            raise UnavailableError(_REPLACED, _REPLACED_RETRY_SECONDS)

    def remember_log(self) -> None:
        """Remember which files of a write-ahead log belong to this database."""
        self._known_beside = tuple(map(identity, self._beside))

    def _follow(self) -> None:
        if self._keeper is not None:
            _kept.append(self._keeper)
            self._keeper = None
        self._close_idle()
        self._engine.dispose()
        for path, known in zip(self._beside, self._known_beside, strict=True):
            if known is not None and identity(path) == known:
                with suppress(OSError):
                    path.unlink()

    def _keep_open(self) -> None:
        """Keep a connection of our own to the file that has the name now.

        The last connection to be closed takes the log away by its name, which may be another one's by then. From Python
        3.12 on each connection is told not to.
        """
        with suppress(sqlite3.Error):
            keeper = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?mode=rw",
                uri=True,
                timeout=0,
                check_same_thread=False,
            )
            self._keeper = keeper
            # It has no part in the log before it has read something.
            keeper.execute("SELECT count(*) FROM sqlite_master").fetchall()

    def close(self) -> None:
        """Close what is kept open, when nothing is to be asked any more."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if identity(self._name) == self._known:
            keeper.close()
        else:
            _kept.append(keeper)

    def before_connect(self, _dialect: Any, record: Any, arguments: list[Any], options: Any) -> None:
        """Remember which file a new connection is to, and never make one where there was one."""
        record.info[_FILE] = identity(self._name)
        if self._known is not None:
            # From the second time on it is never made.
            arguments[0] = f"file:{quote(str(self._path.absolute()))}?mode=rw"
            options["uri"] = True

    def _connected(self, _connection: sqlite3.Connection, record: Any) -> None:
        found = identity(self._name)
        self.remember_log()
        if self._known is None:
            with self._changing:
                self._known = record.info[_FILE] = found
        elif record.info[_FILE] != found:
            # It was replaced at that very moment, and this may be either.
            record.info[_FILE] = None
        if self._keeper is None and sys.version_info < _NO_CHECKPOINT_SINCE:
            with self._changing:
                if self._keeper is None and identity(self._name) == self._known:
                    self._keep_open()

    def _given_back(self, connection: sqlite3.Connection | None, record: Any) -> None:
        # It was in use when its file was replaced: its pool is not there any more, and nobody would close it.
        if connection is not None and self._known is not None and record.info.get(_FILE) != self._known:
            record.invalidate()

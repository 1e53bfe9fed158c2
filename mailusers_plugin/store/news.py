"""Telling other processes at once that the directory has changed, with LISTEN and NOTIFY of PostgreSQL.

It is a hint and carries nothing: who hears it looks into the database, as everybody does now and then in any case. So
nothing is lost where a notice is, with a connection that broke or a proxy that shares connections out (PgBouncer).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from mailusers_plugin.store.database import Database

_log = logging.getLogger("mailusers_plugin")

_CHANNEL: Final = "mailusers_directory"
_LOOK_SECONDS: Final = 0.5
"""How soon the thread notices that it is to end."""
_CHECK_SECONDS: Final = 30.0
"""How often it is looked whether the connection lives: one that only listens would not notice its end."""
_AGAIN_SECONDS: Final = 2.0


_tells: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def tell(connection: Connection) -> None:
    """Let those who listen know when this transaction is committed; where nobody can, they look by themselves."""
    engine = connection.engine
    if engine not in _tells:
        _tells[engine] = _can_tell(connection)
    if _tells[engine]:
        connection.execute(select(func.pg_notify(_CHANNEL, "")))


def _can_tell(connection: Connection) -> bool:
    # What a database does not know would undo the change itself. YugabyteDB calls itself a PostgreSQL with -YB- in it.
    if connection.dialect.name != "postgresql":
        return False
    return "-YB-" not in str(connection.execute(select(func.version())).scalar_one())


class Listener:
    """Listens in a thread of its own, on a connection of its own, which is made anew whenever it breaks."""

    def __init__(self, database: Database, hear: Callable[[], None]) -> None:
        """Take what it works with.

        :param hear: called in the thread, after each notice and after each new connection
        """
        self._engine = database.engine
        self._hear = hear
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    @property
    def is_possible(self) -> bool:
        """Whether this database tells anything."""
        return self._engine.dialect.name == "postgresql"

    def start(self) -> None:
        """Begin to listen, where that is possible."""
        if self.is_possible and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mailusers-news", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End. Blocks for half a second."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        while not self._ending.is_set():
            try:
                self._listen()
            except (driver_error, SQLAlchemyError) as error:
                if not self._told:
                    self._told = True
                    # The driver's text may name the server, never the password.
                    _log.warning(
                        "The database does not tell of changes for now (%s); they are looked for instead.",
                        type(error).__name__,
                    )
                self._ending.wait(_AGAIN_SECONDS)

    def _listen(self) -> None:
        pooled = self._engine.raw_connection()
        driver: Any = pooled.dbapi_connection
        # It is not the pool's any more.
        pooled.detach()
        try:
            driver.rollback()
            driver.autocommit = True
            driver.execute(f"LISTEN {_CHANNEL}")
            self._told = False
            # What was said before is not heard.
            self._hear()
            checked = time.monotonic()
            while not self._ending.is_set():
                for _ in driver.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                    self._hear()
                if time.monotonic() - checked > _CHECK_SECONDS:
                    checked = time.monotonic()
                    driver.execute("SELECT 1")
        finally:
            pooled.close()

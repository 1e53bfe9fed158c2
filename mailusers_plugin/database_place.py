"""Where a database is, without the credentials of whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
MARIADB: Final = "mariadb"


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """What other programs must be told to find the accounts.

    :ivar engine: :data:`SQLITE`, :data:`POSTGRESQL` or :data:`MARIADB`, which MySQL counts as
    :ivar file: of SQLite
    :ivar host: name or address of the server; a path is that of a socket (MariaDB) or of the folder of one (PostgreSQL)
    :ivar port: of the server
    :ivar name: of the database on it
    """

    engine: str
    file: Path = Path()
    host: str = ""
    port: int = 0
    name: str = ""

    @property
    def is_local(self) -> bool:
        """Tell whether the server is on the panel's own machine, as far as its name says."""
        return self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")

"""Remembers on which line of a file each address stands first, however many lines there are.

In a temporary file of SQLite's own, which has no name and goes with the connection, so that the memory it takes does
not grow with the file (https://www.sqlite.org/inmemorydb.html, "Temporary Databases"). In it are keyed hashes of the
addresses and no addresses.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from hashlib import blake2b
from typing import Self

_CACHE_KIB = 16 * 1024


class SeenLines:
    """The addresses of one file; may be used from any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (address BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._connection.execute(statement)

    def first_line(self, email: str, line: int) -> int:
        """Return the line on which an address stands first, which is this one where it was not seen before."""
        digest = blake2b(email.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()
        with self._lock:
            added = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, line))
            if added.rowcount:
                return line
            found = self._connection.execute("SELECT line FROM seen WHERE address = ?", (digest,))
            return int(found.fetchone()[0])

    def close(self) -> None:
        """Forget them."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

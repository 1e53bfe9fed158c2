"""What the tests of copying share: empty databases on real servers, and a box with something in every table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert, select, text
from sqlalchemy.pool import NullPool

from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit_guard, copying, directory_search, schema
from mailusers_plugin.store.box import Store, open_box
from tests.cli.support import Shell
from tests.support import QUICK

SECRET = "the-password.of-nobody"
NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
HOSTILE = "'; DROP TABLE users; -- %s %(x)s \\ \" ` \t ünïcødé 密碼 🔑"


@dataclass
class Places:
    """Empty databases, and the console from which a box is moved between them."""

    folder: Path
    servers: dict[str, str]
    number: int = 0

    def empty(self, kind: str) -> str:
        """Return the URL of an empty database."""
        self.number += 1
        name = f"copy_{self.folder.name.replace('-', '_')[:30]}_{self.number}_{os.getpid()}".lower()
        server = create_engine(self.servers[kind], poolclass=NullPool, isolation_level="AUTOCOMMIT")
        charset = " CHARACTER SET utf8mb4" if kind == "mariadb" else ""
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}{charset}")
        return server.url.set(database=name).render_as_string(hide_password=False)

    def file(self, url: str) -> str:
        """Return the argument that names a URL by a file."""
        self.number += 1
        path = self.folder / f"url{self.number}"
        path.touch(mode=0o600)
        path.write_text(url + "\n")
        return f"file:{path}"

    def copy(self, storage: Path, source: str, target: str, **environment: str) -> str:
        """Copy, and return what was said; a refusal is an AssertionError."""
        result = Shell(storage).run("database", "copy", source, target, **environment)
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output
        return result.output

    def refusal(self, storage: Path, source: str, target: str, **environment: str) -> str:
        """Return why copying is refused."""
        result = Shell(storage).run("database", "copy", source, target, **environment)
        assert result.exit_code in (1, 75), result.output
        assert SECRET not in result.output
        return result.output


@contextmanager
def opened(storage: Path, url: str = "") -> Iterator[Store]:
    """Open a box."""
    with closing(open_box(Settings(storage_root=storage, database=url, **QUICK))) as store:
        yield store


def rows_of(connection: Connection, table: Table) -> list[tuple[Any, ...]]:
    """Return a table's rows."""
    return sorted((tuple(row) for row in connection.execute(select(table))), key=repr)


def next_number(connection: Connection) -> int:
    """Add a user; return the number."""
    result = connection.execute(insert(schema.users), {"email": "next@example.com", "password": "x"})
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def content(storage: Path, url: str = "") -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""
    found = {}
    with opened(storage, url) as store:
        for table in copying.tables():
            database = store.state if table.metadata is schema.state else store.accounts
            found[table.name] = database.read_now(rows_of, table)
    return found


def made_up(table: Table, number: int) -> dict[str, Any]:
    """Return a row in which every column has a value that some database could spoil."""
    row: dict[str, Any] = {}
    for column in table.columns:
        kind = datetime if isinstance(column.type, schema.UTCDateTime) else column.type.python_type
        length = getattr(column.type, "length", None)
        if kind is str:
            value = f"{number}{HOSTILE}"
            row[column.name] = value if length is None else (value * 4)[:length]
        elif kind is datetime:
            row[column.name] = NOW
        elif kind is date:
            row[column.name] = date(2026, 1, number + 1)
        elif kind is float:
            row[column.name] = 100 / 3 * (number + 1)
        elif column.primary_key:
            row[column.name] = number + 10
        else:
            row[column.name] = 2**62 + number if "BIG" in str(column.type) else number
    return row


def fill(storage: Path) -> None:
    """Make a box with rows in every table, and gaps behind the last of them."""
    with opened(storage) as store:
        # What is made up here is no chain of entries.
        store.state.write_now(audit_guard.lift)
        for table in copying.tables():
            database = store.state if table.metadata is schema.state else store.accounts
            rows = [made_up(table, number) for number in range(1 if table is schema.feed else 7)]
            for number, row in enumerate(rows):
                if table is schema.mfa:
                    row["user_id"] = number + 10
                if table is schema.feed:
                    # Which index of texts there is does not go along.
                    row |= {"id": 1, "search": directory_search.NONE, "builder": None}

            def put(connection: Any, table: Table = table, rows: list[dict[str, Any]] = rows) -> None:
                connection.execute(table.delete())
                connection.execute(insert(table), rows)

            database.write_now(put)
        # Rows that were there and are gone: their numbers must not come again.
        store.accounts.write_now(
            lambda connection: (
                connection.execute(
                    text("UPDATE sqlite_sequence SET seq = 4000 WHERE name IN ('users', 'mailusers_outbox')")
                ).rowcount
            )
        )

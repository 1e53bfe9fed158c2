"""The databases that the plugin takes, for repeating tests over them: a server a session, a fresh database a box.

``pytest --engine postgresql`` and ``--engine mariadb`` run the tests that :mod:`tests.engines` lists on such a server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit_guard
from tests.servers.databases import mariadb, postgresql
from tests.support import QUICK

NAMES = ("sqlite", "postgresql", "mariadb")
_BLANK = "mailusers_blank"


class Engine(Protocol):
    """Gives databases to boxes."""

    name: str

    def fresh(self) -> str:
        """Return the URL of a database with the tables of a box without users; empty for the box's own files."""
        ...

    def empty(self) -> str:
        """Return the URL of a database without any table."""
        ...

    def release(self, url: str) -> None:
        """Take a database back that was fresh; nobody has it open any more."""
        ...

    def drop(self, url: str) -> None:
        """Drop a database that was empty."""
        ...


class SQLiteEngine:
    """The box's own files."""

    name = "sqlite"

    def fresh(self) -> str:
        """Return nothing: the files come with the box."""
        return ""

    def empty(self) -> str:
        """Return nothing."""
        return ""

    def release(self, url: str) -> None:
        """Do nothing: they go with the test's folder."""

    def drop(self, url: str) -> None:
        """Do nothing: it goes with the test's folder."""


class _Server(ABC):
    """A server in which databases are made."""

    name: str

    def __init__(self, url: str, blank_folder: Path) -> None:
        """Make the database that the others are copies of.

        :param url: of the server, with a user who may make databases
        """
        self._url = make_url(url)
        self._admin = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._numbers = count(1)
        self._create(_BLANK)
        Runtime(Settings(storage_root=blank_folder / self.name, database=self._of(_BLANK), **QUICK)).close()

    def empty(self) -> str:
        """Return the URL of a database without any table."""
        name = f"mailusers_{next(self._numbers)}"
        self._create(name)
        return self._of(name)

    def drop(self, url: str) -> None:
        """Drop a database."""
        self._run(f"DROP DATABASE {make_url(url).database}")

    def _of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    @abstractmethod
    def _create(self, name: str) -> None:
        """Make a database."""

    def _run(self, *statements: str) -> None:
        with self._admin.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


class PostgreSQLEngine(_Server):
    """Copies the blank database as a template, which takes some 30 ms."""

    name = "postgresql"

    def fresh(self) -> str:
        """Return the URL of a copy of the blank one."""
        name = f"mailusers_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {_BLANK}")
        return self._of(name)

    def release(self, url: str) -> None:
        """Drop it."""
        self.drop(url)

    def _create(self, name: str) -> None:
        self._run(f"CREATE DATABASE {name}")


class MariaDBEngine(_Server):
    """Keeps databases that were used and empties their tables: making twenty tables takes longer than most tests."""

    name = "mariadb"

    def __init__(self, url: str, blank_folder: Path) -> None:
        """Make the blank database, and remember how."""
        super().__init__(url, blank_folder)
        self._unused: list[str] = []
        with self._connect(self._of(_BLANK)) as connection:
            self._tables = sorted(inspect(connection).get_table_names())
            self._made = [
                str(connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1])
                for table in self._tables
            ]
            self._filled = [table for table in self._tables if _has_rows(connection, table)]

    def fresh(self) -> str:
        """Return the URL of one that is as good as new."""
        if self._unused:
            return self._unused.pop()
        url = self.empty()
        with self._connect(url) as connection:
            for statement in ("SET foreign_key_checks = 0", *self._made):
                connection.exec_driver_sql(statement.replace("%", "%%"))
            self._fill(connection)
            audit_guard.put(connection)
        return url

    def release(self, url: str) -> None:
        """Empty its tables; drop it where it has other ones now."""
        with self._connect(url) as connection:
            if sorted(inspect(connection).get_table_names()) != self._tables:
                connection.exec_driver_sql(f"DROP DATABASE {make_url(url).database}")
                return
            connection.exec_driver_sql("SET foreign_key_checks = 0")
            query = text(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = DATABASE() AND auto_increment > 1"
            )
            counted = set(connection.execute(query).scalars())
            for table in self._tables:
                if table in counted or _has_rows(connection, table):
                    connection.exec_driver_sql(f"TRUNCATE TABLE `{table}`")
            self._fill(connection)
            # A test may have lifted them.
            audit_guard.put(connection)
        self._unused.append(url)

    def _fill(self, connection: Connection) -> None:
        for table in self._filled:
            connection.exec_driver_sql(f"INSERT INTO `{table}` SELECT * FROM {_BLANK}.`{table}`")  # noqa: S608

    def _create(self, name: str) -> None:
        self._run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")

    @contextmanager
    def _connect(self, url: str) -> Iterator[Connection]:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection


def _has_rows(connection: Connection, table: str) -> bool:
    return connection.exec_driver_sql(f"SELECT 1 FROM `{table}` LIMIT 1").first() is not None  # noqa: S608


@contextmanager
def running(name: str, folder: Path) -> Iterator[Engine]:
    """Run what is needed for one of :data:`NAMES`.

    :param folder: for what a box keeps beside its database
    """
    if name == "postgresql":
        with postgresql() as url:
            yield PostgreSQLEngine(url, folder)
    elif name == "mariadb":
        with mariadb() as url:
            yield MariaDBEngine(url, folder)
    else:
        yield SQLiteEngine()

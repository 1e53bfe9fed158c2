"""Making a box, adopting one that exists, and keeping our tables up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Float, MetaData, inspect, select, text, update
from sqlalchemy.dialects import mysql

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store import directory, directory_lines, migrate, schema, usage
from mailusers_plugin.store.database import Database
from tests.servers.box import MIAB_SCHEMA
from tests.servers.engines import Engine
from tests.servers.panel import ROOT
from tests.support import BOSS, CONSOLE, Boxes, run_sql

FOREIGN = """
CREATE TABLE other_program (id INTEGER PRIMARY KEY, note TEXT);
CREATE INDEX other_index ON other_program (note);
CREATE VIEW other_view AS SELECT email FROM users;
CREATE TRIGGER other_trigger AFTER INSERT ON other_program BEGIN SELECT 1; END;
INSERT INTO other_program (note) VALUES ('mine'), (NULL);
INSERT INTO users (email, password, extra, privileges, quota) VALUES
    ('boss@example.com', '{SHA512-CRYPT}$6$salt$hash', NULL, 'admin', '0'),
    ('üser@example.com', 'no hash', x'00ff', 'admin' || char(10) || 'other', '5G'),
    ('UPPER@Example.com', '', 'extra', '', 'lots');
INSERT INTO aliases (source, destination, permitted_senders) VALUES
    ('info@example.com', 'boss@example.com,' || char(10) || 'other@example.com', NULL);
INSERT INTO auto_aliases (source, destination) VALUES ('postmaster@example.com', 'boss@example.com');
INSERT INTO mfa (user_id, type, secret, label) VALUES (1, 'totp', 'SECRET', 'phone');
"""


@pytest.fixture
def database(engine: Engine, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    url = engine.empty()
    opened = Database(url or f"sqlite:///{tmp_path}/users.sqlite")
    yield opened
    opened.close()
    engine.drop(url)


BRANCHES: dict[str, tuple[Callable[[Connection], object], MetaData]] = {
    "accounts": (migrate.bring_accounts_up_to_date, schema.ours),
    "state": (migrate.bring_state_up_to_date, schema.state),
}


def _is_other_type(_context: Any, _inspected: Any, _column: Any, found: Any, wanted: Any) -> bool | None:
    # MariaDB makes a DOUBLE of a FLOAT(53).
    return False if isinstance(found, mysql.DOUBLE) and isinstance(wanted, Float) else None


def differences(connection: Connection, tables: MetaData | list[MetaData]) -> list[object]:
    """Return what differs between our tables and what the code says of them."""
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": _is_other_type,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or str(name).startswith(schema.PREFIX),
            "version_table": schema.VERSION_TABLE,
        },
    )
    return list(compare_metadata(context, tables))  # type: ignore[arg-type]  # several are possible


@pytest.mark.parametrize("branch", BRANCHES)
def test_migrations_equal_the_schema(database: Database, branch: str) -> None:
    """The steps of a branch, one after the other, make exactly the tables that the code works with."""
    bring_up_to_date, tables = BRANCHES[branch]
    database.write_now(bring_up_to_date)
    assert database.read_now(differences, tables) == []
    assert database.read_now(migrate.revisions) == {migrate.HEADS[branch]}


def test_both_branches_in_one_database(database: Database) -> None:
    """Where one database holds everything, both branches live beside each other."""
    for bring_up_to_date, _ in (*BRANCHES.values(), *BRANCHES.values()):
        database.write_now(bring_up_to_date)
    assert database.read_now(differences, [schema.ours, schema.state]) == []
    assert database.read_now(migrate.revisions) == set(migrate.HEADS.values())


SEEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def older_revisions() -> list[str]:
    """Return every revision that is not the newest of its branch."""
    history = ScriptDirectory.from_config(migrate.configuration()).walk_revisions()
    return sorted({script.revision for script in history} - set(migrate.HEADS.values()))


@pytest.mark.parametrize("revision", older_revisions())
def test_upgrade_from_each_older_revision(database: Database, revision: str) -> None:
    """A database that an older version left is brought to the newest, with what is in it."""
    branch, _, _ = revision.partition("_")
    bring_up_to_date, tables = BRANCHES[branch]
    names = {"accounts": "mailusers_archive", "state": "mailusers_session"}
    rows = {
        "accounts": "INSERT INTO mailusers_archive (email, quota) VALUES ('kept@example.com', '5G')",
        "state": "INSERT INTO mailusers_session (key_hash, email, kind, password_mark, created_at, used_at) "
        "VALUES ('h', 'kept@example.com', 'api', 'm', :seen, :seen)",
    }

    def leave(connection: Connection) -> None:
        schema.box.create_all(connection)
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        values = {"seen": SEEN.replace(tzinfo=None)} if branch == "state" else {}
        connection.execute(text(rows[branch]).bindparams(**values))

    database.write_now(leave)
    assert database.read_now(migrate.revisions) == {revision}
    database.write_now(bring_up_to_date)
    assert database.read_now(differences, tables) == []
    assert database.read_now(migrate.revisions) == {migrate.HEADS[branch]}
    kept = tables.tables[names[branch]]
    (row,) = database.read_now(lambda connection: connection.execute(select(kept)).all())
    assert row.email == "kept@example.com"
    if branch == "state":
        assert row.created_at == SEEN


def test_several_processes_make_the_tables_at_once(engine: Engine, tmp_path: Path) -> None:
    """Panels that are started together on an empty database all find it ready, and it is made once."""
    url = engine.empty()
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MAILUSERS_DATABASE": url,
        "MAILUSERS_DOVEADM": "",
        "MAILUSERS_STORAGE_ROOT": str(tmp_path / "box"),
    }
    if not url:
        # No command makes a box and changes nothing; the file is there before its tables.
        (tmp_path / "box" / "mail" / "mailboxes").mkdir(parents=True)
        (tmp_path / "box" / "mail" / "users.sqlite").touch()
    command = [sys.executable, "-m", "mailusers_plugin", "doctor"]
    started = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    for process in started:
        said, _ = process.communicate(timeout=60)
        assert "opens, and the hooks are in order" in said, said
    opened = Database(url or f"sqlite:///{tmp_path}/box/mail/users.sqlite")
    try:
        wanted = set(migrate.HEADS.values()) if url else {migrate.HEADS["accounts"]}
        assert opened.read_now(migrate.revisions) == wanted
    finally:
        opened.close()
        engine.drop(url)


def test_heads_are_the_newest() -> None:
    """The revisions that the code names are those at the ends of the history."""
    heads = ScriptDirectory.from_config(migrate.configuration()).get_heads()
    assert set(heads) == set(migrate.HEADS.values())


@pytest.mark.sqlite_only(reason="compares files")
def test_twice_is_once(database: Database) -> None:
    """A database that is up to date is left alone."""
    database.write_now(migrate.bring_accounts_up_to_date)
    before = dump(Path(str(database.url.database)))
    database.write_now(migrate.bring_accounts_up_to_date)
    assert dump(Path(str(database.url.database))) == before


def test_downgrade_leaves_the_box(database: Database) -> None:
    """Taking the steps back removes what is ours and nothing else."""
    database.write_now(migrate.bring_accounts_up_to_date)

    def take_back(connection: Connection) -> set[str]:
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "accounts@base")
        return set(inspect(connection).get_table_names())

    assert database.write_now(take_back) - {schema.VERSION_TABLE} == {
        "users",
        "aliases",
        "mfa",
        "auto_aliases",
    }


def dump(path: Path, ours: bool = True) -> list[str]:
    """Return all statements that make a database, without our own tables where these are not wanted."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if ours or schema.PREFIX not in line]


@pytest.mark.sqlite_only(reason="Mail-in-a-Box knows SQLite only")
def test_new_box_is_a_mail_in_a_box(database: Database, tmp_path: Path) -> None:
    """A box that is made here has Mail-in-a-Box's own tables, column by column."""
    database.write_now(migrate.bring_accounts_up_to_date)
    with contextlib.closing(sqlite3.connect(tmp_path / "miab.sqlite")) as connection:
        connection.executescript(MIAB_SCHEMA)
    for table in ("users", "aliases", "mfa", "auto_aliases"):
        made, original = (
            run_sql(path, "SELECT * FROM pragma_table_info(?)", table)
            for path in (Path(str(database.url.database)), tmp_path / "miab.sqlite")
        )
        assert made == original


@pytest.mark.sqlite_only(reason="Mail-in-a-Box knows SQLite only")
async def test_adopted_box(boxes: Boxes) -> None:
    """Mounting and using the plugin leaves rows, columns and other programs' tables of a box as they were."""
    storage = boxes.storage()
    path = storage / "mail" / "users.sqlite"
    for left in path.parent.glob("users.sqlite*"):
        left.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(MIAB_SCHEMA + FOREIGN)
    before = dump(path)
    box = await boxes.open(storage)
    assert dump(path, ours=False) == before
    await box.api.get("/admin/mail/users", format="json")
    await box.add("new@example.com")
    await box.service.set_quota(CONSOLE, "new@example.com", "1G")
    await box.service.archive(CONSOLE, "new@example.com")
    await box.handle.stop()
    after = dump(path, ours=False)
    assert [line for line in after if "sqlite_sequence" not in line] == [
        line for line in before if "sqlite_sequence" not in line
    ]


async def test_other_programs_write_beside_us(boxes: Boxes) -> None:
    """Rows that others insert or delete while we run count at once."""
    box = await boxes.open()
    box.sql("INSERT INTO users (email, password, privileges) VALUES (?, '{PLAIN}a password', 'admin')", BOSS)
    client = box.basic(BOSS, "a password")
    assert (await client.get("/admin/mail/users")).text == f"{BOSS}\n"
    box.sql("DELETE FROM users")
    assert (await client.get("/admin/mail/users")).status == 401


@pytest.mark.sqlite_only(reason="Mail-in-a-Box knows SQLite only")
async def test_box_without_quota(boxes: Boxes) -> None:
    """A box that is too old is refused with what is missing and what to do, and left as it was."""
    storage = boxes.storage()
    path = storage / "mail" / "users.sqlite"
    for left in path.parent.glob("users.sqlite*"):
        left.unlink()
    run_sql(
        path, "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, password TEXT, extra, privileges TEXT)"
    )
    before = dump(path)
    with pytest.raises(ConfigurationError) as raised:
        await boxes.open(storage)
    assert raised.value.message.startswith(
        "The users table has no column quota. It is older than Mail-in-a-Box"
    )
    assert "ALTER TABLE users ADD COLUMN quota" in raised.value.message
    assert dump(path) == before


def test_newer_version_was_here(database: Database) -> None:
    """A database of a newer version is refused rather than damaged."""
    database.write_now(migrate.bring_accounts_up_to_date)
    database.write_now(
        lambda connection: connection.execute(update(schema.version).values(version_num="9999")).rowcount
    )
    with pytest.raises(ConfigurationError, match="newer version of mailusers_plugin"):
        database.write_now(migrate.bring_accounts_up_to_date)


@pytest.mark.sqlite_only(reason="MariaDB commits each table that it makes")
def test_failed_migration_leaves_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails is taken back with all before it, the box's tables included."""

    def fail(*_: object) -> None:
        raise RuntimeError("half way")

    upgrade = command.upgrade

    def upgrade_then_fail(*args: object) -> None:
        upgrade(*args)  # type: ignore[arg-type]
        fail()

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", upgrade_then_fail)
        with pytest.raises(RuntimeError):
            database.write_now(migrate.bring_accounts_up_to_date)
    assert database.read_now(lambda connection: inspect(connection).get_table_names()) == []
    database.write_now(migrate.bring_accounts_up_to_date)


def test_the_directory_is_made_anew(database: Database) -> None:
    """A directory of before has no encoded lines: it is emptied, pages are told to read all, nothing else is lost."""

    def as_it_was(connection: Connection) -> None:
        config = migrate.configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "state_0004")
        for statement in (
            "INSERT INTO mailusers_directory (email, domain, archived, privileges, is_admin, limit_bytes, box_bytes, "
            "percent, purging) VALUES ('a@example.com', 'example.com', 0, '', 0, 1, 1, 100, 0)",
            "INSERT INTO mailusers_changed (seq, email, kind) VALUES (7, 'a@example.com', 'line')",
            "UPDATE mailusers_feed SET newest = 7, built_at = '2026-01-01 00:00:00'",
            "INSERT INTO mailusers_usage VALUES ('a@example.com', 5, 1, 0, '2026-01-01 00:00:00')",
        ):
            connection.exec_driver_sql(statement)

    database.write_now(as_it_was)
    database.write_now(migrate.bring_state_up_to_date)
    assert not database.read_now(directory_lines.is_built)
    assert database.read_now(directory_lines.newest_change) == 7
    assert database.read_now(directory_lines.changes, 3, 10) is None
    assert database.read_now(directory.entries, ["a@example.com"]) == {}
    assert database.read_now(usage.known).keys() == {"a@example.com"}

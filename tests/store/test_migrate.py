"""Making a box, adopting one that exists, and keeping our tables up to date."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store import migrate, schema
from mailusers_plugin.store.database import Database
from tests.servers.box import MIAB_SCHEMA
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
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    opened = Database(f"sqlite:///{tmp_path}/users.sqlite")
    yield opened
    opened.close()


BRANCHES = {
    "accounts": (migrate.bring_accounts_up_to_date, schema.ours),
    "state": (migrate.bring_state_up_to_date, schema.state),
}


def differences(connection: Connection, tables: MetaData | list[MetaData]) -> list[object]:
    """Return what differs between our tables and what the code says of them."""
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
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


def test_heads_are_the_newest() -> None:
    """The revisions that the code names are those at the ends of the history."""
    heads = ScriptDirectory.from_config(migrate.configuration()).get_heads()
    assert set(heads) == set(migrate.HEADS.values())


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
    run_sql(Path(str(database.url.database)), "UPDATE mailusers_alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer version of mailusers_plugin"):
        database.write_now(migrate.bring_accounts_up_to_date)


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

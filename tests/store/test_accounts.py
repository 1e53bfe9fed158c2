"""Reading and changing the users table, beside whatever other programs put into it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from mailusers_plugin.errors import UnknownUserError, UserExistsError
from mailusers_plugin.models import Account, Actor
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts, schema
from mailusers_plugin.store.database import Database
from tests.support import BOSS, USER

ACCOUNT = Account(USER, "{PLAIN}x", ("admin", "other"), "5G")


@pytest.fixture
def database(runtime: Runtime) -> Database:
    """A box without users."""
    return runtime.database


def test_round_trip(database: Database) -> None:
    """An account is found as it was added."""
    database.write_now(accounts.add, ACCOUNT)
    assert database.read_now(accounts.find, USER) == ACCOUNT
    assert database.read_now(accounts.get, USER) == ACCOUNT
    assert database.read_now(accounts.any_exists)


def test_unknown(database: Database) -> None:
    """Nobody is found in an empty box, and addresses are compared exactly."""
    assert database.read_now(accounts.find, USER) is None
    assert not database.read_now(accounts.any_exists)
    database.write_now(accounts.add, ACCOUNT)
    for email in (USER.upper(), USER + " ", "%"):
        with pytest.raises(UnknownUserError):
            database.read_now(accounts.get, email)


def test_twice(database: Database) -> None:
    """An address is there once."""
    database.write_now(accounts.add, ACCOUNT)
    with pytest.raises(UserExistsError):
        database.write_now(accounts.add, ACCOUNT)
    assert database.read_now(accounts.addresses) == [USER]


def test_remove_takes_second_factors_along(database: Database) -> None:
    """Removing an account removes its second factors, and nobody else's."""
    database.write_now(accounts.add, ACCOUNT)
    database.write_now(accounts.add, Account(BOSS, "x", (), "0"))
    factors = [{"user_id": user_id, "type": "totp", "secret": "x"} for user_id in (1, 2)]
    database.write_now(lambda connection: connection.execute(insert(schema.mfa), factors).rowcount)
    database.write_now(accounts.remove, USER)
    left = database.read_now(
        lambda connection: connection.execute(select(schema.mfa.c.user_id)).scalars().all()
    )
    assert left == [2]
    assert database.read_now(accounts.addresses) == [BOSS]


@pytest.mark.parametrize(
    ("stored", "is_admin"),
    [
        ("admin", True),
        ("other\nadmin", True),
        ("admin\n", True),
        ("", False),
        ("administrator", False),
        ("Admin", False),
    ],
)
def test_administrators(database: Database, stored: str, is_admin: bool) -> None:
    """Who has the privilege on a line of its own is an administrator."""
    database.write_now(accounts.add, Account(USER, "x", tuple(stored.split("\n")), "0"))
    assert database.read_now(accounts.administrators) == ((USER,) if is_admin else ())


@pytest.mark.sqlite_only(reason="asks for SQLite's plan")
def test_administrators_are_found_by_an_index(database: Database) -> None:
    """Finding the administrators does not read every user."""
    plan = database.read_now(
        lambda connection: connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT email, privileges FROM users WHERE privileges != ''"
        ).all()
    )
    assert "mailusers_users_privileged" in str(plan)


def test_changes_touch_one_account(database: Database) -> None:
    """A change of one account leaves the others as they are."""
    other = Account(BOSS, "{PLAIN}y", ("admin",), "1G")
    database.write_now(accounts.add, ACCOUNT)
    database.write_now(accounts.add, other)
    database.write_now(accounts.set_quota, USER, "0")
    database.write_now(accounts.set_privileges, USER, ("a", "b"))
    database.write_now(accounts.set_password, USER, "{PLAIN}new")
    assert database.read_now(accounts.get, USER) == Account(USER, "{PLAIN}new", ("a", "b"), "0")
    assert database.read_now(accounts.get, BOSS) == other


def test_hash_is_replaced_unless_it_changed(database: Database) -> None:
    """A stronger hash takes the place of the one that was verified, and of no other."""
    database.write_now(accounts.add, ACCOUNT)
    assert not database.write_now(accounts.replace_hash, USER, "{PLAIN}other", "new")
    assert database.write_now(accounts.replace_hash, USER, "{PLAIN}x", "new")
    assert database.read_now(accounts.get, USER).password_hash == "new"


def test_order(database: Database) -> None:
    """Addresses come by domain, then address."""
    for email in ("b@b.example.com", "a@b.example.com", "z@a.example.com"):
        database.write_now(accounts.add, Account(email, "x", (), "0"))
    wanted = ["z@a.example.com", "a@b.example.com", "b@b.example.com"]
    assert database.read_now(accounts.addresses) == wanted


def test_archive_record(database: Database) -> None:
    """Who archived what and when is kept, the last time counts, and it can be forgotten."""
    for hour, name in ((1, "first@example.com"), (2, BOSS)):
        database.write_now(
            accounts.keep_archived, ACCOUNT, Actor(name, "basic"), datetime(2030, 1, 1, hour, tzinfo=UTC)
        )
    record = database.read_now(accounts.archive_record, USER)
    assert record is not None
    assert (record.archived_by, record.archived_via, record.quota) == (BOSS, "basic", "5G")
    assert record.archived_at == datetime(2030, 1, 1, 2, tzinfo=UTC)
    assert record.privileges == "admin\nother"
    database.write_now(accounts.forget_archived, USER)
    assert database.read_now(accounts.archive_record, USER) is None


def test_purge_keeps_its_first_name(database: Database) -> None:
    """A purge that is begun again goes on under the name under which the mailbox was set aside."""
    now = datetime.now(UTC)
    assert database.write_now(accounts.begin_purge, USER, ".one", now) == ".one"
    assert database.write_now(accounts.begin_purge, USER, ".two", now) == ".one"


def test_decoy(database: Database) -> None:
    """Any number gives somebody's hash, also where rows were deleted in between, and none in an empty box."""
    assert database.read_now(accounts.decoy_hash, 7) is None
    for number in range(9):
        database.write_now(accounts.add, Account(f"u{number}@example.com", f"x{number}", (), "0"))
    for number in (2, 3, 4):
        database.write_now(accounts.remove, f"u{number}@example.com")
    found = {database.read_now(accounts.decoy_hash, number) for number in range(100)}
    assert found == {"x0", "x1", "x5", "x6", "x7", "x8"}

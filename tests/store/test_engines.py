"""The use cases on every database that the plugin takes: SQLite, and real PostgreSQL and MariaDB servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mailusers_plugin.auth.authenticator import COOKIE
from mailusers_plugin.errors import ForbiddenChangeError, InvalidInputError, UserExistsError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit, schema
from mailusers_plugin.store.database import Connection
from tests.servers.databases import mariadb, postgresql
from tests.support import BOSS, CONSOLE, PASSWORD, QUICK, USER

OTHER = "other@example.org"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """The URLs of the servers, which run as long as this module's tests."""
    with postgresql() as postgresql_url, mariadb() as mariadb_url:
        yield {"sqlite": "", "postgresql": postgresql_url, "mariadb": mariadb_url}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def runtime(request: pytest.FixtureRequest, servers: dict[str, str], tmp_path: Path) -> Iterator[Runtime]:
    """A box without users on one of them."""
    settings = Settings(storage_root=tmp_path / "box", database=servers[request.param], **QUICK)
    opened = Runtime(settings)
    yield opened
    opened.close()
    if settings.database:
        drop_everything(settings)


def drop_everything(settings: Settings) -> None:
    """Leave an empty database to the next test."""
    runtime = Runtime(settings)

    def drop(connection: Connection) -> None:
        schema.state.drop_all(connection)
        schema.ours.drop_all(connection)
        schema.box.drop_all(connection)
        connection.execute(text(f"DROP TABLE {schema.VERSION_TABLE}"))

    runtime.database.write_now(drop)
    runtime.close()


async def fill(runtime: Runtime) -> None:
    """Add an administrator and a user."""
    await runtime.service.add(CONSOLE, BOSS, PASSWORD, (ADMIN,))
    await runtime.service.add(CONSOLE, USER, PASSWORD, (), "1G")


async def test_life_of_a_user(runtime: Runtime) -> None:
    """Adding, changing, archiving, restoring and purging work, and each is told of once, in order."""
    await runtime.dispatcher.start()
    await fill(runtime)
    service = runtime.service
    with pytest.raises(UserExistsError):
        await service.add(CONSOLE, USER, PASSWORD)
    with pytest.raises(InvalidInputError):
        await service.add(CONSOLE, USER.upper(), PASSWORD)
    await service.set_quota(CONSOLE, USER, "2G")
    await service.add_privileges(CONSOLE, USER, (ADMIN,))
    await service.remove_privileges(CONSOLE, USER, (ADMIN,))
    await service.set_password(CONSOLE, USER, "another fine password")
    await service.archive(CONSOLE, USER)
    (domain,) = await runtime.listing.domains()
    assert [user.email for user in domain.users] == [BOSS]
    assert [(user.email, user.quota) for user in domain.archived] == [(USER, "2G")]
    await service.add(CONSOLE, USER, PASSWORD)
    await service.archive(CONSOLE, USER)
    change = await service.purge(CONSOLE, USER, USER)
    assert await service.wait_for_hooks(change, 30)
    assert await service.addresses() == [BOSS]
    entries = (await runtime.state.read(audit.newest, 100))[::-1]
    told = [(entry["type"], entry.get("restored")) for entry in entries if entry["email"] == USER]
    assert told == [
        ("UserAdded", False),
        ("QuotaChanged", None),
        ("PrivilegesChanged", None),
        ("PrivilegesChanged", None),
        ("PasswordChanged", None),
        ("UserArchived", None),
        ("UserAdded", True),
        ("UserArchived", None),
        ("UserPurged", None),
    ]
    await runtime.dispatcher.stop()


async def test_addresses_are_compared_exactly(runtime: Runtime) -> None:
    """Neither case nor trailing spaces make one address of two, as they do in MariaDB by default."""
    await fill(runtime)
    for email in (USER.upper(), USER + " ", " " + USER):
        assert await runtime.listing.user(email) is None
    assert await runtime.listing.user(USER) is not None


async def test_the_last_administrator_stays(runtime: Runtime) -> None:
    """Of two administrators who are demoted at once exactly one is, every time."""
    await fill(runtime)
    service = runtime.service
    for _ in range(5):
        await service.add_privileges(CONSOLE, USER, (ADMIN,))
        await service.add_privileges(CONSOLE, BOSS, (ADMIN,))
        results = await asyncio.gather(
            service.remove_privileges(CONSOLE, BOSS, (ADMIN,)),
            service.remove_privileges(CONSOLE, USER, (ADMIN,)),
            return_exceptions=True,
        )
        assert [type(result) for result in results].count(ForbiddenChangeError) == 1


async def test_one_of_many_adds_an_address(runtime: Runtime) -> None:
    """Of many who add the same address at once one succeeds; the others are told that it exists."""
    adds = [runtime.service.add(CONSOLE, OTHER, PASSWORD) for _ in range(8)]
    results = await asyncio.gather(*adds, return_exceptions=True)
    assert [type(result) for result in results].count(UserExistsError) == 7
    assert await runtime.service.addresses() == [OTHER]


async def test_sessions(runtime: Runtime) -> None:
    """A session works until the password changes."""
    await fill(runtime)
    authenticator = runtime.authenticator()
    key = await authenticator.open_session(await authenticator.by_password(BOSS, PASSWORD), COOKIE)
    identity = await authenticator.by_cookie(key)
    assert identity is not None
    assert identity.name == BOSS
    await runtime.service.set_password(CONSOLE, BOSS, "another fine password")
    assert await authenticator.by_cookie(key) is None


async def test_opening_twice_is_opening_once(runtime: Runtime) -> None:
    """A second process finds the box as the first one left it."""
    await fill(runtime)
    again = await asyncio.to_thread(Runtime, runtime.settings)
    try:
        assert await again.service.addresses() == [BOSS, USER]
    finally:
        again.close()

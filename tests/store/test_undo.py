"""What is kept for undoing an archive, on every database that the plugin takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from mailusers_plugin.errors import RestoreConsentError, UndoOverError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts, schema
from mailusers_plugin.store.database import Connection
from tests.support import BOSS, CONSOLE, PASSWORD, USER

FACTOR = ("totp", "SECRET", None, "phone ☎")


def give_factor(connection: Connection) -> None:
    """Give the user a second factor, as Mail-in-a-Box does."""
    user_id = connection.execute(select(schema.users.c.id).where(schema.users.c.email == USER)).scalar_one()
    kind, secret, token, label = FACTOR
    connection.execute(
        insert(schema.mfa).values(user_id=user_id, type=kind, secret=secret, mru_token=token, label=label)
    )


def factors(connection: Connection) -> list[tuple[object, ...]]:
    """Return the user's second factors."""
    table = schema.mfa.c
    query = select(table.type, table.secret, table.mru_token, table.label)
    joined = query.join(schema.users, schema.users.c.id == table.user_id)
    return [tuple(row) for row in connection.execute(joined.where(schema.users.c.email == USER))]


async def archive(runtime: Runtime) -> None:
    """Add a user with a second factor and archive it."""
    await runtime.service.add(CONSOLE, BOSS, PASSWORD, (ADMIN,))
    await runtime.service.add(CONSOLE, USER, PASSWORD, (), "1G")
    await runtime.database.write(give_factor)
    await runtime.service.archive(CONSOLE, USER)


def end_time(connection: Connection) -> None:
    """Let the time be over."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    connection.execute(update(schema.archive).values(kept_until=past))


async def test_undo(runtime: Runtime) -> None:
    """The account comes back with its hash and its second factors."""
    await archive(runtime)
    assert await runtime.database.read(factors) == []
    await runtime.service.undo_archive(CONSOLE, USER)
    account = await runtime.service.account(USER)
    assert (await runtime.passwords.verify(PASSWORD, account.password_hash)).matches
    assert account.quota == "1G"
    assert await runtime.database.read(factors) == [FACTOR]
    assert await runtime.database.read(accounts.archive_record, USER) is None


async def test_the_end_of_the_time(runtime: Runtime) -> None:
    """After its time the hash is refused, then wiped; the rest of the note stays."""
    await archive(runtime)
    await runtime.database.write(end_time)
    with pytest.raises(UndoOverError):
        await runtime.service.undo_archive(CONSOLE, USER)
    await runtime.wipe_kept()
    record = await runtime.database.read(accounts.archive_record, USER)
    assert record is not None
    assert (record.kept, record.kept_until, record.quota) == (None, None, "1G")


async def test_consent(runtime: Runtime) -> None:
    """Without consent an archived address is not added."""
    await archive(runtime)
    with pytest.raises(RestoreConsentError):
        await runtime.service.add(CONSOLE, USER, PASSWORD, restore=False)
    await runtime.service.add(CONSOLE, USER, PASSWORD, restore=True)

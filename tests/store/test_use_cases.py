"""The use cases, on whatever database."""

from __future__ import annotations

import asyncio
import base64

import orjson
import pytest

from mailusers_plugin.auth.authenticator import COOKIE
from mailusers_plugin.errors import ForbiddenChangeError, InvalidInputError, UserExistsError
from mailusers_plugin.models import ADMIN, Actor, Selection
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import audit
from tests.support import BOSS, CONSOLE, PASSWORD, USER
from tests.trail_support import events_in

OTHER = "other@example.org"


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
    entries = events_in(await runtime.state.read(audit.newest, 100))
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


async def test_a_line_too_long_is_left_out(runtime: Runtime) -> None:
    """A line of an imported file that no column could hold is left out like any other that is wrong."""
    actor = Actor(BOSS, "cookie")
    content = f"{'a' * 300}@example.com\n{USER},{PASSWORD}\n".encode()
    job_id = await runtime.imports.upload(actor, "users.csv", content)
    await runtime.imports.run(actor, job_id, leave_out=True, restore=None)
    view = await runtime.imports.view(job_id)
    assert view is not None
    assert view.held is not None
    assert view.held.task is not None
    await view.held.task
    assert await runtime.service.addresses() == [USER]


async def test_what_no_column_holds_on_the_disk(runtime: Runtime) -> None:
    """Folders too long for an address and sizes beyond all bounds keep nobody from the list."""
    await fill(runtime)
    root = runtime.mailboxes.root
    (root / ("d" * 200 + ".example") / ("l" * 200)).mkdir(parents=True)
    for email, size in ((USER, 2**63 + 5), (BOSS, 1000)):
        local_part, _, domain = email.partition("@")
        (root / domain / local_part).mkdir(parents=True)
        (root / domain / local_part / "maildirsize").write_text(f"0S\n{size} 1\n")
    await asyncio.to_thread(runtime.refresh_usage)
    entries = await runtime.directory.entries([BOSS, USER])
    assert entries[USER].usage is None
    assert entries[BOSS].usage is not None
    assert (await runtime.directory.count(Selection())).active == 2


async def test_cursor_of_other_types(runtime: Runtime) -> None:
    """A cursor that somebody made up is refused on every database."""
    await fill(runtime)
    made_up = base64.urlsafe_b64encode(orjson.dumps([False, "domain", "a", True, "b"])).decode().rstrip("=")
    with pytest.raises(InvalidInputError):
        await runtime.directory.page(Selection(), "email", made_up)

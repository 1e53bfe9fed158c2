"""What ends a session: a lost privilege, a new password, an archive, by any process or program; and the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin.auth.authenticator import API, COOKIE, hash_key
from mailusers_plugin.models import ADMIN
from mailusers_plugin.store import sessions
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client, stored_time

ROWS = "SELECT email FROM mailusers_session"
HERE = "2001:db8::7"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def begin(box: Box, email: str, kind: str = COOKIE) -> str:
    """Log in from a known place."""
    account = await box.service.account(email)
    return await box.runtime.authenticator().open_session(account, kind, ip=HERE, agent=AGENT)


async def is_over(box: Box, key: str) -> bool:
    """Tell whether a browser's session has ended."""
    return await box.runtime.authenticator().by_cookie(key) is None


@pytest.fixture
def demotable(io_loop: object, box: Box, admin: Client) -> str:
    """The address of a second administrator."""
    io_loop.run_sync(lambda: box.add(USER, (ADMIN,)))  # type: ignore[attr-defined]
    return USER


async def demote(box: Box) -> None:
    """Take the privilege away."""
    await box.service.remove_privileges(CONSOLE, USER, (ADMIN,))


async def demote_by_another_program(box: Box) -> None:
    """Take the privilege away in the database."""
    box.sql("UPDATE users SET privileges = '' WHERE email = ?", USER)


async def set_password(box: Box) -> None:
    """Set the very same password again."""
    await box.service.set_password(CONSOLE, USER, PASSWORD)


async def set_password_by_another_program(box: Box) -> None:
    """Set a password in the database."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{PLAIN}another", USER)


async def archive(box: Box) -> None:
    """Archive the user."""
    await box.service.archive(CONSOLE, USER)


async def delete_by_another_program(box: Box) -> None:
    """Delete the user in the database."""
    box.sql("DELETE FROM users WHERE email = ?", USER)


ENDS = [
    demote,
    demote_by_another_program,
    set_password,
    set_password_by_another_program,
    archive,
    delete_by_another_program,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: str(end.__name__))
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
async def test_what_ends_it(boxes: Boxes, box: Box, demotable: str, end: object, elsewhere: bool) -> None:
    """Each of these ends every session of the user at once, whichever process or program did it, and no other's."""
    keys = [await begin(box, USER), await begin(box, USER)]
    other = await begin(box, BOSS)
    assert not await is_over(box, keys[0])
    where = await boxes.open(box.storage) if elsewhere else box
    await end(where)  # type: ignore[operator]
    assert [await is_over(box, key) for key in keys] == [True, True]
    assert not await is_over(box, other)


@pytest.mark.parametrize("end", [demote, set_password, archive], ids=lambda end: str(end.__name__))
async def test_nothing_brings_it_back(box: Box, demotable: str, end: object) -> None:
    """A session that ended stays so when the privilege, or the user with the old password, comes back."""
    key = await begin(box, USER)
    await end(box)  # type: ignore[operator]
    assert box.state_sql(ROWS) == []
    if end is demote:
        await box.service.add_privileges(CONSOLE, USER, (ADMIN,))
    elif end is archive:
        await box.service.undo_archive(CONSOLE, USER)
    assert await is_over(box, key)


async def test_a_new_privilege_ends_nothing(box: Box, user: str) -> None:
    """Who is given a privilege stays logged in, and has it."""
    key = await begin(box, USER)
    await box.service.add_privileges(CONSOLE, USER, (ADMIN,))
    identity = await box.runtime.authenticator().by_cookie(key)
    assert identity is not None
    assert identity.privileges == (ADMIN,)


async def test_one_of_before_the_column_goes_on(box: Box, demotable: str) -> None:
    """A session that an older version began, which does not know the privileges of then, stays."""
    key = await begin(box, USER)
    box.state_sql(
        "UPDATE mailusers_session SET privileges = NULL, address = NULL, network = NULL, agent = NULL"
    )
    assert not await is_over(box, key)
    (session,) = await box.runtime.authenticator().live_sessions(USER)
    assert (session.address, session.agent) == (None, None)


async def test_the_list(box: Box, demotable: str) -> None:
    """It has what a user must know of a session, and none that has ended in whatever way."""
    await begin(box, BOSS)
    await begin(box, USER, API)
    authenticator = box.runtime.authenticator()
    (session,) = await authenticator.live_sessions(USER)
    assert (session.kind, session.address, session.network, session.agent) == (
        API,
        HERE,
        "2001:db8::/64",
        AGENT,
    )
    assert session.password_mark not in sessions.id_of(session)
    assert len(await authenticator.live_sessions(None)) == 2
    for statement in (
        "UPDATE mailusers_session SET used_at = ? WHERE email = ?",
        "UPDATE mailusers_session SET created_at = ? WHERE email = ?",
    ):
        box.state_sql("UPDATE mailusers_session SET used_at = ?", stored_time(datetime.now(UTC)))
        box.state_sql(statement, stored_time(datetime.now(UTC) - timedelta(days=15)), USER)
        assert await authenticator.live_sessions(USER) == []
    box.state_sql("UPDATE mailusers_session SET created_at = ?", stored_time(datetime.now(UTC)))
    box.state_sql("UPDATE mailusers_session SET used_at = ?", stored_time(datetime.now(UTC)))
    assert len(await authenticator.live_sessions(USER)) == 1
    await demote_by_another_program(box)
    assert await authenticator.live_sessions(USER) == []


async def test_what_a_client_calls_itself(box: Box, demotable: str) -> None:
    """Whatever a client calls itself is stored in a form that does no harm."""
    account = await box.service.account(USER)
    hostile = "\x1b[2J\n<script>\0" + "😀" * 400
    await box.runtime.authenticator().open_session(account, API, ip=HERE, agent=hostile)
    (session,) = await box.runtime.authenticator().live_sessions(USER)
    assert session.agent is not None
    assert session.agent.startswith("?[2J?<script>?😀")
    assert len(session.agent) == 255


async def test_ending_one(box: Box, demotable: str) -> None:
    """One can be ended by what it is called, by its own user only."""
    key, other = await begin(box, USER), await begin(box, USER)
    authenticator = box.runtime.authenticator()
    found = {session.key_hash: session for session in await authenticator.live_sessions(USER)}
    name = sessions.id_of(found[hash_key(key)])
    assert not await authenticator.end_session_by_id(BOSS, name)
    assert not await authenticator.end_session_by_id(USER, "0" * 16)
    assert await authenticator.end_session_by_id(USER, name)
    assert [await is_over(box, key), await is_over(box, other)] == [True, False]
    assert await authenticator.end_sessions(USER, besides=hash_key(other)) == 0
    assert await authenticator.end_sessions(USER) == 1

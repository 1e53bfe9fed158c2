"""Log-ins that have the password and lack the code, over each database: how long they last, and how many codes."""

from __future__ import annotations

import asyncio

import pytest

from mailusers_plugin.auth.authenticator import mark_login
from mailusers_plugin.auth.half_logins import HalfLoginOverError
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.models import ADMIN
from tests.factor_support import OTHER_SECRET, WRONG, code, set_up
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Client, basic

MISSING = "^missing-totp-token$"
INVALID = "^invalid-totp-token$"


async def half(box: Box) -> str:
    """Give the password of somebody with a second factor."""
    authenticator = box.runtime.authenticator()
    account = await authenticator.check_password(BOSS, PASSWORD)
    return await authenticator.half_logins.begin(account.email, mark_login(account))


async def test_password_and_code_one_after_the_other(box: Box, admin: Client) -> None:
    """With the key that stands for the password a code logs in once; the key is stored nowhere and is no session."""
    set_up(box)
    authenticator = box.runtime.authenticator()
    key = await half(box)
    assert key not in str(box.state_sql("SELECT * FROM mailusers_half_login"))
    assert await authenticator.by_cookie(key) is None
    with pytest.raises(LoginRefusedError):
        await authenticator.by_header(basic(BOSS, key))
    with pytest.raises(LoginRefusedError, match=MISSING):
        await authenticator.finish_half_login(key, " ")
    with pytest.raises(LoginRefusedError, match=INVALID):
        await authenticator.finish_half_login(key, WRONG)
    assert (await authenticator.finish_half_login(key, code())).email == BOSS
    for made_up in (key, "0" * 64, "", "junk"):
        with pytest.raises(HalfLoginOverError):
            await authenticator.finish_half_login(made_up, code(1))


async def test_few_codes_may_be_tried(box: Box, admin: Client) -> None:
    """After five wrong codes for one password the right one does not help either, also where all came at once."""
    set_up(box)
    authenticator = box.runtime.authenticator()
    key = await half(box)
    tries = [authenticator.finish_half_login(key, WRONG) for _ in range(12)]
    found = [type(result) for result in await asyncio.gather(*tries, return_exceptions=True)]
    assert found.count(LoginRefusedError) == 5
    with pytest.raises(HalfLoginOverError):
        await authenticator.finish_half_login(key, code())


@pytest.mark.parametrize("change", ["time", "password", "factor", "archive"])
async def test_half_a_log_in_ends(box: Box, admin: Client, user: str, change: str) -> None:
    """The password is asked for again after ten minutes, or when the account is not what it was."""
    await box.service.add_privileges(CONSOLE, USER, (ADMIN,))
    set_up(box)
    key = await half(box)
    if change == "time":
        box.state_sql("UPDATE mailusers_half_login SET created_at = '2020-01-01 00:00:00.000000'")
    elif change == "password":
        await box.service.set_password(CONSOLE, BOSS, "another password")
    elif change == "factor":
        set_up(box, secret=OTHER_SECRET)
    else:
        await box.service.archive(CONSOLE, BOSS)
    with pytest.raises(HalfLoginOverError):
        await box.runtime.authenticator().finish_half_login(key, code())
    await half_of_another(box)


async def half_of_another(box: Box) -> None:
    """See that a new one sweeps away those that are over."""
    await box.runtime.authenticator().half_logins.begin(USER, "x")
    old = box.state_sql("SELECT email FROM mailusers_half_login WHERE created_at < '2021-01-01 00:00:00'")
    assert old == []

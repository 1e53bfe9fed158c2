"""Mail-in-a-Box's endpoints for second factors."""

from __future__ import annotations

import base64

import pytest

from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from tests.factor_support import OTHER_SECRET, SECRET, WRONG, code, rows, set_up
from tests.support import BOSS, PASSWORD, USER, XSRF, Box, Client

STATUS = "/admin/mfa/status"
ENABLE = "/admin/mfa/totp/enable"
DISABLE = "/admin/mfa/disable"
USERS = "/admin/mail/users"


async def test_from_nothing_to_a_log_in(box: Box, admin: Client) -> None:
    """What a client of Mail-in-a-Box does: ask for a secret, enable it with its first code, log in with the next."""
    answer = await admin.post(STATUS)
    assert (answer.status, answer.type) == (200, "application/json")
    content = answer.json()
    assert content["enabled_mfa"] == []
    offered = content["new_mfa"]["totp"]
    assert offered["type"] == "totp"
    assert base64.b64decode(offered["qr_code_base64"]).startswith(b"\x89PNG\r\n")
    secret = offered["secret"]
    assert len(secret) == 32
    now = code(secret=secret)
    answer = await admin.post(ENABLE, secret=secret, token=now, label="phone")
    assert (answer.status, answer.text, answer.type) == (200, "OK", "text/plain; charset=utf-8")
    assert rows(box) == [("totp", secret, now, "phone")]
    assert (await admin.post(STATUS)).status == 401
    assert (await admin.sending(X_Auth_Token=code(1, secret)).post(STATUS)).status == 200
    assert box.state_sql("SELECT * FROM mailusers_recovery_code") == []


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"secret": SECRET}, "Bad Input"),
        ({"token": "123456"}, "No secret provided."),
        ({"secret": "abc", "token": "123456"}, "Secret should be a 32 characters base32 string"),
        ({"secret": SECRET, "token": WRONG}, "Invalid token."),
    ],
)
async def test_enable_refused(box: Box, admin: Client, form: dict[str, str], text: str) -> None:
    """What is wrong is said in the words of Mail-in-a-Box, and nothing is stored."""
    answer = await admin.post(ENABLE, **form)
    assert (answer.status, answer.text) == (400, text)
    assert rows(box) == []


async def test_the_session_goes_on(box: Box, admin: Client) -> None:
    """The session key with which it was enabled or disabled stays good, all others of the user end."""
    own, other = await box.session_key(BOSS), await box.session_key(BOSS)
    client = box.basic(BOSS, own)
    assert (await client.post(ENABLE, secret=SECRET, token=code(), label="")).text == "OK"
    assert (await client.get(USERS)).status == 200
    assert (await box.basic(BOSS, other).get(USERS)).status == 401
    other = await box.session_key(BOSS)
    assert (await client.post(DISABLE)).text == "OK"
    assert (await client.get(USERS)).status == 200
    assert (await box.basic(BOSS, other).get(USERS)).status == 401


async def test_disable(box: Box, admin: Client, user: str) -> None:
    """One is disabled by its id, all without; an administrator may do so for another user."""
    client = box.basic(BOSS, await box.session_key(BOSS))
    first, foreign = set_up(box), set_up(box, USER)
    set_up(box, secret=OTHER_SECRET)
    client = box.basic(BOSS, await box.session_key(BOSS))
    listed = (await client.post(STATUS)).json()["enabled_mfa"]
    assert listed[0] == {"id": first, "type": "totp", "label": "phone"}
    for wrong in (str(foreign), "0", "999999", "9" * 30, "-1", "x", "1 OR 1=1"):
        answer = await client.post(DISABLE, **{"mfa-id": wrong})
        assert (answer.status, answer.text) == (400, "Invalid user or MFA id.")
    assert (await client.post(DISABLE, **{"mfa-id": str(first)})).text == "OK"
    assert [row[1] for row in rows(box)] == [OTHER_SECRET]
    key = await box.session_key(USER)
    status = (await client.post(STATUS, user=USER)).json()
    assert (status["enabled_mfa"][0]["id"], "new_mfa" in status) == (foreign, False)
    assert (await client.post(DISABLE, user=USER)).text == "OK"
    assert rows(box, USER) == []
    assert (await box.basic(USER, key).post(STATUS)).text == "Incorrect email address or password.\n"
    answer = await client.post(DISABLE, user=USER)
    assert (answer.status, answer.text) == (400, "Invalid user or MFA id.")
    answer = await client.post(STATUS, user="nobody@example.com")
    assert (answer.status, answer.text) == (400, "That's not a user (nobody@example.com).")


async def test_system_key(box: Box, admin: Client) -> None:
    """The system API key has no second factor of its own, and may take away those of others."""
    set_up(box)
    assert (await box.api.post(STATUS)).status == 400
    assert (await box.api.post(ENABLE, secret=SECRET, token=code())).status == 400
    assert len((await box.api.post(STATUS, user=BOSS)).json()["enabled_mfa"]) == 1
    assert (await box.api.post(DISABLE, user=BOSS)).text == "OK"
    assert rows(box) == []


async def test_a_browser_is_asked_for_the_password(box: Box, admin: Client) -> None:
    """A session in a browser that was left alone is not enough to change how its owner logs in."""
    set_up(box)
    browser = await box.browser(BOSS)
    for form in ({}, {"password": "wrong"}):
        for path, more in ((DISABLE, {}), (ENABLE, {"secret": OTHER_SECRET, "token": code(0, OTHER_SECRET)})):
            answer = await browser.post(path, **form, **more)
            assert (answer.status, answer.text) == (400, "Send your own password as password.")
    assert len(rows(box)) == 1
    assert (await browser.post(DISABLE, password=PASSWORD)).text == "OK"
    key = await box.session_key(BOSS, "cookie")
    bare = box.nobody.sending(Cookie=f"{COOKIE_NAME}={key}; _xsrf={XSRF}")
    assert (await bare.post(DISABLE, password=PASSWORD)).status == 403


async def test_normal_user(box: Box, user: str) -> None:
    """Who is no administrator has nothing to ask or change here, as with Mail-in-a-Box."""
    for path in (STATUS, ENABLE, DISABLE):
        answer = await box.basic(USER).post(path)
        assert (answer.status, answer.text) == (401, "You are not an administrator.\n")

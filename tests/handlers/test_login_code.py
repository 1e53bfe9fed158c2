"""Logging in with a second factor over HTTP: by the API's header, and on the page in two steps."""

from __future__ import annotations

import pytest

from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from mailusers_plugin.models import ADMIN
from tests.factor_support import WRONG, code, rows, set_up
from tests.handlers.browsing import as_browser, as_script, field, value, words
from tests.handlers.test_session import LOGIN, LOGIN_PAGE, USERS, cookie_of
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Client

FAILED = "Failed login attempt"


async def test_basic(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A request with the password needs a code, of which one is good for one request."""
    set_up(box)
    answer = await admin.get(USERS)
    assert (answer.status, answer.headers["X-Reason"], answer.text) == (
        401,
        "missing-totp-token",
        "missing-totp-token\n",
    )
    now = code()
    assert (await admin.sending(X_Auth_Token=now).get(USERS)).status == 200
    for given in (now, WRONG, "000 000"):
        answer = await admin.sending(X_Auth_Token=given, Accept="application/json").get(USERS)
        assert (answer.status, answer.headers["X-Reason"]) == (401, "invalid-totp-token")
        assert answer.json() == {"status": "error", "reason": "invalid-totp-token"}


async def test_a_code_without_a_second_factor(admin: Client) -> None:
    """Where there is no second factor a code that is sent all the same is passed over."""
    assert (await admin.sending(X_Auth_Token="123456").get(USERS)).status == 200


async def test_login(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The statuses are those of Mail-in-a-Box; a session key needs no code, and a missing code is no failure."""
    set_up(box)
    answer = await admin.post(LOGIN)
    assert (answer.status, answer.json()) == (
        200,
        {"status": "missing-totp-token", "reason": "missing-totp-token"},
    )
    assert FAILED not in caplog.text
    answer = await admin.sending(X_Auth_Token=WRONG).post(LOGIN)
    assert (answer.status, answer.json()) == (200, {"status": "invalid", "reason": "invalid-totp-token"})
    assert FAILED in caplog.text
    key = (await admin.sending(X_Auth_Token=code()).post(LOGIN)).json()["api_key"]
    for _ in range(2):
        assert (await box.basic(BOSS, key).get(USERS)).status == 200
    answer = await box.basic(BOSS, "wrong").sending(X_Auth_Token=code(1)).post(LOGIN)
    assert answer.json()["reason"] == "Incorrect email address or password."


async def test_system_key_needs_no_code(box: Box, admin: Client) -> None:
    """The system API key acts for nobody, so that nobody's second factor is asked for."""
    set_up(box)
    assert (await box.api.get(USERS)).status == 200


async def send(client: Client, **form: str) -> Answer:
    """Send a form of the log-in page as a browser does."""
    return await client.sending(Cookie=f"_xsrf={XSRF}").post(LOGIN_PAGE, _xsrf=XSRF, **form)


async def first_step(client: Client, email: str = BOSS, **form: str) -> Answer:
    """Give the password."""
    return await send(client, email=email, password=PASSWORD, **form)


async def test_two_steps(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The page asks for the password, then for the code, and leads back to where the reader came from."""
    set_up(box)
    browser = as_browser(box.nobody)
    answer = await first_step(browser, next="/admin/users?q=a")
    assert answer.status == 200
    assert COOKIE_NAME not in cookie_of(answer)
    assert PASSWORD not in answer.text
    assert 'name="password"' not in answer.text
    assert 'autocomplete="one-time-code"' in field(answer, "code")
    assert (value(answer, "email"), value(answer, "next")) == (BOSS, "/admin/users?q=a")
    assert FAILED not in caplog.text
    half = value(answer, "half")
    for given, text in (("", "Enter the code"), (WRONG, "That code is wrong")):
        again = await send(browser, half=half, email=BOSS, code=given, next="/admin/users?q=a")
        assert (again.status, value(again, "half"), value(again, "next")) == (400, half, "/admin/users?q=a")
        assert text in words(again)
        assert WRONG not in again.text
    assert caplog.text.count(FAILED) == 1
    answer = await send(browser, half=half, email=BOSS, code=code(), next="/admin/users?q=a")
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/users?q=a")
    assert (await box.cookie(cookie_of(answer)[COOKIE_NAME].value).get(USERS)).status == 200
    over = await send(browser, half=half, email=BOSS, code=code(1))
    assert over.status == 400
    assert "Enter your password again" in words(over)
    assert (value(over, "email"), 'name="half"' in over.text) == (BOSS, False)


async def test_recovery_code_on_the_page(box: Box, admin: Client) -> None:
    """A recovery code has a field of its own beside that of the code."""
    (kept, *_) = await box.runtime.second_factors.enrol(BOSS, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", code(), "")
    browser = as_browser(box.nobody)
    half = value(await first_step(browser), "half")
    answer = await send(browser, half=half, email=BOSS, code="", recovery=kept.upper())
    assert answer.status == 303
    half = value(await first_step(browser), "half")
    assert (await send(browser, half=half, email=BOSS, recovery=kept)).status == 400


async def test_in_the_dialog(box: Box, admin: Client) -> None:
    """With scripts both steps are in the dialog, which goes when both are done."""
    set_up(box)
    script = as_script(box.nobody)
    answer = await first_step(script)
    assert (answer.status, answer.headers["HX-Retarget"]) == (200, "#mu-login")
    assert answer.text.lstrip().startswith("{") is False
    assert '<dialog class="mu-dialog" id="mu-login"' in answer.text
    assert PASSWORD not in answer.text
    half = value(answer, "half")
    again = await send(script, half=half, email=BOSS, code=WRONG)
    assert (again.status, again.headers["HX-Retarget"], value(again, "half")) == (400, "#mu-login", half)
    done = await send(script, half=half, email=BOSS, code=code())
    assert (done.status, done.headers["HX-Reswap"]) == (200, "delete")
    assert COOKIE_NAME in cookie_of(done)


async def test_both_steps_need_our_token(box: Box, admin: Client) -> None:
    """Another site can send neither the password nor the code."""
    set_up(box)
    half = value(await first_step(as_browser(box.nobody)), "half")
    answer = await box.nobody.post(LOGIN_PAGE, half=half, email=BOSS, code=code())
    assert answer.status == 403
    answer = await as_script(box.nobody).post(LOGIN_PAGE, half=half, email=BOSS, code=code())
    assert (answer.status, value(answer, "half")) == (403, half)
    assert rows(box)[0][2] is None


async def test_normal_user_with_a_second_factor(box: Box, admin: Client, user: str) -> None:
    """Who may not use the page is told so before a code is asked for; the API logs him in all the same."""
    set_up(box, USER)
    answer = await first_step(as_browser(box.nobody), USER)
    assert (answer.status, "You are not an administrator." in words(answer)) == (400, True)
    content = (await box.basic(USER).sending(X_Auth_Token=code()).post(LOGIN)).json()
    assert (content["status"], content["privileges"]) == ("ok", [])


async def test_privilege_lost_between_the_steps(box: Box, admin: Client, user: str) -> None:
    """The privilege is asked for after the code again."""
    await admin.post(f"{USERS}/privileges/add", email=USER, privilege=ADMIN)
    set_up(box, USER)
    half = value(await first_step(as_browser(box.nobody), USER), "half")
    await admin.post(f"{USERS}/privileges/remove", email=USER)
    answer = await send(as_browser(box.nobody), half=half, email=USER, code=code())
    assert (answer.status, "You are not an administrator." in words(answer)) == (400, True)
    assert COOKIE_NAME not in cookie_of(answer)

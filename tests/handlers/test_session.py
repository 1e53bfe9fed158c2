"""Logging in and out over HTTP."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import pytest

from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client, basic

LOGIN = "/admin/login"
LOGOUT = "/admin/logout"
LOGIN_PAGE = "/admin/mailusers/login"
USERS = "/admin/mail/users"
INCORRECT = "Incorrect email address or password."
INVALID = "Authorization header invalid."


async def test_login(box: Box, admin: Client) -> None:
    """Logging in answers with the address, the privileges and a session key that works as a password."""
    answer = await admin.post(LOGIN)
    assert (answer.status, answer.type) == (200, "application/json")
    content = answer.json()
    key = content.pop("api_key")
    assert content == {"status": "ok", "email": BOSS, "privileges": ["admin"]}
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert "Set-Cookie" not in answer.headers
    assert (await box.basic(BOSS, key).get(USERS)).status == 200
    assert (await admin.post(LOGIN)).json()["api_key"] != key


async def test_login_of_a_normal_user(box: Box, user: str) -> None:
    """A user without privileges can log in, and may do nothing with the key."""
    content = (await box.basic(USER).post(LOGIN)).json()
    assert (content["status"], content["privileges"]) == ("ok", [])
    answer = await box.basic(USER, content["api_key"]).get(USERS)
    assert (answer.status, answer.text) == (401, "You are not an administrator.\n")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, INVALID),
        ("junk", INVALID),
        (basic(BOSS, ""), "Enter a password."),
        (basic(BOSS, "wrong"), INCORRECT),
        (basic("nobody@example.com", PASSWORD), INCORRECT),
        (basic("archived@example.com", PASSWORD), INCORRECT),
    ],
)
async def test_refused_login(
    box: Box, admin: Client, header: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A log-in that fails is answered with 200, without telling whether the address exists, and logged."""
    await box.add("archived@example.com")
    await admin.post(USERS + "/remove", email="archived@example.com")
    answer = await box.nobody.sending(**({"Authorization": header} if header else {})).post(LOGIN)
    assert (answer.status, answer.json()) == (200, {"status": "invalid", "reason": reason})
    assert "Failed login attempt from ip 127.0.0.1" in caplog.text
    assert "wrong" not in caplog.text


async def test_system_key_is_nobody_who_logs_in(box: Box) -> None:
    """The system API key opens no session."""
    assert (await box.api.post(LOGIN)).json()["status"] == "invalid"


async def test_logout(box: Box, admin: Client) -> None:
    """Logging out ends the session whose key was sent, and no other."""
    first = (await admin.post(LOGIN)).json()["api_key"]
    second = (await admin.post(LOGIN)).json()["api_key"]
    answer = await box.basic(BOSS, first).post(LOGOUT)
    assert (answer.status, answer.type, answer.json()) == (200, "application/json", {"status": "ok"})
    assert (await box.basic(BOSS, first).get(USERS)).status == 401
    assert (await box.basic(BOSS, second).get(USERS)).status == 200


@pytest.mark.parametrize("header", [None, "junk", basic(BOSS, "0" * 64), basic(BOSS, PASSWORD)])
async def test_logout_without_a_session(box: Box, admin: Client, header: str | None) -> None:
    """Logging out is answered alike where there is nothing to end."""
    answer = await box.nobody.sending(**({"Authorization": header} if header else {})).post(LOGOUT)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


async def test_logout_of_a_browser(box: Box, admin: Client) -> None:
    """A browser's log-out needs the page's token; its session then ends and the cookie goes."""
    key = await box.session_key(BOSS, "cookie")
    assert (await box.cookie(key, None).post(LOGOUT)).status == 403
    assert (await box.cookie(key).get(USERS)).status == 200
    answer = await box.cookie(key).post(LOGOUT)
    assert answer.json() == {"status": "ok"}
    assert cookie_of(answer)[COOKIE_NAME].value == ""
    assert (await box.cookie(key).get(USERS)).status == 401


def cookie_of(answer: Answer) -> SimpleCookie:
    """Return the cookies that an answer sets."""
    found = SimpleCookie()
    for header in answer.headers.get_list("Set-Cookie"):
        found.load(header)
    return found


async def log_in(client: Client, email: str = BOSS, **form: str) -> Answer:
    """Send the log-in form as our page does."""
    browser = client.sending(Cookie=f"{client.headers.get('Cookie', '')}; _xsrf={XSRF}".lstrip("; "))
    return await browser.post(LOGIN_PAGE, email=email, password=PASSWORD, _xsrf=XSRF, **form)


async def test_cookie(box: Box, admin: Client) -> None:
    """The session cookie is out of the reach of scripts and other sites, and only for our paths."""
    answer = await log_in(box.nobody)
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/users")
    cookie = cookie_of(answer)[COOKIE_NAME]
    assert cookie["httponly"] is True
    assert (cookie["samesite"], cookie["path"], cookie["secure"], cookie["domain"]) == (
        "Lax",
        "/admin",
        "",
        "",
    )
    assert (await box.cookie(cookie.value).get(USERS)).status == 200


async def test_cookie_of_an_empty_prefix(boxes: Boxes) -> None:
    """Without a prefix the cookie is for the whole host."""
    box = await boxes.open(prefix="")
    await box.add(BOSS, ("admin",))
    browser = box.nobody.sending(Cookie=f"_xsrf={XSRF}")
    answer = await browser.post("/mailusers/login", email=BOSS, password=PASSWORD, _xsrf=XSRF)
    assert cookie_of(answer)[COOKIE_NAME]["path"] == "/"


async def test_session_cannot_be_planted(box: Box, admin: Client) -> None:
    """Logging in always makes a new key, and ends the session that the browser came with."""
    await box.add(USER, ("admin",))
    planted = await box.session_key(USER, "cookie")
    answer = await log_in(box.nobody.sending(Cookie=f"{COOKIE_NAME}={planted}"))
    key = cookie_of(answer)[COOKIE_NAME].value
    assert key != planted
    assert (await box.cookie(planted).get(USERS)).status == 401
    made_up = "f" * 64
    answer = await log_in(box.nobody.sending(Cookie=f"{COOKIE_NAME}={made_up}"))
    assert cookie_of(answer)[COOKIE_NAME].value != made_up


async def test_login_while_the_database_is_away(
    box: Box, admin: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """That nobody can be asked is no failed log-in: the form says when to try again."""
    box.sql("ALTER TABLE users RENAME TO hidden")
    answer = await log_in(box.nobody)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "The account database is not available." in answer.text
    assert "Failed login" not in caplog.text


async def test_login_form_needs_our_token(box: Box, admin: Client) -> None:
    """Another site cannot log a browser in."""
    answer = await box.nobody.post(LOGIN_PAGE, email=BOSS, password=PASSWORD)
    assert answer.status == 403
    assert COOKIE_NAME not in cookie_of(answer)


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ("/admin/users?q=a", "/admin/users?q=a"),
        ("https://evil.example.com/", "/admin/users"),
        ("//evil.example.com/", "/admin/users"),
        ("/\\evil.example.com/", "/admin/users"),
        ("/a\\b", "/admin/users"),
        ("/a\r\nX: y", "/admin/users"),
        ("javascript:alert(1)", "/admin/users"),
        ("", "/admin/users"),
    ],
)
async def test_way_back(box: Box, admin: Client, wanted: str, location: str) -> None:
    """After logging in a browser is sent to a path of this server and nowhere else."""
    assert (await log_in(box.nobody, next=wanted)).headers["Location"] == location


async def test_password_change_ends_sessions(box: Box, admin: Client, user: str) -> None:
    """A new password ends every session of its user, and nobody else's."""
    await admin.post(USERS + "/privileges/add", email=USER, privilege="admin")
    key, cookie = await box.session_key(USER), await box.session_key(USER, "cookie")
    other = await box.session_key(BOSS)
    await admin.post(USERS + "/password", email=USER, password="another password")
    assert (await box.basic(USER, key).get(USERS)).status == 401
    assert (await box.cookie(cookie).get(USERS)).status == 401
    assert (await box.basic(BOSS, other).get(USERS)).status == 200


async def test_archiving_ends_sessions(box: Box, admin: Client, user: str) -> None:
    """An archived user's sessions are over, and stay so when the address is added again."""
    await admin.post(USERS + "/privileges/add", email=USER, privilege="admin")
    key = await box.session_key(USER)
    await admin.post(USERS + "/remove", email=USER)
    assert (await box.basic(USER, key).get(USERS)).status == 401
    await box.add(USER, ("admin",))
    assert (await box.basic(USER, key).get(USERS)).status == 401


async def test_lost_privilege_counts_at_once(box: Box, admin: Client, user: str) -> None:
    """A session has the privileges that its user has now, not those of its beginning."""
    await admin.post(USERS + "/privileges/add", email=USER, privilege="admin")
    key = await box.session_key(USER)
    assert (await box.basic(USER, key).get(USERS)).status == 200
    await admin.post(USERS + "/privileges/remove", email=USER)
    assert (await box.basic(USER, key).get(USERS)).status == 401

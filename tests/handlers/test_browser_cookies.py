"""Cookies over TLS: what a sibling of the domain, a plain page or an older version has left counts for nothing."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest

from mailusers_plugin.auth.session_cookie import COOKIE_NAME, SessionCookie
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client

LOGIN = "/admin/mailusers/login"
LOGOUT = "/admin/mailusers/logout"
USERS = "/admin/mail/users"
SESSION = "__Host-mailusers_session.admin"
TOKEN = "__Host-mailusers_xsrf"


def cookies(answer: Answer) -> SimpleCookie:
    """Return the cookies that an answer sets."""
    found = SimpleCookie()
    for header in answer.headers.get_list("Set-Cookie"):
        found.load(header)
    return found


def with_cookies(client: Client, **named: str) -> Client:
    """Return a client that sends these cookies, and the token in its header too."""
    text = "; ".join(f"{name}={value}" for name, value in named.items())
    return client.sending(Cookie=text, X_XSRFToken=XSRF)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("/admin", SESSION),
        ("", "__Host-mailusers_session"),
        ("/deep/er", "__Host-mailusers_session.deep%2Fer"),
        ("/deep.er", "__Host-mailusers_session.deep.er"),
    ],
)
def test_names(prefix: str, name: str) -> None:
    """Over TLS a cookie can be set by this host only, and is another one for each prefix; over http it is as it was."""
    cookie = SessionCookie(prefix, lambda protocol: protocol == "https")
    assert cookie.name("https") == name
    assert cookie.attributes("https") == {"path": "/", "httponly": True, "secure": True, "samesite": "Lax"}
    assert cookie.name("http") == COOKIE_NAME
    assert cookie.attributes("http") == {
        "path": prefix or "/",
        "httponly": True,
        "secure": False,
        "samesite": "Lax",
    }


async def test_log_in_over_tls(boxes: Boxes, box: Box, admin: Client) -> None:
    """Both cookies are named so that browsers take them from nobody else, with all that this needs."""
    tls = boxes.listen_behind_tls(box)
    form = await tls.nobody.get(LOGIN)
    (token,) = cookies(form).values()
    assert token.key == TOKEN
    answer = await with_cookies(tls.nobody, **{TOKEN: XSRF}).post(LOGIN, email=BOSS, password=PASSWORD)
    assert answer.status == 303
    (session,) = cookies(answer).values()
    assert session.key == SESSION
    for cookie in (token, session):
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax")
        assert cookie["secure"] is True
        assert cookie["httponly"] is True
    browser = with_cookies(tls.nobody, **{SESSION: session.value, TOKEN: XSRF})
    assert (await browser.get(USERS)).status == 200
    assert (await browser.post(USERS + "/quota", email=BOSS, quota="1G")).text == "OK"


async def test_other_names_do_not_count(boxes: Boxes, box: Box, admin: Client) -> None:
    """Over TLS the name of plain http is nobody's, with a good key too; and the other way round."""
    tls = boxes.listen_behind_tls(box)
    key = await box.session_key(BOSS, "cookie")
    for name in (
        COOKIE_NAME,
        "__Host-mailusers_session",
        "__Host-mailusers_session.other",
        "__Secure-" + COOKIE_NAME,
    ):
        assert (await with_cookies(tls.nobody, **{name: key, TOKEN: XSRF}).get(USERS)).status == 401, name
    assert (await with_cookies(tls.nobody, **{SESSION: key}).get(USERS)).status == 200
    assert (await with_cookies(box.nobody, **{SESSION: key}).get(USERS)).status == 401


async def test_a_planted_session_does_not_win(boxes: Boxes, box: Box, admin: Client) -> None:
    """Beside a browser's own session, one that a sibling domain planted does not count, and goes at the next log-in."""
    tls = boxes.listen_behind_tls(box)
    await box.add(USER, ("admin",))
    own, planted = await box.session_key(BOSS, "cookie"), await box.session_key(USER, "cookie")
    for named in ({SESSION: own, COOKIE_NAME: planted}, {COOKIE_NAME: planted, SESSION: own}):
        page = await with_cookies(tls.nobody, **named).sending(Accept="text/html").get("/admin/users")
        assert f"<span>{BOSS}</span>" in page.text
    answer = await with_cookies(tls.nobody, **{TOKEN: XSRF, COOKIE_NAME: planted}).post(
        LOGIN, email=BOSS, password=PASSWORD
    )
    assert cookies(answer)[SESSION].value not in (planted, own, "")
    assert cookies(answer)[COOKIE_NAME].value == ""


async def test_a_planted_token_does_not_win(boxes: Boxes, box: Box, admin: Client) -> None:
    """Over TLS a token that is known to somebody else, in a cookie that he planted, opens no form."""
    tls = boxes.listen_behind_tls(box)
    key = await box.session_key(BOSS, "cookie")
    known = with_cookies(tls.nobody, **{SESSION: key, "_xsrf": XSRF})
    assert (await known.post(USERS + "/quota", email=BOSS, quota="1G", _xsrf=XSRF)).status == 403
    assert (await known.post(LOGIN, email=BOSS, password=PASSWORD, _xsrf=XSRF)).status == 403
    assert (await known.post(LOGOUT, _xsrf=XSRF)).status == 403


async def test_a_panel_with_forms_of_its_own(boxes: Boxes, box: Box, admin: Client) -> None:
    """Where the panel's own forms need Tornado's cookie it stays that one, with what the panel says of it."""
    box.app.settings["xsrf_cookies"] = True
    box.app.settings["xsrf_cookie_kwargs"] = {"secure": True, "samesite": "Strict"}
    tls = boxes.listen_behind_tls(box)
    (token,) = cookies(await tls.nobody.get(LOGIN)).values()
    assert (token.key, token["samesite"], token["httponly"]) == ("_xsrf", "Strict", "")
    answer = await with_cookies(tls.nobody, _xsrf=XSRF).post(LOGIN, email=BOSS, password=PASSWORD)
    assert answer.status == 303
    assert box.app.settings["xsrf_cookie_kwargs"] == {"secure": True, "samesite": "Strict"}


async def test_logging_out_over_tls(boxes: Boxes, box: Box, admin: Client) -> None:
    """The session ends, its cookie goes by its own name and place, and so does what the browser kept of pages."""
    tls = boxes.listen_behind_tls(box)
    for path, status in ((LOGOUT, 303), ("/admin/logout", 200)):
        browser = with_cookies(tls.nobody, **{SESSION: await box.session_key(BOSS, "cookie"), TOKEN: XSRF})
        answer = await browser.post(path)
        assert answer.status == status
        gone = cookies(answer)[SESSION]
        assert (gone.value, gone["path"], gone["secure"]) == ("", "/", True)
        assert gone["expires"]
        assert answer.headers["Clear-Site-Data"] == '"cache"'
        assert (await browser.get(USERS)).status == 401


async def test_a_proxy_that_says_nothing(boxes: Boxes) -> None:
    """With public_url the cookies are as strict as behind a proxy that says that it speaks TLS."""
    box = await boxes.open(public_url="https://panel.example")
    await box.add(BOSS, ("admin",))
    answer = await with_cookies(box.nobody, **{TOKEN: XSRF}).post(LOGIN, email=BOSS, password=PASSWORD)
    assert list(cookies(answer)) == [SESSION]
    choice = await with_cookies(box.nobody, **{TOKEN: XSRF}).post("/admin/mailusers/language", language="de")
    assert cookies(choice)["mailusers_language"]["secure"] is True
    page = await with_cookies(box.nobody, **{SESSION: cookies(answer)[SESSION].value}).get("/admin/users")
    assert "https://panel.example/admin/mail/users" in page.text
    assert box.base_url not in page.text

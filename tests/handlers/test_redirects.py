"""Where answers lead: always to a path of this server, whatever a link, a form or a header says."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.handlers.browsing import as_browser, as_script, value
from tests.handlers.test_who_may import verbs
from tests.support import BOSS, PASSWORD, USER, XSRF, Box, Client

LOGIN = "/admin/mailusers/login"
LANGUAGE = "/admin/mailusers/language"
USERS = "/admin/users"
ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https://evil.example",
    "HTTPS://evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "@evil.example",
    "https://panel.example@evil.example",
    "//panel.example@evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/ /evil.example",
    "/\x00/evil.example",
    "/\x7f/evil.example",
    "/%2f%2fevil.example",
    "/%2F/evil.example",
    "/%5cevil.example",
    "%2f%2fevil.example",
    "%2fadmin%2fusers",
    "/\uff0fevil.example",
    "/\u2044evil.example",
    "/\u2215/evil.example",
    "\uff0f\uff0fevil.example",
    "/\u3002evil.example",
    "/\u200b/evil.example",
    "/\u202e/evil.example",
    "/\x85/evil.example",
    "/\u2028/evil.example",
    "/admin/users\r\nX-Injected: yes",
    "/admin/users\nSet-Cookie: a=b",
    "/" + "a" * 5000,
    "/\U0001f600",
    "",
]
HERE = [
    "/admin/users?q=a&sort=-size",
    "/admin/users/quota?email=a%40example.com#mu",
    "/host/page?next=//evil.example",
    "/.//evil.example",
    "/a/%2f%2fevil.example",
    "/@evil.example",
    "/admin/users?q=%E2%82%AC",
    "/",
]
"""A browser stays on the server at each of these: the path begins with one slash, and what follows is a name."""


@pytest.fixture
def visitor(box: Box, admin: Client) -> Client:
    """A browser that is not logged in."""
    return as_browser(box.nobody).sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)


@pytest.mark.parametrize("wanted", ELSEWHERE)
async def test_nowhere_else(visitor: Client, wanted: str) -> None:
    """Where the way back is none, logging in and choosing a language lead to the Users page; no header is made."""
    shown = await visitor.get(LOGIN, next=wanted)
    assert shown.status == 200
    assert value(shown, "next") == USERS
    answers = [
        await visitor.post(LOGIN, email=BOSS, password=PASSWORD, next=wanted),
        await visitor.post(LANGUAGE, language="de", next=wanted),
    ]
    for answer in answers:
        assert (answer.status, answer.headers["Location"]) == (303, USERS)
        assert "X-Injected" not in answer.headers
    assert all("a=b" not in cookie for answer in answers for cookie in answer.headers.get_list("Set-Cookie"))


@pytest.mark.parametrize("wanted", HERE)
async def test_back_to_a_page(visitor: Client, wanted: str) -> None:
    """A path of this server is where logging in leads, as it was."""
    answer = await visitor.post(LOGIN, email=BOSS, password=PASSWORD, next=wanted)
    assert answer.headers["Location"] == wanted


async def test_given_twice(visitor: Client) -> None:
    """Two ways back are none: what one part of a server looks at and another follows must be the same."""
    body = f"email={BOSS}&password={quote(PASSWORD)}&next=/admin/users&next=//evil.example"
    answer = await visitor.send(LOGIN, body, "application/x-www-form-urlencoded")
    assert "evil" not in answer.headers.get("Location", "")
    assert answer.status == 400


async def test_what_a_script_says_of_its_page(visitor: Client) -> None:
    """The page on which a script runs is come back to by its path only, and only if it is one."""
    script = as_script(visitor)
    for current in (
        "https://evil.example//evil.example/x",
        "https://evil.example/\\evil.example",
        "//",
        "x" * 9000,
    ):
        answer = await script.sending(HX_Current_URL=current).get("/admin/users/quota", email=USER)
        assert "evil" not in answer.text


async def test_every_redirect_stays(box: Box, visitor: Client, user: str) -> None:
    """Every answer of every route that leads somewhere names a path without a host, whatever host was asked for."""
    browser = as_browser(await box.browser(BOSS))
    form = {
        "email": USER,
        "quota": "1G",
        "password": PASSWORD,
        "do": "yes",
        "next": "//evil.example",
        "text": "x",
    }
    form |= {"back": "//evil.example", "confirm": USER, "action": "cancel", "language": "de"}
    found = set()
    for verb, path, _ in verbs(box.app):
        if path.endswith(("/events", "/logout")) and verb != "POST":
            continue
        for client in (visitor, browser):
            asking = client.sending(Host="evil.example", X_Forwarded_Host="evil.example")
            answer = await (asking.post(path, **form) if verb == "POST" else asking.fetch(verb, path))
            for name in (
                "Location",
                "Content-Location",
                "Refresh",
                "HX-Redirect",
                "HX-Location",
                "HX-Push-Url",
            ):
                target = answer.headers.get(name)
                if target is not None:
                    assert re.match(r"/admin/", target), (path, name, target)
                    assert "evil" not in urlsplit(target).path
                    assert not parse_qs(urlsplit(target).query).get("next", ["/"])[0].startswith("//")
                    found.add(path)
    assert len(found) > 15

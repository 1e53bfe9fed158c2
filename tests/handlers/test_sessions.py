"""The page of one's own sessions, the API of all, and logging in with a session that somebody planted."""

from __future__ import annotations

import re

import pytest

from mailusers_plugin.auth.authenticator import API, COOKIE, hash_key
from mailusers_plugin.handlers.sessions import program_of
from mailusers_plugin.models import ADMIN
from mailusers_plugin.store import sessions
from tests.handlers.browsing import as_browser
from tests.handlers.test_who_may import Staff
from tests.support import BOSS, USER, XSRF, Box, Boxes, Client

PAGE = "/admin/mailusers/sessions"
LIST = "/admin/mail/users/sessions"
END = "/admin/mail/users/sessions/end"


async def begin(box: Box, email: str, kind: str, agent: str = "curl/8.5.0") -> str:
    """Log in from somewhere."""
    account = await box.service.account(email)
    return await box.runtime.authenticator().open_session(account, kind, ip="198.51.100.7", agent=agent)


def id_of(key: str) -> str:
    """Return what a session is called."""
    return hash_key(key)[:16]


async def test_the_page(box: Box, admin: Client) -> None:
    """It lists one's own sessions, says which is this one, and ends one or all others."""
    await box.add(USER, (ADMIN,))
    here, program, third = [
        await begin(box, BOSS, COOKIE),
        await begin(box, BOSS, API, "<script>alert(1)</script>"),
        await begin(box, BOSS, COOKIE),
    ]
    foreign = await begin(box, USER, API, "foreign/1")
    browser = as_browser(box.cookie(here))
    page = await browser.get(PAGE)
    assert page.status == 200
    assert page.text.count("198.51.100.7") == 3
    assert page.text.count("this one") == 1
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "foreign" not in page.text
    assert not any(hash_key(key) in page.text or key in page.text for key in (here, program, third))
    answer = await browser.post(PAGE, id=id_of(program), _xsrf=XSRF)
    assert (answer.status, answer.headers["Location"]) == (303, PAGE)
    assert (await box.basic(BOSS, program).get("/admin/mail/users")).status == 401
    again = await browser.post(PAGE, id=id_of(program), _xsrf=XSRF)
    assert again.status == 400
    assert "There is no such session." in again.text
    assert (await browser.post(PAGE, id=id_of(foreign), _xsrf=XSRF)).status == 400
    await browser.post(PAGE, others="1", _xsrf=XSRF)
    assert (await box.cookie(third).get("/admin/mail/users")).status == 401
    assert (await box.cookie(here).get("/admin/mail/users")).status == 200
    assert (await box.basic(USER, foreign).get("/admin/mail/users")).status == 200


async def test_the_page_needs_a_log_in(box: Box, admin: Client) -> None:
    """Who is not logged in is led to the log-in and back; a form without our token ends nothing."""
    answer = await as_browser(box.nobody).get(PAGE)
    assert answer.status == 303
    assert answer.headers["Location"].endswith("next=%2Fadmin%2Fmailusers%2Fsessions")
    key = await begin(box, BOSS, COOKIE)
    other = await begin(box, BOSS, COOKIE)
    assert (await as_browser(box.cookie(key, None)).post(PAGE, others="1")).status == 403
    assert (await box.cookie(other).get("/admin/mail/users")).status == 200


async def test_the_page_without_a_session(box: Box, admin: Client) -> None:
    """Who sends a password or the key with each request has none, and is told so."""
    for client in (admin, box.api):
        page = await as_browser(client).get(PAGE)
        assert (page.status, "There is no session" in page.text) == (200, True)


async def test_the_users_page_leads_there(box: Box, admin: Client) -> None:
    """The page is linked from the head of the Users page."""
    assert f'href="{PAGE}"' in (await as_browser(admin).get("/admin/users")).text


async def test_the_api(box: Box, admin: Client) -> None:
    """A program lists and ends the sessions of its own user, or of the one that it names."""
    await box.add(USER, (ADMIN,))
    key, other = await begin(box, BOSS, API), await begin(box, BOSS, COOKIE)
    foreign = await begin(box, USER, API)
    program = box.basic(BOSS, key)
    answer = await program.get(LIST)
    assert answer.type == "application/json"
    found = {entry["id"]: entry for entry in answer.json()}
    assert set(found) == {id_of(key), id_of(other)}
    entry = found[id_of(key)]
    assert set(entry) == {"id", "email", "kind", "began", "used", "address", "agent", "current"}
    assert (entry["email"], entry["kind"], entry["address"], entry["agent"], entry["current"]) == (
        BOSS,
        "api",
        "198.51.100.7",
        "curl/8.5.0",
        True,
    )
    assert found[id_of(other)]["current"] is False
    assert [entry["id"] for entry in (await program.get(LIST, email=USER)).json()] == [id_of(foreign)]
    assert (await program.post(END, id=id_of(foreign))).status == 400
    assert (await program.post(END, email=USER, id=id_of(foreign))).text == "OK"
    assert (await program.post(END, others="1")).text == "OK"
    assert [entry["id"] for entry in (await program.get(LIST)).json()] == [id_of(key)]
    assert (await box.cookie(other).get("/admin/mail/users")).status == 401


async def test_wrong_requests(box: Box, admin: Client) -> None:
    """What does not say whose or which session is meant is refused with what to say."""
    answer = await admin.post(END)
    assert (answer.status, answer.text) == (400, "Say which session is to end, by id, or say others=1.")
    answer = await admin.post(END, id="no such id")
    assert (answer.status, answer.text) == (400, "There is no such session. It may have ended already.")
    answer = await box.api.get(LIST)
    assert (answer.status, answer.text) == (400, "No email address provided.")
    assert (await box.api.get(LIST, email=BOSS)).json() == []


async def test_only_with_the_default_host(boxes: Boxes) -> None:
    """A panel that logs people in itself has sessions of its own: there is no such page, and no link to it."""
    box = await boxes.open(host=Staff("users:read", "users:write"))
    await box.add(BOSS, (ADMIN,))
    assert (await box.nobody.get(PAGE)).status == 404
    assert PAGE not in (await as_browser(box.nobody).get("/admin/users")).text


async def test_a_log_in_is_listed_with_where_it_came_from(box: Box, admin: Client) -> None:
    """Each way to log in keeps address and name of the client."""
    agent = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0"
    await admin.sending(User_Agent="backup/1.0").post("/admin/login")
    form = {"email": BOSS, "password": "correct horse battery", "_xsrf": XSRF}
    await box.nobody.sending(User_Agent=agent, Cookie=f"_xsrf={XSRF}").post("/admin/mailusers/login", **form)
    found = {entry["kind"]: entry for entry in (await admin.get(LIST)).json()}
    assert [(found[kind]["address"], found[kind]["agent"]) for kind in ("api", "cookie")] == [
        ("127.0.0.1", "backup/1.0"),
        ("127.0.0.1", agent),
    ]


@pytest.mark.parametrize("planted", ["another's", "own", "made up", "an old one"])
async def test_fixation(box: Box, admin: Client, planted: str) -> None:
    """Whatever key a browser comes with, logging in gives it one that nobody knew, and ends the one that it had."""
    await box.add(USER, (ADMIN,))
    key = "f" * 64 if planted == "made up" else await begin(box, USER if "other" in planted else BOSS, COOKIE)
    if planted == "an old one":
        await box.runtime.authenticator().end_session(key)
    client = box.nobody.sending(Cookie=f"mailusers_session={key}; _xsrf={XSRF}")
    form = {"email": BOSS, "password": "correct horse battery", "_xsrf": XSRF}
    answer = await client.post("/admin/mailusers/login", **form)
    match = re.search(r"mailusers_session=([0-9a-f]{64})", str(answer.headers.get_list("Set-Cookie")[-1]))
    assert match is not None
    assert match[1] != key
    assert (await box.cookie(key).get("/admin/mail/users")).status == 401
    assert (await box.cookie(match[1]).get("/admin/mail/users")).status == 200
    stored = await box.runtime.state.read(sessions.of_user, None)
    assert [session.key_hash for session in stored] == [hash_key(match[1])]


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox, Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140",
            "Edge, Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari, iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36", "Chrome, Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("python-requests/2.32 and more", "python-requests/2.32"),
        ("x" * 300, "x" * 40),
        ("<script>", ""),
        ("", ""),
    ],
)
def test_names_of_programs(agent: str, shown: str) -> None:
    """A client's name for itself is shown in short."""
    assert program_of(agent) == shown

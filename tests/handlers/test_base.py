"""What all answers share: refusals, headers, verbs, forgery, and waiting for the hooks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mailusers_plugin import hookimpl
from mailusers_plugin.events import UserAdded
from mailusers_plugin.handlers.base import BaseHandler, public
from tests.support import BOSS, CONSOLE, PASSWORD, USER, XSRF, Box, Boxes, Client, basic

PLAIN = "text/plain; charset=utf-8"
CHALLENGE = 'Basic realm="Mail-in-a-Box Management Server"'
INVALID = "Authorization header invalid."
INCORRECT = "Incorrect email address or password."
ENTER = "Enter a password."
NOT_ADMIN = "You are not an administrator."
USERS = "/admin/mail/users"

HEADERS: list[tuple[str | None, str]] = [
    (None, INVALID),
    ("", INVALID),
    ("Basic", INVALID),
    ("Basic ???", INVALID),
    ("Basic " + "bm8tY29sb24=", INVALID),
    ("Basic /w==", INVALID),
    ("Digest username=x", INVALID),
    ("Bearer abc", INVALID),
    (basic("", PASSWORD), INVALID),
    (basic(BOSS, ""), ENTER),
    (basic(BOSS, "   "), ENTER),
    (basic(BOSS, "wrong password"), INCORRECT),
    (basic("nobody@example.com", PASSWORD), INCORRECT),
    (basic("BOSS@example.com", PASSWORD), INCORRECT),
    (basic(BOSS, PASSWORD + "\0"), INCORRECT),
    (basic("not-the-key", ""), ENTER),
    (basic("bß\x00ss", PASSWORD), INCORRECT),
    (basic(BOSS, "0" * 64), INCORRECT),
    (basic(USER, PASSWORD), NOT_ADMIN),
]


@pytest.mark.parametrize(("header", "reason"), HEADERS)
async def test_refusal(box: Box, admin: Client, user: str, header: str | None, reason: str) -> None:
    """Who is not known or not an administrator is refused with the contract's reason, and challenged."""
    client = box.nobody if header is None else box.nobody.sending(Authorization=header)
    for answer in (await client.get(USERS), await client.post(USERS + "/remove", email=USER)):
        assert (answer.status, answer.type, answer.text) == (401, PLAIN, reason + "\n")
        assert answer.headers["WWW-Authenticate"] == CHALLENGE
        assert answer.headers["X-Reason"] == reason
    assert USER in await box.emails()


async def test_refusal_to_xmlhttprequest(box: Box, admin: Client, user: str) -> None:
    """A script gets 403 and no challenge, so that the browser shows no log-in box of its own."""
    for client, reason in ((box.nobody, INVALID), (box.basic(USER), NOT_ADMIN)):
        answer = await client.sending(X_Requested_With="XMLHttpRequest").get(USERS)
        assert (answer.status, answer.text) == (403, reason + "\n")
        assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "plain"),
    [("*/*", True), ("", True), ("application/json", False), ("text/html", False), ("text/plain", False)],
)
async def test_form_of_a_refusal(box: Box, accept: str, plain: bool) -> None:
    """The reason comes as text where the caller takes anything, else as JSON; with a newline either way."""
    answer = await box.nobody.sending(Accept=accept).get(USERS)
    assert answer.status == 401
    assert answer.text.endswith("\n")
    if plain:
        assert (answer.type, answer.text) == (PLAIN, INVALID + "\n")
    else:
        assert answer.type == "application/json"
        assert answer.json() == {"status": "error", "reason": INVALID}


async def test_realm_is_a_setting(boxes: Boxes) -> None:
    """The challenge names the realm that was set."""
    box = await boxes.open(realm="My Panel")
    assert (await box.nobody.get(USERS)).headers["WWW-Authenticate"] == 'Basic realm="My Panel"'


async def test_archived_administrator_is_refused(box: Box, admin: Client, user: str) -> None:
    """An archived administrator is as unknown as somebody who never was."""
    await box.service.add_privileges(CONSOLE, USER, ("admin",))
    assert (await box.basic(USER).get(USERS)).status == 200
    await admin.post(USERS + "/remove", email=USER)
    answer = await box.basic(USER).get(USERS)
    assert (answer.status, answer.text) == (401, INCORRECT + "\n")


EVERYTHING = [
    ("GET", ""),
    ("POST", "/add"),
    ("POST", "/remove"),
    ("POST", "/purge"),
    ("POST", "/password"),
    ("GET", "/privileges"),
    ("POST", "/privileges/add"),
    ("POST", "/privileges/remove"),
    ("GET", "/quota"),
    ("POST", "/quota"),
]


@pytest.mark.parametrize(("verb", "path"), EVERYTHING)
async def test_nothing_answers_strangers(box: Box, admin: Client, verb: str, path: str) -> None:
    """Every endpoint refuses somebody without credentials, before it looks at the parameters."""
    answer = await box.nobody.fetch(verb, USERS + path)
    assert (answer.status, answer.text) == (401, INVALID + "\n")


async def test_every_kind_of_credential(box: Box, admin: Client) -> None:
    """Password, session key, system API key and cookie are all taken."""
    key = (await admin.post("/admin/login")).json()["api_key"]
    for client in (admin, box.basic(BOSS, key), box.api, await box.browser(BOSS)):
        assert (await client.get(USERS)).text == f"{BOSS}\n"


@pytest.mark.parametrize(
    "password", ["pässwörd mit ümläuten", "пароль пароль", " begins with a space", "a:b:c:d:e"]
)
async def test_credentials_are_utf8(box: Box, password: str) -> None:
    """Passwords outside ASCII, with colons or with spaces at the ends log in."""
    await box.add(BOSS, ("admin",), password=password)
    assert (await box.basic(BOSS, password).get(USERS)).status == 200


async def test_session_key_belongs_to_its_user(box: Box, admin: Client, user: str) -> None:
    """A session key with somebody else's address is a wrong password."""
    key = (await admin.post("/admin/login")).json()["api_key"]
    assert (await box.basic(USER, key).get(USERS)).text == INCORRECT + "\n"


async def test_kinds_of_session_are_not_mixed(box: Box, admin: Client) -> None:
    """A cookie's key is no password, and a session key is no cookie."""
    cookie_key = await box.session_key(BOSS, "cookie")
    api_key = await box.session_key(BOSS, "api")
    assert (await box.basic(BOSS, cookie_key).get(USERS)).status == 401
    assert (await box.cookie(api_key).get(USERS)).status == 401


async def test_headers_of_every_answer(box: Box, admin: Client) -> None:
    """No answer is guessed at or kept by a browser, data, error or refusal; a list is asked for again."""
    lists = [
        await admin.get(USERS),
        await admin.get(USERS, format="json"),
        await admin.get(USERS, format="json", limit="1"),
    ]
    for answer in lists:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "private, no-cache"
    answers = [
        await admin.get(USERS + "/quota", email=BOSS),
        await admin.post(USERS + "/add"),
        await box.nobody.get(USERS),
        await admin.fetch("DELETE", USERS),
        await admin.post("/admin/login"),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
    for answer in answers[1:]:
        assert "Etag" not in answer.headers


VERBS = [
    ("", "GET, HEAD"),
    ("/add", "POST"),
    ("/remove", "POST"),
    ("/purge", "POST"),
    ("/password", "POST"),
    ("/privileges", "GET, HEAD"),
    ("/privileges/add", "POST"),
    ("/privileges/remove", "POST"),
    ("/quota", "GET, HEAD, POST"),
]


@pytest.mark.parametrize(("path", "allowed"), VERBS)
async def test_other_verbs(admin: Client, path: str, allowed: str) -> None:
    """A verb that a path does not have is answered with those that it has."""
    for verb in {"GET", "POST", "PUT", "DELETE", "PATCH"} - set(allowed.split(", ")):
        answer = await admin.fetch(verb, USERS + path)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", [USERS, USERS + "?format=json", USERS + f"/quota?email={BOSS}"])
async def test_head(admin: Client, path: str) -> None:
    """HEAD has the status and the type of GET, and no body."""
    head, get = await admin.fetch("HEAD", path), await admin.fetch("GET", path)
    assert (head.status, head.type, head.body) == (200, get.type, b"")
    assert get.body


async def test_handler_must_say_who_may_call() -> None:
    """A verb that says neither whom it requires nor that it is public cannot even be defined."""

    async def get(self: BaseHandler) -> None: ...

    with pytest.raises(TypeError, match=r"Forgotten\.get says neither"):
        type("Forgotten", (BaseHandler,), {"get": get})
    assert type("Said", (BaseHandler,), {"get": public(get)})


FORGED = [
    ("none", None, {}),
    ("wrong", None, {"X_XSRFToken": "f" * 32}),
    ("no cookie of it", None, {"X_XSRFToken": XSRF}),
    ("not the cookie's", XSRF, {"X_XSRFToken": "f" * 32}),
    ("empty", XSRF, {"X_XSRFToken": ""}),
]


@pytest.mark.parametrize(("name", "token", "headers"), FORGED)
async def test_forged_form(
    box: Box, admin: Client, user: str, name: str, token: str | None, headers: dict[str, str]
) -> None:
    """A browser's POST without our page's token is refused, and changes nothing."""
    client = (await box.browser(BOSS, token)).sending(**headers)
    answer = await client.post(USERS + "/remove", email=USER)
    assert answer.status == 403
    assert "WWW-Authenticate" not in answer.headers
    assert USER in await box.emails()
    assert (await client.get(USERS)).status == 200


async def test_form_of_our_own_page(box: Box, admin: Client, user: str) -> None:
    """The token is taken from a header or from the form."""
    browser = await box.browser(BOSS)
    assert (await browser.post(USERS + "/quota", email=USER, quota="1G")).status == 200
    browser = box.nobody.sending(Cookie=browser.headers["Cookie"])
    assert (await browser.post(USERS + "/remove", email=USER, _xsrf=XSRF)).status == 200


@pytest.mark.parametrize("header", ["Basic junk", "Bearer junk", "junk", basic("x", "y"), basic(BOSS, "")])
async def test_junk_header_beside_a_cookie(box: Box, admin: Client, user: str, header: str) -> None:
    """A meaningless Authorization header neither waives the token nor lets the cookie speak."""
    browser = (await box.browser(BOSS, None)).sending(Authorization=header)
    answer = await browser.post(USERS + "/remove", email=USER)
    assert answer.status in (401, 403)
    assert USER in await box.emails()


async def test_programs_need_no_token(box: Box, admin: Client, user: str) -> None:
    """Basic and the system API key need no token, even where a browser adds its cookie."""
    cookie = (await box.browser(BOSS, None)).headers["Cookie"]
    for client in (admin, admin.sending(Cookie=cookie), box.api):
        assert (await client.post(USERS + "/quota", email=USER, quota="1G")).text == "OK"


class Slow:
    """Waits for a test to let it go on."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.told: list[str] = []

    @hookimpl
    async def mailusers_post_add(self, event: UserAdded) -> None:
        """Wait."""
        await self.may_end.wait()
        self.told.append(event.email)


async def test_answer_does_not_wait_for_hooks(boxes: Boxes) -> None:
    """Without being asked to, an answer does not wait for an implementation that hangs."""
    slow = Slow()
    box = await boxes.open(hooks=[slow])
    answer = await box.api.post(USERS + "/add", email=USER, password=PASSWORD)
    assert answer.text == "mail user added\n"
    assert "Preference-Applied" not in answer.headers
    assert slow.told == []
    slow.may_end.set()
    await box.delivered()
    assert slow.told == [USER]


async def test_prefer_wait(boxes: Boxes) -> None:
    """A caller that prefers to wait is answered when every implementation has been told."""
    slow = Slow()
    box = await boxes.open(hooks=[slow])
    client = box.api.sending(Prefer="respond-async, Wait=30")
    adding = asyncio.ensure_future(client.post(USERS + "/add", email=USER, password=PASSWORD))
    while await box.find(USER) is None:
        await asyncio.sleep(0)
    assert not adding.done()
    slow.may_end.set()
    answer = await adding
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert slow.told == [USER]


async def test_prefer_wait_gives_up(boxes: Boxes) -> None:
    """When the time is over the change is answered all the same: it was made."""
    slow = Slow()
    box = await boxes.open(hooks=[slow])
    answer = await box.api.sending(Prefer="wait=0").post(USERS + "/add", email=USER, password=PASSWORD)
    assert (answer.text, answer.headers["Preference-Applied"]) == ("mail user added\n", "wait=0")
    slow.may_end.set()
    await box.delivered()


async def test_unexpected_error(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of ours is answered with 500, goes to the log, and tells the caller nothing of its inside."""

    async def broken(*_: float) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(box.runtime.directory, "settled_state", broken)
    answer = await replace(admin, described=False).get(USERS)
    assert (answer.status, answer.type, answer.text) == (500, PLAIN, "Internal Server Error.")
    assert "the inside" in caplog.text


async def test_set_up_is_still_to_be_done(box: Box) -> None:
    """Before the box has its first administrator nothing answers but the set-up; afterwards all does."""
    box.handle.first_run.begin()
    for client in (box.nobody, box.api):
        answer = await client.get(USERS)
        assert (answer.status, answer.type) == (503, PLAIN)
        assert "Retry-After" in answer.headers
    await box.add(BOSS, ("admin",))
    assert (await box.basic(BOSS).get(USERS)).status == 200
    assert not box.handle.first_run.open


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_a_browsers_form_from_another_site_is_refused(
    box: Box, admin: Client, user: str, site: str, status: int
) -> None:
    """A browser that remembers a Basic password does not let another site use it; reading is as it was."""
    browser = admin.sending(Sec_Fetch_Site=site)
    answer = await browser.post("/admin/mail/users/quota", email=user, quota="1G")
    assert answer.status == status
    assert (await box.service.account(user)).quota == ("1G" if status == 200 else "0")
    assert (await browser.get("/admin/mail/users")).status == 200

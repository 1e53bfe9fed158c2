"""What is asked of new passwords, on the page, by the API and in its settings, in the same words everywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailusers_plugin import password_strength
from mailusers_plugin.errors import ConfigurationError, InvalidInputError, WeakPasswordError
from mailusers_plugin.made_passwords import suggest_password
from mailusers_plugin.models import ADMIN
from mailusers_plugin.settings import Settings
from tests.handlers.browsing import as_browser, as_script, field, value, words
from tests.support import BOSS, CONSOLE, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client
from tests.test_breached_passwords import PADDING, answer, known, serving

NEW = "new@example.com"
LONG = "correct horse battery staple"
SHORT = "Passwords must be at least eight characters."
COMMON = "This is one of the most common passwords, which are tried first."
WEAK = "This password is too easy to guess."
BREACHED = "This password is known from a data breach"
AWAY = "Whether this password is known from a data breach cannot be asked at the moment."
EVERYWHERE = ("page", "api", "cli")


async def with_browser(boxes: Boxes, **settings: Any) -> tuple[Box, Client]:
    """Open a box with an administrator and a user; return it and the administrator's browser."""
    box = await boxes.open(**settings)
    await box.add(BOSS, (ADMIN,), password=LONG)
    await box.add(USER, password=LONG)
    return box, as_browser(await box.browser(BOSS))


async def add(client: Client, password: str) -> Answer:
    """Send the page's form for a new user."""
    return await client.post(
        "/admin/users/add", email=NEW, password=password, quota_number="", quota_unit="G"
    )


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", SHORT),
        ("password", COMMON),
        ("PassWord", COMMON),
        ("qwertyuiop", COMMON),
        ("aaaaaaaaaaaa", WEAK),
        ("passw0rd2026", WEAK),
        # Words of the address.
        ("newexample", WEAK),
        ("new@example.com", WEAK),
    ],
)
async def test_the_page(box: Box, browser: Client, password: str, said: str) -> None:
    """Each form with a new password refuses one that is guessed soon, says why, and does not show it again."""
    added = await add(browser, password)
    assert added.status == 400
    assert said in words(added)
    assert 'id="mu-password-fault"' in added.text
    assert value(added, "password") == ""
    assert value(added, "email") == NEW
    assert await box.find(NEW) is None
    if "new" not in password:
        before = (await box.service.account(USER)).password_hash
        changed = await browser.post("/admin/users/password", email=USER, password=password)
        assert changed.status == 400
        assert said in words(changed)
        assert (await box.service.account(USER)).password_hash == before
    await box.service.archive(CONSOLE, USER)
    restored = await browser.post("/admin/users/restore", email=USER, password=password, restore="yes")
    assert (restored.status, await box.find(USER)) == (400, None) or "new" in password


async def test_what_helps_is_said(browser: Client) -> None:
    """Beside what is wrong stands what makes the password weak, the address too, and what would be better."""
    assert "Add another word or two. Uncommon words are better." in words(await add(browser, "passw0rd2026"))
    assert 'Repeats like "aaa" are easy to guess.' in words(await add(browser, "aaaaaaaaaaaa"))
    assert "Parts of the address are easy to guess." in words(await add(browser, "newexample"))


async def test_in_another_language(browser: Client) -> None:
    """It is all said in the reader's language."""
    german = await add(browser.sending(Accept_Language="de"), "passw0rd2026")
    assert "Dieses Passwort ist zu leicht zu erraten. " in words(german)
    assert "guess" not in words(german).partition("Kennwort")[0].partition("Passwort ist zu leicht")[2][:300]
    french = await add(browser.sending(Accept_Language="fr"), "password")
    assert "C’est l’un des mots de passe les plus courants" in words(french)


@pytest.mark.parametrize(
    ("password", "said"),
    [("password", COMMON), ("passw0rd2026", WEAK), ("short", SHORT), ("newexample", WEAK)],
)
async def test_while_typing(browser: Client, password: str, said: str) -> None:
    """The field says the same words when it is left as the form does when it is sent."""
    script = as_script(browser, "div#mu-password-note")
    check = await script.post("/admin/users/check", field="password", password=password, email=NEW)
    sent = words(await add(browser, password))
    assert words(check).removeprefix("Error: ").startswith(said)
    assert words(check) in sent
    typing = await script.post(
        "/admin/users/check", field="password", password=password, email=NEW, typing="1"
    )
    assert "mu-fault" not in typing.text


async def test_good_passwords(box: Box, browser: Client) -> None:
    """Words that do not belong together are taken, and so is everything that is made up."""
    assert (await add(browser, PASSWORD)).status == 303
    meter = box.runtime.strength
    for _ in range(20):
        found = await meter.estimate(suggest_password())
        assert found is not None
        assert found.score == 4


async def test_the_set_up(box: Box) -> None:
    """The very first administrator's password is no exception."""
    token = box.handle.first_run.begin()
    visitor = as_browser(box.nobody).sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
    for password, said in (("password", COMMON), ("passw0rd2026", WEAK), ("boss@example.com", WEAK)):
        refused = await visitor.post("/admin/mailusers/setup", token=token, email=BOSS, password=password)
        assert refused.status == 400
        assert said in words(refused)
    assert await box.emails() == []
    form = {"token": token, "email": BOSS, "password": PASSWORD}
    assert (await visitor.post("/admin/mailusers/setup", **form)).status == 303


async def test_the_api_asks_for_the_length_only(box: Box, admin: Client, user: str) -> None:
    """Clients that know of no other rule are refused by no other, in the contract's own words."""
    users = "/admin/mail/users"
    short = await admin.post(users + "/add", email=NEW, password="short")
    assert (short.status, short.text) == (400, SHORT)
    assert (await admin.post(users + "/add", email=NEW, password="password")).text == "mail user added\n"
    assert (await admin.post(users + "/password", email=NEW, password="aaaaaaaa")).text == "OK"


async def test_the_api_where_it_is_set(boxes: Boxes) -> None:
    """Where the policy says so the API asks for the same, once all else is right."""
    box = await boxes.open(password_policy=EVERYWHERE)
    await box.add(USER)
    users = "/admin/mail/users"
    answer_ = await box.api.post(users + "/add", email=NEW, password="password")
    assert (answer_.status, answer_.type) == (400, "text/plain; charset=utf-8")
    assert answer_.text.startswith(COMMON)
    assert (await box.api.post(users + "/password", email=USER, password="passw0rd2026")).text.startswith(
        WEAK
    )
    taken = await box.api.post(users + "/add", email=USER, password="password")
    assert taken.text == "User already exists."
    unknown = await box.api.post(users + "/password", email=NEW, password="password")
    assert unknown.text == f"That's not a user ({NEW})."
    assert (await box.api.post(users + "/add", email=NEW, password=PASSWORD)).text == "mail user added\n"


async def test_rules_one_by_one(boxes: Boxes) -> None:
    """Strength and the list of common ones can be asked for without the other, or not at all."""
    _, browser = await with_browser(boxes, password_min_score=0)
    assert COMMON in words(await add(browser, "password"))
    assert (await add(browser, "aaaaaaaaaaaa")).status == 303
    _, browser = await with_browser(boxes, password_refuse_common=False, password_min_score=1)
    assert WEAK in words(await add(browser, "password"))
    assert (await add(browser, "passw0rd2026")).status == 303
    _, browser = await with_browser(boxes, password_policy=())
    assert (await add(browser, "password")).status == 303
    _, browser = await with_browser(boxes, password_min_score=4)
    assert WEAK in words(await add(browser, "another password"))


@pytest.mark.parametrize("length", [9, 24])
async def test_another_length(boxes: Boxes, length: int) -> None:
    """A longer least length holds everywhere, is said in each text and in the field, and made-up ones have it."""
    box, browser = await with_browser(boxes, password_min_length=length)
    said = f"Passwords must be at least {length} characters."
    password = PASSWORD[: length - 1] if length < 20 else PASSWORD
    assert said in words(await add(browser, password))
    form = await browser.get("/admin/users/add")
    assert f'minlength="{length}"' in field(form, "password")
    assert f"At least {length} characters of any kind." in words(form)
    assert (await box.api.post("/admin/mail/users/add", email=NEW, password=password)).text == said
    with pytest.raises(InvalidInputError, match=said):
        await box.add(NEW, password=password)
    check = as_script(browser, "div#mu-password-note")
    typing = await check.post("/admin/users/check", field="password", password=password, typing="1")
    assert "mu-fault" not in typing.text
    assert (await add(browser, suggest_password())).status == 303


@pytest.mark.parametrize(
    "wrong",
    [
        {"password_min_length": 7},
        {"password_min_length": 25},
        {"password_policy": ("page", "mail")},
        {"password_min_score": 5},
        {"password_min_score": -1},
        {"password_breach_timeout_seconds": 0},
        {"password_breach_url": "https://api.example/range"},
        {"password_breach_url": "ftp://api.example/"},
        {"password_breach_url": "https://user:secret@api.example/"},
        {"password_breach_url": "https://api.example/?x="},
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    """A value that cannot be keeps the panel from starting, and says what can."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Settings.load(environ={}, **wrong)


async def test_a_known_password(boxes: Boxes) -> None:
    """One that a service knows is refused on the page, on adding, setting and while it is looked at."""
    async with serving(answer(known())) as server:
        box, browser = await with_browser(boxes, password_breach_url=server.url)
        refused = await add(browser, PASSWORD)
        assert refused.status == 400
        assert BREACHED in words(refused)
        changed = await browser.post("/admin/users/password", email=USER, password=PASSWORD)
        assert BREACHED in words(changed)
        check = as_script(browser, "div#mu-password-note")
        asked = len(server.heads)
        await check.post("/admin/users/check", field="password", password=PASSWORD, typing="1")
        await check.post("/admin/users/check", field="password", password="password")
        assert len(server.heads) == asked
        left = await check.post("/admin/users/check", field="password", password=PASSWORD)
        assert BREACHED in words(left)
        assert (await box.api.post("/admin/mail/users/add", email=NEW, password=PASSWORD)).status == 200
        assert len(server.heads) == asked + 1


async def test_a_password_that_nobody_knows(boxes: Boxes) -> None:
    """One that the service does not know is taken."""
    async with serving(answer(PADDING)) as server:
        _, browser = await with_browser(boxes, password_breach_url=server.url)
        assert (await add(browser, PASSWORD)).status == 303
        assert len(server.heads) == 1


async def test_a_service_that_is_away(boxes: Boxes) -> None:
    """It is done without the answer, or not at all, as is set; then with when to try again, and nothing is lost."""
    async with serving(answer("", "503 Service Unavailable")) as server:
        url = server.url
        _, browser = await with_browser(boxes, password_breach_url=url)
        assert (await add(browser, PASSWORD)).status == 303
        box, browser = await with_browser(boxes, password_breach_url=url, password_breach_required=True)
        refused = await add(browser, PASSWORD)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
        assert AWAY in words(refused)
        assert value(refused, "email") == NEW
        assert await box.find(NEW) is None
        check = as_script(browser, "div#mu-password-note")
        left = await check.post("/admin/users/check", field="password", password=PASSWORD)
        assert (left.status, words(left)) == (200, "Strength: Very good")


async def test_nobody_is_asked_unless_it_is_set(
    box: Box, monkeypatch: pytest.MonkeyPatch, browser: Client
) -> None:
    """By default no password, nor anything of one, leaves the machine."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mailusers_plugin.breached_passwords.SimpleAsyncHTTPClient", refuse)
    assert (await add(browser, PASSWORD)).status == 303


async def test_it_cannot_be_crowded_out(box: Box, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait for an estimate nobody is let in without one: it is said when to try again."""
    monkeypatch.setattr(password_strength, "_MAX_QUEUED", 0)
    refused = await add(browser, "password")
    assert refused.status == 503
    assert "Too many passwords are being checked at once." in words(refused)
    assert await box.find(NEW) is None


async def test_the_loop_does_not_wait(box: Box) -> None:
    """However long a password is, it is looked at beside the event loop."""
    policy = box.service.policy
    asking = asyncio.gather(
        *(policy.check("page", "correct horse battery staple " * 35 + str(n), NEW) for n in range(10))
    )
    turns = 0
    while not asking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert all(strength is not None and strength.score == 4 for strength in await asking)


async def test_no_list_of_words_is_too_long(box: Box) -> None:
    """An address of any length and kind can stand beside a password."""
    policy = box.service.policy
    for email in ("", "@", "a" * 100_000 + "@example.com", ".".join("ab" * 200), "\0\ud800@x"):
        with pytest.raises(WeakPasswordError):
            await policy.check("page", "password", email)

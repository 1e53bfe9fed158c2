"""The page of API tokens, without scripts: making one, which is shown this once, and revoking one."""

from __future__ import annotations

import logging
import re

import pytest

from mailusers_plugin.auth.token_keys import is_key
from mailusers_plugin.models import ADMIN
from mailusers_plugin.permissions import SCOPES
from tests.handlers.browsing import HOSTILE, as_browser, follow, value, words
from tests.handlers.callers import bearer
from tests.support import BOSS, USER, Answer, Box, Client

PAGE = "/admin/mailusers/tokens"
OTHER = "other@example.com"


def key_of(answer: Answer) -> str:
    """Return the token that a page shows."""
    found = re.findall(r"mu_[0-9A-Za-z]{49}", answer.text)
    assert len(found) == 1, answer.text
    assert is_key(found[0])
    return str(found[0])


async def make(client: Client, **form: str) -> Answer:
    """Send the form."""
    return await client.post(PAGE, **{"name": "a script", "scope": "users:read", "days": "90", **form})


async def test_shown_once(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A token is shown in the answer to its making, which nothing keeps, and nowhere else after that."""
    browser = as_browser(await box.browser(BOSS))
    with caplog.at_level(logging.DEBUG):
        answer = await make(browser, networks="192.0.2.0/24\r\n127.0.0.0/8, ::1", days="7")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Location" not in answer.headers
    key = key_of(answer)
    assert (await box.nobody.sending(**bearer(key)).get("/admin/mail/users")).status == 200
    for later in (await browser.get(PAGE), await browser.get("/admin/users")):
        assert key not in later.text
        assert key not in str(later.headers)
    assert key not in caplog.text
    shown = words(await browser.get(PAGE))
    assert f"Owner {BOSS}" in shown
    assert "192.0.2.0/24, 127.0.0.0/8, ::1/128" in shown
    assert "127.0.0.1 Revoke" in shown
    [token] = await box.runtime.tokens().everything()
    assert token.scopes == ("users:read",)


async def test_faults(box: Box, admin: Client) -> None:
    """What is wrong is said, what was typed stays, and nothing is made."""
    browser = as_browser(await box.browser(BOSS))
    for form, text in (
        ({"name": " "}, "Give the token a name"),
        ({"scope": ""}, "Choose at least one of these scopes"),
        ({"scope": "tokens"}, "Choose at least one of these scopes"),
        ({"days": "soon"}, "Say after how many days the token expires, or never."),
        ({"days": "-1"}, "Say after how many days"),
        ({"days": "1e9"}, "Say after how many days"),
        ({"days": "٣"}, "Say after how many days"),
        ({"days": "99999"}, "at most 3,650 days"),
        ({"networks": "here"}, "here is not a network"),
        ({"networks": HOSTILE}, "is not a network"),
    ):
        answer = await make(browser, **form)
        assert (answer.status, text in words(answer)) == (400, True), (form, words(answer))
        assert HOSTILE not in answer.text
    assert value(await make(browser, name=HOSTILE, networks="x"), "name") == HOSTILE
    assert await box.runtime.tokens().everything() == []


async def test_never(box: Box, admin: Client) -> None:
    """A token that does not expire is made where that is chosen, and only there."""
    browser = as_browser(await box.browser(BOSS))
    assert (await make(browser, days="never")).status == 200
    assert (await make(browser, days="")).status == 200
    newest, oldest = await box.runtime.tokens().everything()
    assert (newest.expires_at is None, oldest.expires_at is None) == (False, True)
    assert re.search(r'<option value="90" selected>', (await browser.get(PAGE)).text)


async def test_revoke(box: Box, admin: Client) -> None:
    """A token is revoked after a question, by any administrator, and one that is gone says so."""
    browser = as_browser(await box.browser(BOSS))
    key = key_of(await make(browser, name=HOSTILE))
    await box.add(OTHER, (ADMIN,))
    other = as_browser(await box.browser(OTHER))
    page = await other.get(PAGE)
    assert HOSTILE not in page.text
    [link] = re.findall(r'href="(/admin/mailusers/tokens/revoke\?id=[0-9a-f]+)"', page.text)
    asked = await other.get(link)
    assert (asked.status, HOSTILE in words(asked)) == (200, True)
    assert (await box.nobody.sending(**bearer(key)).get("/admin/mail/users")).status == 200
    token_id = link.partition("=")[2]
    done = await other.post(f"{PAGE}/revoke", id=token_id)
    assert "The token was revoked." in words(await follow(other, done))
    refused = await box.nobody.sending(**bearer(key)).get("/admin/mail/users")
    assert (refused.status, refused.text) == (401, "That API token is not valid.\n")
    for again in (await other.get(link), await other.post(f"{PAGE}/revoke", id=token_id)):
        assert (again.status, "There is no such API token any more." in words(again)) == (400, True)


async def test_who_sees_it(box: Box, admin: Client, user: str) -> None:
    """The page is for administrators; a browser without a session is sent to log in and comes back to it."""
    answer = await as_browser(box.nobody).get(PAGE)
    assert (answer.status, answer.headers["Location"]) == (
        303,
        "/admin/mailusers/login?next=%2Fadmin%2Fmailusers%2Ftokens",
    )
    assert (await as_browser(box.basic(USER)).get(PAGE)).status == 403
    assert f'href="{PAGE}"' in (await as_browser(box.basic(BOSS)).get("/admin/users")).text
    without_token = as_browser(await box.browser(BOSS, xsrf=None))
    assert (await make(without_token)).status == 403
    assert await box.runtime.tokens().everything() == []


async def test_the_system_key_owns_no_token(box: Box, admin: Client) -> None:
    """The system API key acts for nobody, so no token can be made by it here."""
    answer = await make(as_browser(box.api))
    assert (answer.status, "a token needs an owner" in words(answer)) == (400, True)


async def test_every_scope_is_explained(box: Box, admin: Client) -> None:
    """The form offers each scope there is, with what it allows."""
    page = await as_browser(await box.browser(BOSS)).get(PAGE)
    assert re.findall(r'name="scope" value="([^"]+)"', page.text) == list(SCOPES)
    assert "Everything that an administrator may do, but for API tokens." in words(page)


async def test_words_of_a_refusal(box: Box, admin: Client) -> None:
    """A token that may not do something is told what it needs, as text and as JSON, without a challenge."""
    client = box.nobody.sending(**bearer(key_of(await make(as_browser(await box.browser(BOSS))))))
    answer = await client.post("/admin/mail/users/remove", email=USER)
    assert (answer.status, answer.text) == (403, "This API token may not do that: it needs users:write.")
    assert "WWW-Authenticate" not in answer.headers
    answer = await client.sending(Accept="application/json").post(
        "/admin/mail/users/quota", email=USER, quota="1G"
    )
    assert answer.json() == {
        "status": "error",
        "reason": "This API token may not do that: it needs quota:write.",
    }

"""The Users page and its forms, as a browser without scripts uses them."""

from __future__ import annotations

import re

import pytest

from mailusers_plugin import Identity
from tests.handlers.browsing import HOSTILE, as_browser, as_script, words
from tests.support import BOSS, PASSWORD, USER, XSRF, Box, Boxes, Client

USERS = "/admin/users"


async def test_the_page_shows_users_by_domain(box: Box, browser: Client) -> None:
    """Each user stands below the domain, with the quota; what is not known says why."""
    await box.add("b@example.org", quota="5G")
    answer = await browser.get(USERS)
    assert answer.status == 200
    assert answer.type == "text/html; charset=utf-8"
    text = words(answer)
    assert re.search(r"example\.com 2 active .*boss@example\.com Administrator You .*user@example\.com", text)
    assert re.search(r"example\.org 1 active .*b@example\.org Size \? not measured yet .*Quota 5G", text)


async def test_sizes_stand_with_their_percentage(box: Box, browser: Client) -> None:
    """A measured mailbox shows size, exact bytes, when that was, and how full it is, in words from 80 %."""
    await box.service.set_quota(Identity(BOSS, "cli").actor, USER, "10M")
    box.make_mailbox(USER)
    (box.maildir(USER) / "maildirsize").write_text("10485760S\n9437184 3\n")
    box.runtime.refresh_usage()
    answer = await browser.get(USERS)
    text = words(answer)
    assert re.search(
        r"Size 9\.0M exact size Size 9,437,184 bytes Messages 3 Measured .* UTC Used 90% filling up", text
    )
    assert "Quota 10M exact quota Quota 10,485,760 bytes" in text
    assert '<progress aria-hidden="true" max="100" value="90.0">' in answer.text


async def test_an_archived_user_names_the_directory(box: Box, browser: Client) -> None:
    """An archived row says since when, by whom, how to restore it and which directory holds the mail."""
    box.make_mailbox(USER)
    await box.service.archive(Identity(BOSS, "cli").actor, USER)
    text = words(await browser.get(USERS))
    assert re.search(rf"Archived \w+ \d+, \d{{4}}, .* UTC by {BOSS}\.", text)
    assert f"The mail is kept in {box.maildir(USER)}." in text
    assert f"Undo archive of {USER}" in text or "Undo archive Restore Delete permanently" in text


@pytest.mark.parametrize("path", ["archive", "remove-admin"])
async def test_nobody_locks_himself_out(browser: Client, path: str) -> None:
    """Your own row offers neither, and says why; a form that is sent all the same is refused."""
    page = await browser.get(USERS)
    assert f'href="/admin/users/{path}?email=boss' not in page.text
    assert "You cannot archive your own account or stop being an administrator." in words(page)
    assert (await browser.post(f"/admin/users/{path}", email=BOSS)).status == 400


async def test_the_last_administrator(box: Box, admin: Client) -> None:
    """The last administrator's row says why nothing is offered, to whoever else looks."""
    page = await as_browser(box.api).get(USERS)
    assert "The last administrator can neither be archived nor become a normal user." in words(page)
    assert "/admin/users/archive?" not in page.text


async def test_the_token_is_taken_from_the_form(box: Box, browser: Client) -> None:
    """Every form on the page carries the token, and that is enough."""
    page = await browser.get(USERS)
    forms = re.findall(r'<form[^>]*method="post".*?</form>', page.text, re.DOTALL)
    assert len(forms) > 1
    tokens = [re.findall(r'name="_xsrf" value="([^"]+)"', form) for form in forms]
    assert {len(found) for found in tokens} == {1}
    headers = {name: value for name, value in browser.headers.items() if name != "X-XSRFToken"}
    plain = Client(box.base_url, headers)
    answer = await plain.post("/admin/users/quota", email=USER, quota="2G", _xsrf=tokens[0][0])
    assert answer.status == 303


async def test_hostile_values_are_text(box: Box, browser: Client) -> None:
    """What other programs wrote into the box, and what a link carries, is shown as text."""
    box.sql(
        "INSERT INTO users (email, password, privileges, quota, extra) VALUES (?, 'x', ?, ?, '')",
        f"{HOSTILE}@example.com",
        f'{HOSTILE}"quote',
        HOSTILE,
    )
    page = await browser.get(USERS, q="onerror", domain="")
    assert page.text.count("onerror=alert(1)") > 2
    assert HOSTILE not in page.text
    assert HOSTILE not in (await browser.get(USERS, q=HOSTILE, domain=HOSTILE, page=HOSTILE)).text


@pytest.mark.parametrize(
    ("done", "email"),
    [
        ("nonsense", USER),
        ("added", "nobody@example.com"),
        ("archived", USER),
        ("purged", USER),
        ("made-admin", USER),
        ("added", f"{HOSTILE}@example.com"),
        ("purged", "x" * 300 + "@example.com"),
        ("purged", "send your password to evil@example.com"),
    ],
)
async def test_links_cannot_claim_what_is_not_so(browser: Client, done: str, email: str) -> None:
    """A message is shown only where the box agrees with it."""
    page = await browser.get(USERS, done=done, email=email)
    said = re.search(r'role="status"[^>]*>(.*?)</div>', page.text, re.DOTALL)
    assert said is not None
    assert said[1].strip() == ""


class Reader:
    """A host whose only user may look."""

    login_url = "/host/login"

    def identify(self, handler: object) -> Identity:
        """Know everybody."""
        return Identity("reader", "cookie")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow looking."""
        return permission == "users:read"


async def test_a_reader_is_offered_nothing(boxes: Boxes) -> None:
    """Who may only look sees the list, and neither forms nor actions."""
    box = await boxes.open(host=Reader())
    await box.add(USER)
    box.make_mailbox("gone@example.com")
    client = as_browser(box.nobody)
    page = await client.get(USERS)
    assert page.status == 200
    assert USER in page.text
    offered = set(re.findall(r'(?:href|action|hx-post)="/admin/users/([a-z-]+)', page.text))
    assert offered <= {"export", "statistics"}
    assert "/admin/login" not in page.text
    assert (await client.get("/admin/users/quota", email=USER)).status == 403


async def test_logging_in_and_out(box: Box, admin: Client) -> None:
    """A browser that is not logged in is led to the form and back; the button ends the session."""
    visitor = as_browser(box.nobody)
    answer = await visitor.get(USERS)
    assert answer.status == 303
    form = await visitor.get(answer.headers["Location"])
    assert 'name="next" value="/admin/users"' in form.text
    wrong = await visitor.sending(Cookie=f"_xsrf={XSRF}").post(
        "/admin/mailusers/login", email=BOSS, password="wrong password", _xsrf=XSRF
    )
    assert wrong.status == 400
    assert f'value="{BOSS}"' in wrong.text
    assert "wrong password" not in wrong.text
    page = await as_browser(await box.browser(BOSS)).get(USERS)
    assert 'action="/admin/mailusers/logout"' in page.text
    by_password = await as_browser(admin).get(USERS)
    assert "/admin/mailusers/logout" not in by_password.text


async def test_the_first_administrator(boxes: Boxes) -> None:
    """The set-up form keeps the address when the password is refused, and the token."""
    box = await boxes.open()
    token = box.handle.first_run.begin()
    visitor = as_browser(box.nobody).sending(Cookie=f"_xsrf={XSRF}")
    form = await visitor.get("/admin/mailusers/setup", token=token)
    assert f'name="token" value="{token}"' in form.text
    refused = await visitor.post(
        "/admin/mailusers/setup", token=token, email=BOSS, password="short", _xsrf=XSRF
    )
    assert refused.status == 400
    assert f'value="{BOSS}"' in refused.text
    answer = await visitor.post(
        "/admin/mailusers/setup", token=token, email=BOSS, password=PASSWORD, _xsrf=XSRF
    )
    assert answer.status == 303
    assert await box.emails() == [BOSS]


async def test_a_script_gets_the_list_alone(box: Box, browser: Client) -> None:
    """The same address answers a script with the list, not to be taken for the page, and with its proper address."""
    script = browser.sending(HX_Request="true")
    answer = await script.get(USERS, q="user", sort="nonsense", done="added", email=USER)
    assert answer.text.startswith('<section class="mu-list" id="mu-list"')
    assert "<html" not in answer.text
    assert answer.headers["HX-Push-Url"] == f"{USERS}?q=user"
    assert "HX-Request" in ", ".join(answer.headers.get_list("Vary"))
    assert answer.headers["Cache-Control"] == "no-store"
    page = await browser.get(USERS, q="user")
    assert "HX-Request" in ", ".join(page.headers.get_list("Vary"))
    assert "HX-Push-Url" not in page.headers


async def test_who_was_changed_is_not_shown(browser: Client) -> None:
    """A script that says who was changed is led to him, unless he is shown or gone; the address stays the list's."""
    script = as_script(browser, "section#mu-list")
    answer = await script.get("/admin/users", q="boss", email=USER)
    assert f"{USER} is not on this page. Show it" in words(answer)
    assert answer.headers["HX-Push-Url"] == "/admin/users?q=boss"
    for query in ({"q": "user", "email": USER}, {"q": "boss", "email": "nobody@example.com"}):
        assert "is not on this page" not in words(await script.get("/admin/users", **query))


async def test_a_place_that_is_gone(box: Box, browser: Client) -> None:
    """A cursor of another list, or of none, leads to the first page."""
    for at in ("nonsense", "W10", "x" * 3000):
        answer = await browser.get(USERS, at=at, sort="size")
        assert answer.status == 200
        assert USER in words(answer)


async def test_domains_for_the_filter(box: Box, browser: Client) -> None:
    """Domains are found by a part of them, also as people write them."""
    await box.add("b@xn--mller-kva.example")
    found = await browser.sending(HX_Request="true").get("/admin/users/domains", domain="mül")
    assert "exampl" not in found.text
    found = await browser.sending(HX_Request="true").get("/admin/users/domains", domain="MÜLLER.example")
    assert re.findall(r'<option value="([^"]+)"', found.text) == ["müller.example"]
    found = await browser.sending(HX_Request="true").get("/admin/users/domains", domain=".com")
    assert re.findall(r'<option value="([^"]+)"', found.text) == ["example.com"]

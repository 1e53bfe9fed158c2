"""The Users page and its forms, as a browser without scripts uses them."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.ioloop import IOLoop

from mailusers_plugin import Identity
from mailusers_plugin.handlers import page_models
from mailusers_plugin.models import ADMIN
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client

USERS = "/admin/users"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def browser(io_loop: IOLoop, box: Box, admin: Client, user: str) -> Client:
    """The browser in which the administrator is logged in."""
    client: Client = io_loop.run_sync(lambda: box.browser(BOSS))
    return as_browser(client)


def as_browser(client: Client) -> Client:
    """Ask for HTML."""
    return client.sending(Accept="text/html")


def words(answer: Answer) -> str:
    """What the page says, without its tags, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", answer.text)).split())


async def follow(client: Client, answer: Answer) -> Answer:
    """Go where a form leads."""
    assert answer.status == 303, answer.text
    return await client.get(answer.headers["Location"])


async def test_the_page_shows_users_by_domain(box: Box, browser: Client) -> None:
    """Each user stands below the domain, with the quota; what is not known says why."""
    await box.add("b@example.org", quota="5G")
    answer = await browser.get(USERS)
    assert answer.status == 200
    assert answer.type == "text/html; charset=utf-8"
    text = words(answer)
    assert re.search(r"example\.com 2 active .*boss@example\.com Administrator You .*user@example\.com", text)
    assert re.search(r"example\.org 1 active b@example\.org Size \? not measured yet .*Quota 5G", text)


async def test_sizes_stand_with_their_percentage(box: Box, browser: Client) -> None:
    """A measured mailbox shows size, exact bytes and how full it is, in words from 80 %."""
    await box.service.set_quota(Identity(BOSS, "cli").actor, USER, "10M")
    box.make_mailbox(USER)
    (box.maildir(USER) / "maildirsize").write_text("10485760S\n9437184 3\n")
    box.runtime.refresh_usage()
    answer = await browser.get(USERS)
    assert 'title="9,437,184 bytes">9.0M</span>' in answer.text
    assert "90% filling up" in words(answer)
    assert '<progress aria-hidden="true" max="100" value="90.0">' in answer.text


async def test_an_archived_user_names_the_directory(box: Box, browser: Client) -> None:
    """An archived row says since when, by whom, how to restore it and which directory holds the mail."""
    box.make_mailbox(USER)
    await box.service.archive(Identity(BOSS, "cli").actor, USER)
    text = words(await browser.get(USERS))
    assert re.search(rf"Archived \d{{4}}-\d\d-\d\d \d\d:\d\d UTC by {BOSS}\.", text)
    assert f"To restore {USER}, choose Restore" in text
    assert f"delete the directory {box.maildir(USER)} on the server" in text


async def test_adding(box: Box, browser: Client) -> None:
    """The add form adds a user with what was chosen and says so on the page."""
    answer = await browser.post(
        "/admin/users/add", email=" new@example.com ", password=PASSWORD, privilege="admin", quota="5g"
    )
    page = await follow(browser, answer)
    assert "new@example.com was added." in words(page)
    account = await box.find("new@example.com")
    assert account is not None
    assert (account.privileges, account.quota) == ((ADMIN,), "5G")


async def test_adding_says_everything_that_is_wrong(box: Box, browser: Client) -> None:
    """Each message stands beside its field; what was typed stays, but for the password."""
    answer = await browser.post(
        "/admin/users/add", email="Ä@example.com", password="2short", privilege="admin", quota="5 G"
    )
    assert answer.status == 400
    for field, message in (
        ("email", "Invalid email address."),
        ("password", "Passwords must be at least eight characters."),
        ("quota", "Quotas cannot contain spaces, commas, or decimal points."),
    ):
        fault = re.search(rf'id="mu-{field}-fault">(.*?)</p>', answer.text)
        assert fault is not None, field
        assert message in html.unescape(fault[1])
    assert 'value="Ä@example.com"' in answer.text
    assert 'value="5 G"' in answer.text
    assert '<option value="admin" selected>' in answer.text
    assert "2short" not in answer.text
    assert await box.emails() == [BOSS, USER]


@pytest.mark.parametrize("email", [USER, "postmaster@example.com"])
async def test_adding_what_only_the_box_can_refuse(browser: Client, email: str) -> None:
    """A taken or reserved address is refused beside the address."""
    answer = await browser.post("/admin/users/add", email=email, password=PASSWORD)
    assert answer.status == 400
    assert 'id="mu-email-fault"' in answer.text


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [
        ("quota", {"quota": "7G"}, f"The quota of {USER} is now 7G."),
        ("password", {"password": "another good one"}, f"The password of {USER} was set."),
        ("make-admin", {}, f"{USER} is now an administrator."),
        ("archive", {}, f"{USER} was archived. The mailbox is kept."),
    ],
)
async def test_actions(browser: Client, path: str, form: dict[str, str], message: str) -> None:
    """An action asks first, then does it, leads back to the page and says what was done."""
    asked = await browser.get(f"/admin/users/{path}", email=USER)
    assert asked.status == 200
    assert USER in words(asked)
    assert f'action="/admin/users/{path}"' in asked.text
    done = await follow(browser, await browser.post(f"/admin/users/{path}", email=USER, **form))
    assert message in words(done)


async def test_removing_an_administrator(box: Box, browser: Client) -> None:
    """An administrator becomes a normal user."""
    await box.add("second@example.com", (ADMIN,))
    answer = await browser.post("/admin/users/remove-admin", email="second@example.com")
    assert "second@example.com is now a normal user." in words(await follow(browser, answer))


async def test_restoring(box: Box, browser: Client) -> None:
    """Restoring suggests the old quota and needs a password."""
    await box.add("gone@example.com", quota="3G")
    await box.service.archive(Identity(BOSS, "cli").actor, "gone@example.com")
    assert 'value="3G"' in (await browser.get("/admin/users/restore", email="gone@example.com")).text
    refused = await browser.post("/admin/users/restore", email="gone@example.com", password="", quota="4G")
    assert refused.status == 400
    assert "No password provided." in words(refused)
    assert 'value="4G"' in refused.text
    answer = await browser.post(
        "/admin/users/restore", email="gone@example.com", password=PASSWORD, quota="4G"
    )
    assert "gone@example.com was restored, with its old mailbox." in words(await follow(browser, answer))


async def test_restoring_needs_something_archived(box: Box, browser: Client) -> None:
    """The restore form adds nobody who was not archived."""
    answer = await browser.post("/admin/users/restore", email="never@example.com", password=PASSWORD)
    assert answer.status == 400
    assert "That account is not archived." in words(answer)
    assert await box.find("never@example.com") is None


async def test_purging_wants_the_address(box: Box, browser: Client) -> None:
    """Only who types the address deletes the mailbox."""
    box.make_mailbox("gone@example.com", "a message")
    answer = await browser.post("/admin/users/purge", email="gone@example.com", confirm="other@example.com")
    assert answer.status == 400
    assert "Nothing was deleted." in words(answer)
    assert box.maildir("gone@example.com").exists()
    answer = await browser.post("/admin/users/purge", email="gone@example.com", confirm="gone@example.com")
    assert "gone@example.com was deleted for good." in words(await follow(browser, answer))
    assert not box.maildir("gone@example.com").exists()


@pytest.mark.parametrize(
    ("path", "form", "field"),
    [("quota", {"quota": "1.5G"}, "quota"), ("password", {"password": "short"}, "password")],
)
async def test_faults_stand_beside_their_field(
    browser: Client, path: str, form: dict[str, str], field: str
) -> None:
    """A wrong value asks again, with the message at the field."""
    answer = await browser.post(f"/admin/users/{path}", email=USER, **form)
    assert answer.status == 400
    assert f'id="mu-{field}-fault"' in answer.text
    assert ("1.5G" in answer.text) == (field == "quota")
    assert "short" not in answer.text


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


@pytest.mark.parametrize(
    "path", ["quota", "password", "make-admin", "remove-admin", "archive", "restore", "purge"]
)
async def test_unknown_users(browser: Client, path: str) -> None:
    """A form about nobody is an error page with a way back, not a form."""
    answer = await browser.get(f"/admin/users/{path}", email=f"{HOSTILE}@example.com")
    assert answer.status == 400
    assert "<form" not in answer.text.partition("<main")[2]
    assert 'href="/admin/users"' in answer.text
    assert HOSTILE not in answer.text


@pytest.mark.parametrize(
    "path", ["add", "quota", "password", "make-admin", "remove-admin", "archive", "restore", "purge"]
)
async def test_every_form_needs_its_token(box: Box, admin: Client, user: str, path: str) -> None:
    """A form that another site sends with the browser's cookie does nothing."""
    browser = as_browser(await box.browser(BOSS, xsrf=None))
    answer = await browser.post(
        f"/admin/users/{path}", email=USER, password=PASSWORD, quota="1G", confirm=USER
    )
    assert answer.status == 403
    assert (await box.find(USER)) is not None


async def test_the_token_is_taken_from_the_form(box: Box, browser: Client) -> None:
    """Every form on the page carries the token, and that is enough."""
    page = await browser.get(USERS)
    forms = re.findall(r'<form[^>]*method="post".*?</form>', page.text, re.DOTALL)
    assert len(forms) == 2
    tokens = [re.findall(r'name="_xsrf" value="([^"]+)"', form) for form in forms]
    assert [len(found) for found in tokens] == [1, 1]
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
    assert 'role="status"' not in (await browser.get(USERS, done=done, email=email)).text


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
    assert "/admin/users/" not in page.text
    assert "/admin/login" not in page.text
    assert (await client.get("/admin/users/quota", email=USER)).status == 403


async def test_many_users_become_an_overview(box: Box, browser: Client) -> None:
    """A box with more users than fit shows its domains; a domain and a search show users, page by page."""
    for number in range(page_models.MAX_ROWS + 20):
        box.sql(
            "INSERT INTO users (email, password, privileges, quota, extra) VALUES (?, 'x', '', '0', '')",
            f"user{number:04}@many.example.com",
        )
    page = await browser.get(USERS)
    assert "mu-overview" in page.text
    assert "user0000@" not in page.text.partition('id="mu-api"')[0]
    first = await browser.get(USERS, domain="many.example.com")
    assert "user0499@" in first.text
    assert "user0500@" not in first.text
    following = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert following is not None
    target = urlsplit(html.unescape(following[1]))
    assert parse_qs(target.query)["domain"] == ["many.example.com"]
    assert "user0519@" in (await browser.fetch("GET", f"{target.path}?{target.query}")).text
    found = await browser.get(USERS, q="USER0007")
    assert "1 found" in words(found)
    assert "user0007@many.example.com" in found.text


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

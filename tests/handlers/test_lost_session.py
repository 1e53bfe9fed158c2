"""A session that ended while somebody filled in a form: log in, come back, lose nothing but passwords."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mailusers_plugin import Identity
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN
from tests.handlers.browsing import as_browser, as_script, follow, told, value, words
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client

SECRET = "a password that was typed"


@pytest.fixture
def visitor(box: Box, admin: Client, user: str) -> Client:
    """A browser whose session has ended; it still has the page's token."""
    return as_browser(box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF))


async def log_in(visitor: Client, location: str) -> tuple[Client, str]:
    """Log in where a refused form has led; return the browser and where that leads."""
    page = await visitor.get(location)
    target = value(page, "next")
    answer = await visitor.post("/admin/mailusers/login", email=BOSS, password=PASSWORD, next=target)
    assert answer.status == 303
    session = answer.headers["Set-Cookie"].partition(";")[0]
    return visitor.sending(Cookie=f"{session}; _xsrf={XSRF}"), answer.headers["Location"]


async def test_a_form_comes_back_filled(box: Box, visitor: Client) -> None:
    """After logging in the form is there again with what was typed, but for the password; nothing was done."""
    answer = await visitor.post(
        "/admin/users/add",
        email="new@example.com",
        password=SECRET,
        privilege="admin",
        quota_number="7",
        quota_unit="M",
        back="q=new",
    )
    assert answer.status == 303
    assert "typed" not in answer.headers["Location"]
    browser, location = await log_in(visitor, answer.headers["Location"])
    page = await browser.get(location)
    assert value(page, "email") == "new@example.com"
    assert value(page, "quota_number") == "7"
    assert '<option value="M" selected>' in page.text
    assert '<option value="admin" selected>' in page.text
    assert value(page, "back") == "q=new"
    assert value(page, "password") == ""
    assert await box.find("new@example.com") is None


@pytest.mark.parametrize("path", ["quota", "password", "archive", "purge", "restore", "undo"])
async def test_every_form_comes_back(box: Box, visitor: Client, path: str) -> None:
    """Each action leads back to its own form about the same user."""
    answer = await visitor.post(f"/admin/users/{path}", email=USER, quota="1G", password=SECRET, confirm="x")
    target = parse_qs(urlsplit(answer.headers["Location"]).query)["next"][0]
    assert urlsplit(target).path == f"/admin/users/{path}"
    assert parse_qs(urlsplit(target).query)["email"] == [USER]
    assert "typed" not in target


async def test_a_page_comes_back(visitor: Client) -> None:
    """A page that was asked for is the page that is shown after logging in."""
    answer = await visitor.get("/admin/users?q=new&sort=-size")
    _, location = await log_in(visitor, answer.headers["Location"])
    assert location == "/admin/users?q=new&sort=-size"


async def test_an_import_comes_back(visitor: Client) -> None:
    """Whoever pressed a button of an import is led back to it."""
    path = f"/admin/users/import/{'0' * 32}"
    answer = await visitor.post(path, action="import")
    assert parse_qs(urlsplit(answer.headers["Location"]).query)["next"] == [path]


async def test_many_users_come_back(visitor: Client) -> None:
    """A choice of a few users comes back; one that no address can hold leads to the list."""
    few = urlencode([("email", f"u{number}@example.com") for number in range(3)])
    many = urlencode([("email", f"u{number}@example.com") for number in range(500)] + [("back", "q=u")])
    form = "application/x-www-form-urlencoded"
    for body, target in ((few, f"/admin/users/bulk/archive?{few}"), (many, "/admin/users?q=u")):
        answer = await visitor.send("/admin/users/bulk/archive", body, form)
        assert parse_qs(urlsplit(answer.headers["Location"]).query)["next"] == [target]


@pytest.mark.parametrize(
    "target",
    ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "/a\r\nb"],
)
async def test_no_other_site_is_led_to(visitor: Client, target: str) -> None:
    """Whatever a link says, logging in leads to a page of this server."""
    answer = await visitor.post("/admin/mailusers/login", email=BOSS, password=PASSWORD, next=target)
    assert answer.headers["Location"] == "/admin/users"


@pytest.mark.parametrize("path", ["quota", "bulk/quota", "add"])
async def test_a_script_gets_a_log_in(box: Box, visitor: Client, path: str) -> None:
    """A script gets a dialog over what is open, and no challenge, which would open the browser's own box."""
    script = as_script(visitor)
    answer = await script.post(f"/admin/users/{path}", email=USER, quota="1G", do="yes", password=SECRET)
    assert answer.status == 401
    assert "WWW-Authenticate" not in answer.headers
    assert answer.headers["HX-Retarget"] == "#mu-dialogs"
    assert answer.headers["HX-Reswap"].startswith("beforeend")
    assert "Your session has ended." in words(answer)
    assert SECRET not in answer.text
    assert 'hx-post="/admin/mailusers/login"' in answer.text
    account = await box.find(USER)
    assert account is not None
    assert account.quota == "0"


async def test_logging_in_in_the_dialog(visitor: Client) -> None:
    """A wrong password is said in the dialog; the right one closes it and begins a session."""
    script = as_script(visitor, "dialog#mu-login")
    wrong = await script.post("/admin/mailusers/login", email=BOSS, password="wrong password")
    assert wrong.status == 400
    assert wrong.headers["HX-Retarget"] == "#mu-login"
    assert "Incorrect email address or password." in words(wrong)
    assert value(wrong, "email") == BOSS
    assert "wrong password" not in wrong.text
    right = await script.post("/admin/mailusers/login", email=BOSS, password=PASSWORD)
    assert right.status == 200
    assert right.headers["HX-Reswap"] == "delete"
    assert "mailusers_session=" in right.headers["Set-Cookie"]
    assert told(right) == {"mailusers:logged-in": {}}


async def test_the_list_asks_to_log_in(visitor: Client) -> None:
    """A list that is loaded anew without a session asks to log in too, and leaves the list alone."""
    answer = await as_script(visitor, "section#mu-list").get("/admin/users?q=new")
    assert answer.status == 401
    assert answer.headers["HX-Retarget"] == "#mu-dialogs"


class Stranger:
    """A host that logs people in itself and knows nobody."""

    login_url = "/host/login?from=mail"

    def identify(self, handler: object) -> Identity | None:
        """Know nobody."""
        return None

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow everything."""
        return True


async def test_a_host_with_its_own_log_in(boxes: Boxes) -> None:
    """A script never leads away: a dialog offers the host's log-in in a new tab, and from there where one was."""
    box = await boxes.open(host=Stranger())
    await box.add(BOSS, (ADMIN,))
    shown = f"{box.base_url}/admin/users?q=new"
    script = as_script(box.nobody).sending(HX_Current_URL=shown)
    quota = {"email": USER, "quota_number": "1", "quota_unit": "G"}
    for answer, target in (
        (await script.get("/admin/users/quota", email=USER), "/admin/users?q=new"),
        (await script.post("/admin/users/quota", **quota), f"/admin/users/quota?{urlencode(quota)}"),
    ):
        assert answer.status == 401
        assert "HX-Redirect" not in answer.headers
        assert answer.headers["HX-Reswap"].startswith("beforeend")
        assert "Your session has ended. Nothing was done and nothing is lost" in words(answer)
        assert 'target="_blank"' in answer.text
        assert way_to_log_in(answer) == ("/host/login", target)
    for evil in ("https://evil.example//evil.example", "https://evil.example", "x:y"):
        answer = await script.sending(HX_Current_URL=evil).get("/admin/users/quota", email=USER)
        assert way_to_log_in(answer) == ("/host/login", "/admin/users")


def way_to_log_in(answer: Answer) -> tuple[str, str]:
    """Return the path of the log-in that an answer links to, and where it leads to afterwards."""
    found = re.search(r'<a[^>]*href="([^"]*)"[^>]*data-mu-login', answer.text)
    assert found is not None
    url = urlsplit(html.unescape(found[1]))
    return url.path, parse_qs(url.query)["next"][0]


@pytest.mark.parametrize("has_own_login", [True, False])
async def test_what_a_script_asks_by_itself(boxes: Boxes, has_own_login: bool) -> None:
    """Words while typing, and lists that are loaded anew, neither lead away nor open a dialog nor change the token."""
    box = await boxes.open(host=None if has_own_login else Stranger())
    await box.add(BOSS, (ADMIN,))
    script = as_script(box.nobody, "div#mu-email-note")
    script = script.sending(HX_Current_URL=f"{box.base_url}/admin/users?q=a&sort=-size")
    check = await script.post("/admin/users/check", field="email", email="new@example.com")
    assert "Your session has ended, so that this is not checked now." in words(check)
    assert "<a" not in check.text
    listed = await script.sending(Mailusers_Background="true").get("/admin/users?q=a")
    assert "Your session has ended, so that this page is not kept up to date any more." in words(listed)
    expected = "/admin/mailusers/login" if has_own_login else "/host/login"
    assert way_to_log_in(listed) == (expected, "/admin/users?q=a&sort=-size")
    for answer in (check, listed):
        assert answer.status == 401
        for name in ("HX-Redirect", "HX-Retarget", "WWW-Authenticate", "Set-Cookie", "X-XSRFToken"):
            assert name not in answer.headers


async def test_trouble_with_what_a_script_asks_by_itself(
    script: Client, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    """Where the box cannot be read while a list is loaded anew, that is said in no dialog."""

    async def fail(*_: object) -> None:
        raise UnavailableError("The account database is busy. Try again in a moment.")

    monkeypatch.setattr(box.runtime.directory, "wait_until_built", fail)
    answer = await script.sending(Mailusers_Background="true").get("/admin/users")
    assert answer.status == 503
    assert "HX-Retarget" not in answer.headers
    assert words(answer) == "The account database is busy. Try again in a moment."


async def test_a_lost_token_is_renewed(box: Box, admin: Client) -> None:
    """Where the token's cookie is gone or another one, each answer to a script brings a token that goes with it."""
    nobody = as_script(as_browser(box.nobody))
    asked = await nobody.post("/admin/users/add", email="new@example.com", password=SECRET)
    assert asked.status == 401
    old, cookie = asked.headers["X-XSRFToken"], asked.headers["Set-Cookie"].partition(";")[0]
    assert value(asked, "_xsrf") == old
    form = {"email": BOSS, "password": PASSWORD}
    other = nobody.sending(Cookie=f"_xsrf={XSRF}")
    late = await other.post("/admin/mailusers/login", _xsrf=old, **form)
    assert late.status == 403
    assert late.headers["HX-Retarget"] == "#mu-login"
    assert "This form was out of date. Send it once more." in words(late)
    assert value(late, "email") == BOSS
    right = await other.post("/admin/mailusers/login", _xsrf=late.headers["X-XSRFToken"], **form)
    assert right.status == 200
    session = right.headers["Set-Cookie"].partition(";")[0]
    user = {"email": "new@example.com", "password": SECRET}
    script = nobody.sending(Cookie=f"{session}; {cookie}")
    refused = await script.post("/admin/users/add", _xsrf=right.headers["X-XSRFToken"], **user)
    assert refused.status == 403
    assert refused.headers["HX-Reswap"].startswith("beforeend")
    assert "It is up to date now: send it once more." in words(refused)
    assert await box.find("new@example.com") is None
    added = await script.post("/admin/users/add", _xsrf=refused.headers["X-XSRFToken"], **user)
    assert added.status == 200
    assert await box.find("new@example.com") is not None


async def test_a_log_in_dialog_is_asked_for(visitor: Client) -> None:
    """A link opens the log-in as a dialog where scripts run, over what is there."""
    answer = await as_script(visitor).get("/admin/mailusers/login")
    assert answer.status == 200
    assert '<dialog class="mu-dialog" id="mu-login"' in answer.text


async def test_programs_are_refused_as_before(visitor: Client) -> None:
    """Who sends a wrong password by hand is challenged, whatever else the request says."""
    answer = await as_script(visitor).sending(Authorization="Basic xx").get("/admin/users/quota", email=USER)
    assert answer.status in (401, 403)
    assert "HX-Retarget" not in answer.headers


async def test_the_form_is_sent_once_more(box: Box, visitor: Client) -> None:
    """After logging in, sending the form that came back does what was wanted, once."""
    answer = await visitor.post("/admin/users/quota", email=USER, quota_number="2", quota_unit="G")
    browser, location = await log_in(visitor, answer.headers["Location"])
    page = await browser.get(location)
    form = re.search(r'<form[^>]*action="([^"]*/quota)".*?</form>', page.text, re.DOTALL)
    assert form is not None
    done = await browser.post(html.unescape(form[1]), email=USER, quota_number="2", quota_unit="G")
    assert f"The quota of {USER} is now 2G." in words(await follow(browser, done))
    assert [event["type"] for event in await box.events()].count("QuotaChanged") == 1

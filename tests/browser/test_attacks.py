"""What other sites try in the browser of somebody who is logged in: real sites, over TLS, one of them a sibling's."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import BrowserContext, Error, Page, expect
from tornado.web import Application, RequestHandler

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium_with, log_in
from tests.servers.certificates import make_certificate
from tests.support import BOSS, PASSWORD, USER, XSRF, Box, Boxes

pytestmark = pytest.mark.gen_test(timeout=180)

NAMES = ("panel.mail.example", "evil.mail.example", "evil.other.example")
"""The panel, a sibling of its domain, to which browsers send more, and a site that has nothing to do with it."""
EVIL = "evil@example.com"
SESSION = "__Host-mailusers_session.admin"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@dataclass
class Places:
    """Where everything is, and what the other sites show.

    :ivar panel: the box as a browser sees it
    :ivar others: the addresses of the other sites
    :ivar tls: what all of them answer with
    :ivar page: what they answer, whatever is asked
    :ivar cookies: what they set with it
    """

    panel: Box
    others: tuple[str, str]
    tls: ssl.SSLContext
    page: str = ""
    cookies: tuple[str, ...] = ()


class Site(RequestHandler):
    """A site of somebody else's."""

    def initialize(self, places: list[Places]) -> None:
        """Take what it is to show."""
        self.places = places

    def get(self) -> None:
        """Show it."""
        for cookie in self.places[0].cookies:
            self.add_header("Set-Cookie", cookie)
        self.finish(f"<!doctype html><title>evil</title>{self.places[0].page}")

    def post(self) -> None:
        """Take what is sent here; a password would be."""
        self.finish("taken")

    def check_xsrf_cookie(self) -> None:
        """Ask for nothing."""


@asynccontextmanager
async def attacked(
    boxes: Boxes, folder: Path, without: tuple[str, ...] = (), **settings: Any
) -> AsyncIterator[tuple[Places, BrowserContext]]:
    """Serve the panel and two other sites over TLS, and start a browser that finds them by name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*make_certificate(folder))
    box = await boxes.open(**settings)
    await box.add(BOSS, (ADMIN,))
    await box.add(EVIL, (ADMIN,))
    await box.add(USER)
    places: list[Places] = []
    site = Application([(".*", Site, {"places": places})])
    urls = [
        boxes.listen(app, ssl_options=context).replace("127.0.0.1", name)
        for app, name in zip((box.app, site, site), NAMES, strict=True)
    ]
    places.append(Places(replace(box, base_url=urls[0]), (urls[1], urls[2]), context))
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in NAMES)
    async with chromium_with(
        (f"--host-resolver-rules={rules}",), without, ignore_https_errors=True
    ) as browser:
        yield places[0], browser


async def enter(context: BrowserContext, places: Places) -> Page:
    """Let the browser have a session of the administrator's; return a new page."""
    key = await places.panel.session_key(BOSS, "cookie")
    own = {"name": SESSION, "value": key, "url": places.panel.base_url, "secure": True, "httpOnly": True}
    await context.add_cookies([own])  # type: ignore[list-item]
    return await context.new_page()


async def visit(page: Page, places: Places, site: str, content: str) -> None:
    """Go to another site that shows something."""
    places.page = content
    await page.goto(site + "/")


def form(action: str, **fields: str) -> str:
    """Return a form that sends itself."""
    inputs = "".join(f"<input name={name} value={json.dumps(value)}>" for name, value in fields.items())
    send = "<script>document.forms[0].requestSubmit()</script>"
    return f'<form method=post action="{action}">{inputs}<button>send</button></form>{send}'


async def state(box: Box) -> tuple[Any, ...]:
    """Return all that an attack could have changed."""
    return tuple(box.sql("SELECT * FROM users ORDER BY id")), await box.events()


async def is_logged_in(context: BrowserContext, places: Places, email: str = BOSS) -> bool:
    """Tell whether somebody is logged in at the panel."""
    page = await context.new_page()
    await page.goto(f"{places.panel.base_url}/admin/users")
    found = await page.locator(".mailusers-who span").all_inner_texts()
    await page.close()
    return found == [email]


async def test_forms_and_scripts_of_other_sites(boxes: Boxes, tmp_path: Path) -> None:
    """Forms, fetch in every mode, links and pictures of other sites change nothing, log nobody out and read nothing."""
    async with attacked(boxes, tmp_path) as (places, context):
        panel = places.panel.base_url
        page = await enter(context, places)
        before = await state(places.panel)
        # A sibling of the domain may set cookies for all of it, so that the token is one that it knows.
        places.cookies = (
            f"_xsrf={XSRF}; Domain=mail.example; Path=/admin; Secure",
            f"__Host-mailusers_xsrf={XSRF}; Domain=mail.example; Path=/; Secure",
            f"__Host-mailusers_xsrf={XSRF}; Path=/; Secure",
        )
        for site in places.others:
            for path, fields in (
                ("/admin/mail/users/remove", {"email": USER}),
                ("/admin/users/archive", {"email": USER}),
                ("/admin/users/bulk/archive", {"email": USER, "do": "yes"}),
                ("/admin/mailusers/logout", {}),
                ("/admin/logout", {}),
                ("/admin/mailusers/language", {"language": "de"}),
            ):
                content = form(panel + path, _xsrf=XSRF, **fields)
                async with page.expect_response(panel + path) as sent:
                    await visit(page, places, site, content)
                answer = await sent.value
                assert answer.status == 403, (site, path)
                assert "Another site sent this form" in await answer.text()
            results = await fetches(page, places, site)
            assert set(results) == {"TypeError"}
        assert await state(places.panel) == before
        assert await is_logged_in(context, places)


async def fetches(page: Page, places: Places, site: str) -> list[str]:
    """Let a site's script send what it can, in each mode; return what became of it."""
    panel = places.panel.base_url
    await visit(
        page,
        places,
        site,
        f"<img src='{panel}/admin/mailusers/logout'><img src='{panel}/admin/mail/users/remove?email={USER}'>",
    )
    program = """async ([panel, user, token]) => {
        const found = [];
        const form = new URLSearchParams({email: user, _xsrf: token});
        const ways = [
            {mode: "no-cors", body: form},
            {mode: "no-cors", body: form, headers: {Authorization: "Basic anVuazpqdW5r"}},
            {mode: "no-cors", body: JSON.stringify({email: user}), headers: {"Content-Type": "text/plain"}},
            {mode: "cors", body: form},
            {mode: "cors", body: form, headers: {Authorization: "Bearer junk"}},
            {mode: "cors", body: form, headers: {"X-XSRFToken": token}},
            {mode: "cors", body: JSON.stringify({email: user}), headers: {"Content-Type": "application/json"}},
            {mode: "cors", method: "DELETE"},
            {mode: "cors", body: form, headers: {"X-HTTP-Method-Override": "GET"}},
        ];
        for (const way of ways) {
            for (const path of ["/admin/mail/users/remove", "/admin/logout"]) {
                const answer = await fetch(panel + path, {method: "POST", credentials: "include", ...way})
                    .catch(error => ({type: error.name}));
                found.push(answer.type);
            }
        }
        for (const path of ["/admin/mail/users?format=json", "/admin/users", "/admin/users/events"]) {
            const answer = await fetch(panel + path, {credentials: "include"}).catch(error => ({type: error.name}));
            found.push(answer.type);
        }
        return found;
    }"""
    results: list[str] = await page.evaluate(program, [panel, USER, XSRF])
    return results


async def test_a_sibling_plants_cookies(boxes: Boxes, tmp_path: Path) -> None:
    """Neither before a log-in nor beside it does a session count that a sibling of the domain has planted."""
    async with attacked(boxes, tmp_path) as (places, context):
        panel = places.panel
        key = await panel.session_key(EVIL, "cookie")
        places.cookies = tuple(
            f"{name}={key}; Domain=mail.example; Path={path}; Secure"
            for name in ("mailusers_session", SESSION, SESSION.replace("__Host-", "__host-"), f"={SESSION}")
            for path in ("/", "/admin", "/admin/users", "/admin/mailusers/login")
        )
        page = await context.new_page()
        await visit(page, places, places.others[0], "")
        planted = {cookie["name"] for cookie in await context.cookies()}
        assert "mailusers_session" in planted
        assert SESSION not in planted
        await page.goto(f"{panel.base_url}/admin/users")
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await log_in(page, panel)
        assert await is_logged_in(context, places)
        await visit(page, places, places.others[0], "")
        assert await is_logged_in(context, places)
        (own,) = [c for c in await context.cookies(panel.base_url) if c["name"] == SESSION]
        assert (own["secure"], own["httpOnly"], own["path"], own["domain"]) == (True, True, "/", NAMES[0])
        assert own["value"] != key


async def test_logging_somebody_in(boxes: Boxes, tmp_path: Path) -> None:
    """Another site cannot log a browser in as somebody else, so that what is done there is done for him."""
    async with attacked(boxes, tmp_path) as (places, context):
        page = await context.new_page()
        places.cookies = (f"_xsrf={XSRF}; Domain=mail.example; Path=/; Secure",)
        login = f"{places.panel.base_url}/admin/mailusers/login"
        for site in places.others:
            async with page.expect_response(login) as sent:
                await visit(page, places, site, form(login, email=EVIL, password=PASSWORD, _xsrf=XSRF))
            assert (await sent.value).status == 403
            assert not await is_logged_in(context, places, EVIL)
        assert places.panel.state_sql("SELECT * FROM mailusers_session") == []


async def test_framed_and_opened(boxes: Boxes, tmp_path: Path) -> None:
    """No page is shown in a frame of another site, unless it is named, or watched by a site that opened it."""
    async with attacked(boxes, tmp_path) as (places, context):
        panel = places.panel.base_url
        page = await enter(context, places)
        for site in places.others:
            paths = ("users", f"users/archive?email={USER}", "mailusers/login", "mail/users")
            frames = "".join(f"<iframe src='{panel}/admin/{path}'></iframe>" for path in paths)
            await visit(page, places, site, frames)
            assert len(page.frames) == 1 + len(paths)
            for frame in page.frames[1:]:
                await frame.wait_for_load_state()
                assert not frame.url.startswith(panel), frame.url
            await visit(page, places, site, "<button onclick='w = window.open(this.value)'>go</button>")
            await page.evaluate(
                "url => { document.querySelector('button').value = url; }", panel + "/admin/users"
            )
            async with context.expect_page() as opened:
                await page.get_by_role("button").click()
            other = await opened.value
            await expect(other.get_by_role("heading", name="Existing mail users")).to_be_visible()
            # What opened it takes it for closed, and cannot count its frames or lead it elsewhere.
            assert await page.evaluate("w.closed")
            assert await other.evaluate("window.opener") is None
            await other.close()
        embedded = await boxes.open(frame_ancestors=f"https://{NAMES[1]}:*")
        url = boxes.listen(embedded.app, ssl_options=places.tls).replace("127.0.0.1", NAMES[0])
        frames = f"<iframe src='{url}/admin/mailusers/login'></iframe>"
        await visit(page, places, places.others[0], frames)
        await expect(page.frame_locator("iframe").get_by_role("heading", name="Log in")).to_be_visible()
        await visit(page, places, places.others[1], frames)
        await page.frames[1].wait_for_load_state()
        assert not page.frames[1].url.startswith(url)


async def test_answers_are_what_they_say(boxes: Boxes, tmp_path: Path) -> None:
    """Lists, errors and files full of markup are text, and no script, style or picture for another site."""
    async with attacked(boxes, tmp_path) as (places, context):
        box, panel = places.panel, places.panel.base_url
        box.sql(
            "INSERT INTO users (email, password, quota) VALUES (?, 'x', ?)", f"{MARKUP}@example.com", MARKUP
        )
        box.runtime.directory.compare_now()
        page = await enter(context, places)
        asked: list[str] = []

        async def note(dialog: Any) -> None:
            asked.append(dialog.message)
            await dialog.dismiss()

        page.on("dialog", note)
        markup = quote(MARKUP)
        for path, kind in (
            ("/admin/mail/users", "text/plain"),
            ("/admin/mail/users?format=json", "application/json"),
            ("/admin/mail/users?format=json&limit=5", "application/json"),
            (f"/admin/mail/users/quota?email={markup}", "text/plain"),
            (f"/admin/mail/users/quota?text=1&email={markup}%40example.com", "text/plain"),
            (f"/admin/mail/users/privileges?email={markup}", "text/plain"),
            (f"/admin/mail/users?format=json&sort={markup}", "text/plain"),
        ):
            await page.goto(panel + path)
            assert await page.evaluate("document.contentType") == kind, path
            assert await page.evaluate("document.querySelectorAll('script, img').length") == 0
            assert "<" in await page.locator("body").inner_text() or "sort" in path
        async with page.expect_download() as download:
            await page.evaluate("url => { location = url; }", f"{panel}/admin/users/export")
        assert (await download.value).suggested_filename.endswith(".csv")
        assert asked == []
        for site in places.others:
            await visit(page, places, site, "")
            read = await page.evaluate(
                """async panel => {
                    const load = (name, attribute, path, more) => new Promise(resolve => {
                        const element = Object.assign(document.createElement(name), more);
                        element.onload = () => resolve("loaded");
                        element.onerror = () => resolve("refused");
                        element[attribute] = panel + path;
                        document.head.append(element);
                    });
                    return Promise.all([
                        load("script", "src", "/admin/mail/users?format=json"),
                        load("script", "src", "/admin/users/export?format=json"),
                        load("script", "src", "/admin/mail/users"),
                        load("link", "href", "/admin/mail/users", {rel: "stylesheet"}),
                        load("img", "src", "/admin/users/statistics"),
                    ]);
                }""",
                panel,
            )
            assert set(read) == {"refused"}


async def test_back_after_logging_out(boxes: Boxes, tmp_path: Path) -> None:
    """Whoever comes to the browser after a log-out sees nothing by going back, also where it keeps pages whole."""
    async with attacked(boxes, tmp_path, ("--disable-back-forward-cache",)) as (places, context):
        panel = places.panel.base_url
        page = await context.new_page()
        await log_in(page, places.panel)
        for path in ("users/statistics", f"users/quota?email={quote(USER)}", "mail/users", "users"):
            await page.goto(f"{panel}/admin/{path}")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert all(cookie["name"] != SESSION for cookie in await context.cookies(panel))
        for _ in range(5):
            with suppress(Error):
                # The list of the API asks for a password, which is an error here.
                await page.go_back()
            text = await page.locator("body").inner_text()
            assert USER not in text
            assert BOSS not in text


async def test_a_page_that_was_kept_whole(boxes: Boxes, tmp_path: Path) -> None:
    """A page that comes back to life hides itself until the server says that the session goes on."""
    async with attacked(boxes, tmp_path) as (places, context):
        page = await enter(context, places)
        await page.goto(f"{places.panel.base_url}/admin/users")
        ours = page.locator("#mu")
        await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()
        alive = "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
        await page.evaluate(f"{alive}; window.hid = document.getElementById('mu').checkVisibility()")
        await expect(ours).to_be_visible()
        assert await page.evaluate("window.hid") is False
        await expect(ours).to_contain_text(USER)
        places.panel.state_sql("DELETE FROM mailusers_session")
        await page.evaluate(alive)
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.locator("body")).not_to_contain_text(USER)

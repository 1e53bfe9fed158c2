"""Text that would be a template, a link or a header somewhere else: it is text here, wherever it comes from."""

from __future__ import annotations

import html
import re

import pytest

from mailusers_plugin.models import ADMIN
from tests.handlers.browsing import HOSTILE, as_browser, as_script
from tests.handlers.test_who_may import verbs
from tests.support import BOSS, USER, XSRF, Box, Boxes, Client

TEMPLATES = (
    "{{1234*4321}}",
    "{{ config }}{{ handler.settings }}",
    "{% for x in (1,2) %}xx{% endfor %}",
    "{# gone #}",
    "${1234*4321}",
    "<%= 1234*4321 %>",
    "%(email)s %(quota)s %s %d %",
    "{0.__class__} {email!r}",
)
PRODUCT = str(1234 * 4321)
"""What a template would make of it, and no page has by chance."""
FIELDS: tuple[str, ...] = (
    "email",
    "password",
    "quota",
    "quota_number",
    "quota_unit",
    "privilege",
    "back",
    "next",
    "q",
    "domain",
    "sort",
)
FIELDS += (
    "status",
    "confirm",
    "restore",
    "field",
    "language",
    "token",
    "text",
    "show",
    "action",
    "done",
    "cursor",
)


async def test_fields_are_no_templates(box: Box, admin: Client, user: str) -> None:
    """What is typed into any field of any form is neither run nor filled in, and breaks nothing."""
    text = " ".join(TEMPLATES)
    browser = await box.browser(BOSS)
    form = dict.fromkeys(FIELDS, text)
    shown = 0
    for verb, path, _ in verbs(box.app):
        # Of the description and the counts nothing comes from a caller, and there are many numbers in them.
        if path.endswith(("/events", "/openapi.json", "/metrics")) or verb == "HEAD":
            continue
        for client in (as_browser(browser), as_script(browser), box.api):
            answer = await (client.post(path, **form) if verb == "POST" else client.get(path, **form))
            assert answer.status < 500, (path, answer.text)
            said = html.unescape(answer.text)
            assert PRODUCT not in said
            assert "xxxx" not in said
            shown += text in said
        if path.endswith("/logout"):
            browser = await box.browser(BOSS)
    assert shown > 5


@pytest.mark.parametrize("text", TEMPLATES[:3])
async def test_settings_are_no_templates(boxes: Boxes, text: str) -> None:
    """A setting that is shown is text too: the mail server, the realm, a privilege."""
    box = await boxes.open(mail_host=text, realm=text, extra_privileges=(text,))
    await box.add(BOSS, (ADMIN, text))
    browser = as_browser(await box.browser(BOSS))
    assert (await box.nobody.get("/admin/mail/users")).headers["WWW-Authenticate"] == f'Basic realm="{text}"'
    added = await as_script(browser).post("/admin/users/add", email=USER, password="correct horse battery")
    assert added.status == 200
    assert text in html.unescape(added.text)
    assert text in html.unescape((await browser.get("/admin/users")).text)


async def test_stored_text_is_no_template(box: Box, admin: Client) -> None:
    """What another program stored is shown as it is, on the page, in dialogs, in words afterwards and in exports."""
    browser = as_browser(await box.browser(BOSS))
    for number, text in enumerate(TEMPLATES):
        email = f"{text}@x{number}.example"
        box.sql("INSERT INTO users (email, password, privileges) VALUES (?, 'x', ?)", email, text)
        box.runtime.directory.compare_now()
        for path in (
            "/admin/users",
            "/admin/users/export",
            "/admin/users/export?format=json",
            "/admin/users/statistics",
        ):
            answer = await browser.fetch("GET", path)
            assert answer.status == 200
            assert "1234*4321" in answer.text or path.endswith("statistics")
            assert PRODUCT not in answer.text
        done = await as_script(browser).post("/admin/users/quota", email=email, quota="1G")
        assert done.status == 200, done.text
        assert html.escape(email, quote=False)[:5] in done.text


HOSTS = ("evil.example", "evil.example:80", "EVIL.example", "[2001:db8::1]:8443")
NO_HOSTS = ("evil.example/x?", "a@evil.example", "x y", HOSTILE, "$(id)", "';id;'", "{{1234*4321}}")


@pytest.mark.parametrize("host", HOSTS + NO_HOSTS)
async def test_a_hostile_host_header(box: Box, admin: Client, host: str) -> None:
    """No answer that depends on the host is kept by anybody, no link is made of it, and none of it is code."""
    browser = as_browser(await box.browser(BOSS)).sending(Host=host, X_Forwarded_Host="other.evil.example")
    page = await browser.get("/admin/users")
    if page.status == 400:
        # Newer releases of Tornado refuse what is no host.
        assert host in NO_HOSTS
        return
    assert page.headers["Cache-Control"] == "no-store"
    links = re.findall(r'(?:href|src|action|hx-get|hx-post|data-mu-url)="([^"]*)"', page.text)
    assert len(links) > 20
    assert all(link.startswith(("/admin/", "#")) for link in links)
    assert "other.evil" not in page.text
    if host in NO_HOSTS:
        assert "http://localhost/admin/mail/users" in html.unescape(page.text)
        assert host not in html.unescape(page.text)
    listed = await browser.get("/admin/mail/users", format="json", limit="1")
    assert "private" in listed.headers["Cache-Control"]


async def test_a_panel_that_knows_its_name(boxes: Boxes) -> None:
    """With public_url nothing at all of the host that was asked for comes back, in pages, lists and headers."""
    box = await boxes.open(public_url="https://panel.example")
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    key = await box.session_key(BOSS, "cookie")
    browser = box.nobody.sending(Cookie=f"__Host-mailusers_session.admin={key}; __Host-mailusers_xsrf={XSRF}")
    for asking in (as_browser(browser), as_script(browser), box.api, box.nobody):
        client = asking.sending(Host="evil.example", X_Forwarded_Host="evil.example")
        for path in (
            "/admin/users",
            "/admin/mail/users?format=json&limit=1",
            "/admin/users/statistics",
            "/nothing",
        ):
            answer = await client.fetch("GET", path)
            assert "evil" not in answer.text
            assert "evil" not in str(list(answer.headers.get_all()))
    listed = await box.api.sending(Host="evil.example").get("/admin/mail/users", format="json", limit="1")
    assert listed.headers["Link"].startswith("<https://panel.example/admin/mail/users?")


async def test_no_address_is_an_id(box: Box, admin: Client) -> None:
    """Names that scripts could take for something else stay data: no element is called by what somebody stored."""
    names = (
        "mu-dialogs",
        "mu-list",
        "__proto__",
        "constructor",
        "toString",
        "getElementById",
        "body",
        "mu-email",
    )
    for name in names:
        box.sql("INSERT INTO users (email, password) VALUES (?, 'x'), (?, 'x')", name, f"{name}@{name}")
    box.runtime.directory.compare_now()
    page = (await as_browser(await box.browser(BOSS)).get("/admin/users")).text
    ids = re.findall(r'\sid="([^"]*)"', page)
    fields = re.findall(r'\sname="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert all(found.startswith(("mu", "content")) for found in ids)
    assert not {*ids, *fields} & {*names[2:7], *(f"{name}@{name}" for name in names)}
    assert ids.count("mu-dialogs") == ids.count("mu-list") == ids.count("mu-email") == 1

"""Who may call what: every route and verb that there is, so that a new one is tried without anybody thinking of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tornado.web import Application, RequestHandler

from mailusers_plugin import Identity
from mailusers_plugin.auth.authenticator import COOKIE
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.models import ADMIN
from mailusers_plugin.permissions import ADMINISTER, EVENTS, PURGE, QUOTA, READ, TOKENS, WRITE, enough
from mailusers_plugin.permissions import PUBLIC as ANYBODY
from tests.handlers.browsing import as_browser, as_script
from tests.support import BOSS, CONSOLE, USER, XSRF, Box, Boxes, Client

PUBLIC = {
    ("POST", "/admin/login"),
    ("POST", "/admin/logout"),
    ("GET", "/admin/mail/users/health"),
    ("HEAD", "/admin/mail/users/health"),
    ("GET", "/admin/mail/users/health/live"),
    ("HEAD", "/admin/mail/users/health/live"),
    ("POST", "/admin/mailusers/language"),
    ("GET", "/admin/mailusers/login"),
    ("HEAD", "/admin/mailusers/login"),
    ("POST", "/admin/mailusers/login"),
    ("POST", "/admin/mailusers/logout"),
    ("GET", "/admin/mailusers/setup"),
    ("HEAD", "/admin/mailusers/setup"),
    ("POST", "/admin/mailusers/setup"),
}


def verbs(app: Application) -> Iterator[tuple[str, str, str | None]]:
    """Yield verb, path and needed permission of all that our handlers answer, ``None`` where everybody may."""
    for host_rule in app.default_router.rules:
        for rule in getattr(host_rule.target, "rules", ()):
            if isinstance(rule.target, type) and issubclass(rule.target, BaseHandler):
                pattern = rule.matcher.regex.pattern.removesuffix("$").replace(
                    "([0-9A-Za-z-]{1,64})", "0" * 32
                )
                path = re.sub(r"\\(.)", r"\1", pattern)
                for verb in rule.target.allowed_verbs():
                    needed = rule.target.permissions[verb]
                    yield verb, path, None if needed == ANYBODY else needed


class Staff:
    """A host whose people may do what is said."""

    login_url = "/staff/login"

    def __init__(self, *permissions: str) -> None:
        """Take what is permitted."""
        self.permissions = permissions

    def identify(self, handler: RequestHandler) -> Identity | None:
        """Know everybody by a cookie."""
        return Identity("staff@example.net", "cookie", ())

    def may(self, identity: Identity, permission: str) -> bool:
        """Permit it."""
        return permission in self.permissions


async def test_what_is_public(box: Box) -> None:
    """Nothing is for everybody but logging in and out, setting up, the choice of a language, and probes."""
    found = list(verbs(box.app))
    assert len({path for _, path, _ in found}) > 30
    assert {(verb, path) for verb, path, permission in found if permission is None} == PUBLIC


async def test_nobody_and_normal_users(box: Box, admin: Client, user: str) -> None:
    """Strangers and normal users are refused everywhere else, by page, script and program, and nothing is done."""
    of_user = box.cookie(
        await box.runtime.authenticator().open_session(await box.service.account(user), COOKIE)
    )
    form = {"email": BOSS, "password": "a new password", "quota": "1G", "do": "yes", "action": "cancel"}
    before = box.sql("SELECT * FROM users ORDER BY id")
    strangers = (box.nobody, box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF))
    for verb, path, permission in verbs(box.app):
        if permission is None:
            continue
        for client in (*strangers, of_user, box.basic(user)):
            for asking in (client, as_browser(client), as_script(client)):
                answer = await (asking.post(path, **form) if verb == "POST" else asking.fetch(verb, path))
                assert answer.status in (303, 401, 403), (verb, path, answer.status)
                assert answer.status != 303 or "/admin/mailusers/login?next=" in answer.headers["Location"]
    assert box.sql("SELECT * FROM users ORDER BY id") == before


async def test_cookie_without_token(box: Box, admin: Client, user: str) -> None:
    """An administrator's cookie alone changes nothing, whatever verb it is sent with."""
    browser = await box.browser(BOSS, xsrf=None)
    form = {"email": USER, "password": "a new password", "quota": "1G", "do": "yes", "action": "cancel"}
    before = box.sql("SELECT * FROM users ORDER BY id")
    for verb, path, permission in verbs(box.app):
        if verb == "POST" and (permission is not None or path == "/admin/mailusers/language"):
            for asking in (browser, as_browser(browser), as_script(browser)):
                answer = await asking.post(path, **form)
                assert answer.status == 403, (path, answer.status, answer.text)
    assert box.sql("SELECT * FROM users ORDER BY id") == before


@pytest.mark.parametrize(
    "permissions",
    [(READ,), (READ, PURGE), (READ, QUOTA), (READ, WRITE), (READ, WRITE, ADMINISTER), (READ, TOKENS)],
)
async def test_nothing_is_offered_in_vain(boxes: Boxes, permissions: tuple[str, ...]) -> None:
    """Who may only read is shown no link and no form that would be refused, also just after an archive."""
    box = await boxes.open(host=Staff(*permissions))
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    await box.add("gone@example.com")
    await box.service.archive(CONSOLE, "gone@example.com")
    reader = as_browser(box.nobody)
    needed = {path: (verb, permission) for verb, path, permission in verbs(box.app) if verb != "HEAD"}
    seen = set()
    for page in (
        "/admin/users",
        "/admin/users?done=archived&email=gone%40example.com",
        "/admin/users/statistics",
    ):
        answer = await reader.get(page)
        assert answer.status == 200
        for link in re.findall(r'(?:href|action|hx-get|hx-post)="(/admin/[^"]*)"', answer.text):
            path = urlsplit(html.unescape(link)).path
            if path in needed:
                assert {*enough(needed[path][1] or "")} & {*permissions, ""}, (page, path)
                seen.add(path)
    offered = {
        PURGE: "/admin/users/purge",
        QUOTA: "/admin/users/quota",
        WRITE: "/admin/users/password",
        ADMINISTER: "/admin/users/make-admin",
        TOKENS: "/admin/mailusers/tokens",
    }
    for permission, path in offered.items():
        assert (path in seen) == bool({*enough(permission)} & {*permissions}), path
    assert "/admin/users/statistics" in seen


async def test_refused_by_a_host(boxes: Boxes) -> None:
    """What a host does not permit is refused, whatever it is."""
    asked: Any
    for permitted in (READ, PURGE, QUOTA, EVENTS, ADMINISTER, TOKENS):
        box = await boxes.open(host=Staff(permitted))
        await box.add(BOSS, (ADMIN,))
        browser = box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
        for verb, path, permission in verbs(box.app):
            if permission is not None and permitted not in enough(permission):
                asked = (
                    browser.post(path, email=BOSS, quota="1G")
                    if verb == "POST"
                    else browser.fetch(verb, path)
                )
                assert (await asked).status in (401, 403), (verb, path)

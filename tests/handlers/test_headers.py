"""The headers that browsers obey: with every answer of every route, whatever comes of the request."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.handlers.headers import EVERYWHERE
from mailusers_plugin.models import ADMIN
from mailusers_plugin.panel import HSTS_SECONDS, make_panel
from mailusers_plugin.settings import Settings
from tests.handlers.browsing import as_browser, as_script
from tests.handlers.test_who_may import verbs
from tests.support import BOSS, CONSOLE, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EVENTS = "/admin/users/events"
STRICT = dict(EVERYWHERE)["Content-Security-Policy"]
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def check(answer: Answer, what: object) -> None:
    """See that an answer has every header, and a page its policy."""
    is_page = answer.type.startswith("text/html")
    for name, value in EVERYWHERE:
        said = answer.headers.get_list(name)
        if name == "Content-Security-Policy" and is_page and answer.body:
            assert said == [PAGE], (what, name)
        else:
            # The head of a page is a page's, that of a redirect is not.
            assert said == [value] or (is_page and said == [PAGE]), (what, name)
    kept = answer.headers["Cache-Control"]
    assert "no-store" in kept or kept == "private, no-cache", (what, kept)
    assert "Access-Control-Allow-Origin" not in answer.headers, what


async def test_every_answer(box: Box, admin: Client, user: str) -> None:
    """Pages, parts, lists, files, errors and refusals: none of them may be framed, guessed at, kept or run anything."""
    browser = await box.browser(BOSS)
    nobody = box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
    paths = sorted({path for _, path, _ in verbs(box.app)})
    assert len(paths) > 30
    seen: set[tuple[int, str]] = set()
    for path in paths:
        for verb in VERBS:
            for client in (nobody, as_browser(nobody), as_browser(browser), as_script(browser), box.api):
                if (verb, path) == ("GET", EVENTS) and client not in (nobody, as_browser(nobody)):
                    continue
                body = f"email={USER}" if verb == "POST" else None
                asking = client.sending(Content_Type="application/x-www-form-urlencoded") if body else client
                answer = await asking.fetch(verb, path, body)
                check(answer, (verb, path))
                seen.add((answer.status, answer.type.partition(";")[0]))
    assert {status for status, _ in seen} >= {200, 303, 400, 401, 403, 405}
    assert {kind for _, kind in seen} >= {
        "text/html",
        "text/plain",
        "application/json",
        "text/csv",
        "text/event-stream",
    }


async def test_a_stream_of_changes(box: Box, admin: Client) -> None:
    """The stream has the same headers as all the rest, from its beginning."""
    host, _, port = box.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {admin.headers['Authorization']}\r\n\r\n".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    assert " 200 " in head.partition("\r\n")[0]
    assert "text/event-stream" in head
    for name, value in EVERYWHERE:
        assert re.findall(rf"^{name}: (.*)\r$", head, re.MULTILINE | re.IGNORECASE) == [value]


async def test_errors_have_them_too(box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also an error that nobody thought of, in HTML, to a script and in plain text, and one before there is anybody."""

    async def broken(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(box.runtime.directory, "settled_state", broken)
    monkeypatch.setattr(box.runtime.listing, "user", broken)
    await box.add(USER)
    browser = await box.browser(BOSS)
    for client, path in (
        (as_browser(browser), f"/admin/users/quota?email={USER}"),
        (as_script(browser), f"/admin/users/quota?email={USER}"),
        (replace(box.api, described=False), "/admin/mail/users"),
    ):
        answer = await client.fetch("GET", path)
        assert answer.status == 500
        check(answer, path)
    box.handle.first_run.begin()
    monkeypatch.setattr(box.service, "has_administrator", lambda: asyncio.sleep(0, False))
    answer = await as_browser(browser).get("/admin/users")
    assert answer.status == 503
    check(answer, "set-up")


async def test_static_files(box: Box) -> None:
    """What is public and kept is as strict otherwise, found or not."""
    page = await box.nobody.get("/admin/mailusers/login")
    (style,) = set(re.findall(r'href="([^"]+/mailusers\.css)"', page.text))
    for path in (style, "/admin/mailusers/static/0000000000000000/none.js"):
        for verb in ("GET", "HEAD", "POST"):
            answer = await box.nobody.fetch(verb, path)
            for name, value in EVERYWHERE:
                assert answer.headers.get_list(name) == [value], (verb, path, name)


def test_what_they_say() -> None:
    """Nothing is inline, evaluated or from elsewhere, and no feature of the browser is asked for."""
    assert "unsafe" not in PAGE
    assert Settings().content_security_policy + "; frame-ancestors 'none'" == PAGE
    assert STRICT.startswith("default-src 'none';")
    assert "camera=()" in dict(EVERYWHERE)["Permissions-Policy"]


@pytest.mark.parametrize(
    ("ancestors", "policy", "said", "frame"),
    [
        ("'none'", "default-src 'none'", "frame-ancestors 'none'", "DENY"),
        ("'self'", "default-src 'none';", "frame-ancestors 'self'", "SAMEORIGIN"),
        (
            "https://a.example https://b.example",
            "default-src 'none'",
            "frame-ancestors https://a.example https://b.example",
            None,
        ),
        ("'none'", "frame-ancestors 'self'; default-src 'none'", "frame-ancestors 'self'", "SAMEORIGIN"),
    ],
)
async def test_a_host_that_frames_the_page(
    boxes: Boxes, ancestors: str, policy: str, said: str, frame: str | None
) -> None:
    """Who may frame a page is a setting, also in the older header where that can say it; nothing else may be framed."""
    box = await boxes.open(frame_ancestors=ancestors, content_security_policy=policy)
    page = await box.nobody.get("/admin/mailusers/login")
    parts = [part.strip() for part in page.headers["Content-Security-Policy"].split(";")]
    assert [part for part in parts if part.startswith("frame-ancestors")] == [said]
    assert "default-src 'none'" in parts
    assert page.headers.get("X-Frame-Options") == frame
    other = await box.nobody.get("/admin/mail/users")
    assert (other.headers["Content-Security-Policy"], other.headers["X-Frame-Options"]) == (STRICT, "DENY")


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_ancestors": "none"},
        {"frame_ancestors": ""},
        {"frame_ancestors": "'self'; script-src *"},
        {"content_security_policy": "default-src 'none'\r\nX: y"},
        {"hsts_seconds": -2},
        {"public_url": "https://panel.example/admin"},
        {"public_url": "panel.example"},
        {"public_url": "https://evil@panel.example"},
        {"public_url": "https://PANEL.example"},
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    """A value that would say something else than is meant keeps the panel from starting."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Settings.load(environ={}, **wrong)


@pytest.mark.parametrize(
    ("seconds", "https", "plain"), [(-1, None, None), (0, "max-age=0", None), (600, "max-age=600", None)]
)
async def test_hsts_in_a_panel_of_ones_own(
    boxes: Boxes, seconds: int, https: str | None, plain: str | None
) -> None:
    """A host decides for itself: nothing is said unless it is set, and then only over TLS, with errors too."""
    box = await boxes.open(hsts_seconds=seconds)
    behind = boxes.listen_behind_tls(box)
    for path in ("/admin/mailusers/login", "/admin/mail/users", "/admin/mailusers/static/0000000000000000/x"):
        assert (await behind.nobody.get(path)).headers.get("Strict-Transport-Security") == https
        assert (await box.nobody.get(path)).headers.get("Strict-Transport-Security") == plain


async def test_the_panel_itself(boxes: Boxes) -> None:
    """The reference panel says it for a year over TLS, and its own answers are no less strict than the module's."""
    settings = boxes.settings(boxes.storage())
    panel = make_panel(settings)
    try:
        await panel.mail_users.runtime.service.add(CONSOLE, BOSS, PASSWORD, (ADMIN,))
        client = Client(boxes.listen(panel.app, xheaders=True))
        for asking, hsts in (
            (client, None),
            (client.sending(X_Forwarded_Proto="https"), f"max-age={HSTS_SECONDS}"),
        ):
            for verb, path, status in (
                ("GET", "/", 302),
                ("GET", "/admin", 302),
                ("GET", "/nothing", 404),
                ("POST", "/nothing", 404),
                ("HEAD", "/admin/users/nothing", 404),
                ("GET", "/admin/mailusers/login", 200),
            ):
                answer = await asking.fetch(verb, path)
                assert answer.status == status
                assert answer.headers.get("Strict-Transport-Security") == hsts
                for name, value in EVERYWHERE:
                    assert answer.headers[name] == (
                        PAGE if status == 200 and name == "Content-Security-Policy" else value
                    )
    finally:
        await panel.mail_users.stop()

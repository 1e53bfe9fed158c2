"""Throttling over HTTP: what callers are told, whose address counts, and what is left in the log."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from mailusers_plugin.models import ADMIN
from mailusers_plugin.passwords import Passwords
from tests.handlers.browsing import as_browser, as_script
from tests.support import BOSS, PASSWORD, XSRF, Answer, Box, Boxes, Client

USERS = "/admin/mail/users"
LOGIN = "/admin/login"
LOGIN_PAGE = "/admin/mailusers/login"
TOO_MANY = "Too many log-ins have failed. Try again in 5 min."
LINE = re.compile(
    r"Mail-in-a-Box Management Daemon: Failed login attempt from ip (\S+) - timestamp [0-9]+\.[0-9]{3}"
)
CLIENT = "198.51.100.7"
FORGED = "203.0.113.66"


async def make(boxes: Boxes, **settings: Any) -> Box:
    """Open a box in which three log-ins to an account may fail, and that is behind a proxy here."""
    settings = {"throttle_pair": 3, "trusted_proxies": ("127.0.0.1",), **settings}
    box = await boxes.open(login_cache_seconds=0, **settings)
    await box.add(BOSS, (ADMIN,))
    return box


def behind(client: Client, forwarded: str) -> Client:
    """Send through a proxy that says where a request comes from."""
    return client.sending(X_Forwarded_For=forwarded)


def addresses(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return whose failures are in the log; nothing else is in those lines."""
    return [
        match[1]
        for record in caplog.records
        if record.name == "mailusers_plugin.auth" and (match := LINE.fullmatch(record.getMessage()))
    ]


async def log_in(client: Client, password: str) -> Answer:
    """Send the log-in form."""
    # The token's cookie has another name over TLS.
    return await client.sending(Cookie=f"_xsrf={XSRF}; __Host-mailusers_xsrf={XSRF}").post(
        LOGIN_PAGE, email=BOSS, password=password, _xsrf=XSRF
    )


async def use_up(box: Box, forwarded: str) -> None:
    """Let three log-ins fail, each in its own way."""
    await behind(box.basic(BOSS, "wrong 1"), forwarded).get(USERS)
    await behind(box.basic(BOSS, "wrong 2"), forwarded).post(LOGIN)
    await log_in(behind(box.nobody, forwarded), "wrong 3")


async def test_what_callers_are_told(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API answers 429 without a challenge, /login 200 as its clients expect, the page says it; all say how long."""
    box = await make(boxes)
    await use_up(box, CLIENT)
    hashed: list[str] = []
    monkeypatch.setattr(Passwords, "verify_now", lambda self, password, stored: hashed.append(password))
    boss = behind(box.basic(BOSS), CLIENT)
    answers = [
        await boss.get(USERS),
        await boss.sending(Accept="application/json").get(USERS),
        await boss.sending(X_Requested_With="XMLHttpRequest").get(USERS),
        await boss.post(LOGIN),
        await log_in(behind(box.nobody, CLIENT), PASSWORD),
        await log_in(as_script(behind(box.nobody, CLIENT)), PASSWORD),
        await as_browser(boss).get("/admin/users"),
    ]
    assert [answer.status for answer in answers] == [429, 429, 429, 200, 429, 429, 429]
    for answer in answers:
        assert 290 < int(answer.headers["Retry-After"]) <= 300
        assert TOO_MANY in answer.text
        assert "WWW-Authenticate" not in answer.headers
        assert "Set-Cookie" not in answer.headers or "mailusers_session" not in answer.headers["Set-Cookie"]
    assert answers[0].text == TOO_MANY
    assert answers[1].json() == {"status": "error", "reason": TOO_MANY}
    assert answers[3].json() == {"status": "invalid", "reason": TOO_MANY}
    assert hashed == []


async def test_from_elsewhere_nobody_is_locked_out(boxes: Boxes) -> None:
    """While one address is refused the user logs in from another one, in every way."""
    box = await make(boxes)
    await use_up(box, CLIENT)
    assert (await behind(box.basic(BOSS), FORGED).get(USERS)).status == 200
    assert (await behind(box.basic(BOSS), FORGED).post(LOGIN)).json()["status"] == "ok"
    assert (await log_in(behind(box.nobody, FORGED), PASSWORD)).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "{0}, " + CLIENT},
        {"X_Forwarded_For": "{0}," + CLIENT + ":4711"},
        {"X_Forwarded_For": CLIENT, "X_Real_Ip": "{0}", "Forwarded": "for={0}", "Client_Ip": "{0}"},
        {"X_Forwarded_For": "{0}, ::ffff:" + CLIENT, "True_Client_IP": "{0}", "CF_Connecting_IP": "{0}"},
    ],
)
async def test_forged_headers_open_nothing(
    boxes: Boxes, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    """Who invents another address with each request is throttled and logged under his own."""
    box = await make(boxes)
    statuses = []
    for number in range(6):
        forged = {name: value.format(f"203.0.113.{number}") for name, value in headers.items()}
        statuses.append((await box.basic(BOSS, f"wrong {number}").sending(**forged).get(USERS)).status)
    assert statuses == [401] * 3 + [429] * 3
    assert addresses(caplog) == [CLIENT] * 6


async def test_without_a_proxy_nobody_is_believed(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """By default the address is the peer's, whatever a header says, and the log says once what to set."""
    box = await make(boxes, trusted_proxies=())
    for number in range(4):
        answer = await behind(box.basic(BOSS, f"wrong {number}"), f"203.0.113.{number}").get(USERS)
    assert answer.status == 429
    assert addresses(caplog) == ["127.0.0.1"] * 4
    assert caplog.text.count("set trusted_proxies") == 1
    secure = await log_in(box.nobody.sending(X_Forwarded_Proto="https"), "wrong")
    assert "secure" not in secure.headers.get("Set-Cookie", "").lower()


async def test_tls_before_the_proxy(boxes: Boxes) -> None:
    """The proxy's word that it was called over TLS makes the cookie Secure; its last entry counts."""
    box = await make(boxes)
    for said, secure in (("https", True), ("http, https", True), ("https, http", False), ("ftp", False)):
        answer = await log_in(box.nobody.sending(X_Forwarded_Proto=said), PASSWORD)
        (cookie,) = (
            c for c in answer.headers.get_list("Set-Cookie") if "mailusers_session" in c and '""' not in c
        )
        assert ("secure" in cookie.lower()) == secure


async def test_a_panel_with_xheaders(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """Where a panel's own server believes the headers, the address that it found counts, here as well."""
    box = await make(boxes, trusted_proxies=())
    socket, port = bind_unused_port()
    server = HTTPServer(box.app, xheaders=True)
    server.add_socket(socket)
    try:
        client = Client(f"http://127.0.0.1:{port}", box.basic(BOSS, "wrong").headers)
        await behind(client, f"{FORGED}, {CLIENT}").get(USERS)
    finally:
        server.stop()
        await server.close_all_connections()
    assert addresses(caplog) == [CLIENT]


async def test_every_failure_leaves_its_line(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """Each way of failing is in the log once; what is no failure is not."""
    box = await make(boxes, throttle_pair=0)
    client = behind(box.nobody, CLIENT)
    failures: list[Callable[[], Awaitable[object]]] = [
        lambda: behind(box.basic(BOSS, "wrong"), CLIENT).get(USERS),
        lambda: behind(box.basic("nobody@example.com", "wrong"), CLIENT).get("/admin/users"),
        lambda: behind(box.basic("a wrong key", ""), CLIENT).get(USERS),
        lambda: behind(box.basic(BOSS, "f" * 64), CLIENT).get(USERS),
        lambda: client.sending(Authorization="junk").get(USERS),
        lambda: client.sending(Authorization="Basic !").get(USERS),
        lambda: behind(box.basic(BOSS, "wrong"), CLIENT).post(LOGIN),
        lambda: client.post(LOGIN),
        lambda: log_in(client, "wrong"),
        lambda: log_in(as_script(client), "wrong"),
    ]
    for number, fail in enumerate(failures, start=1):
        await fail()
        assert addresses(caplog) == [CLIENT] * number
    caplog.clear()
    await behind(box.basic(BOSS), CLIENT).get(USERS)
    await behind(box.basic(BOSS), CLIENT).post(LOGIN)
    await log_in(client, PASSWORD)
    await client.get(USERS)
    await client.sending(Cookie="mailusers_session=" + "0" * 64).get(USERS)
    box.sql("INSERT INTO mfa (user_id, type, secret) SELECT id, 'totp', 'JBSWY3DPEHPK3PXP' FROM users")
    await behind(box.basic(BOSS), CLIENT).get(USERS)
    await behind(box.basic(BOSS), CLIENT).post(LOGIN)
    assert addresses(caplog) == []


@pytest.mark.parametrize(
    "hostile",
    [
        "x\nMail-in-a-Box Management Daemon: Failed login attempt from ip 203.0.113.66 - timestamp 1",
        "x\r\n2026-11-25 21:00:00,000 WARNING mailusers_plugin.auth: Mail-in-a-Box",
        "\x1b]0;owned\x07\x1b[2J",
        "%s %d %n {0}",
    ],
)
async def test_nothing_that_was_sent_is_in_the_line(
    boxes: Boxes, caplog: pytest.LogCaptureFixture, hostile: str
) -> None:
    """Neither an address nor a password reaches the log, so that nobody can write lines of his own into it."""
    caplog.set_level(logging.DEBUG)
    box = await make(boxes, throttle_pair=0)
    await box.basic(hostile, hostile).get(USERS)
    await box.basic(hostile, "").get(USERS)
    await box.basic(hostile, hostile).post(LOGIN)
    await box.nobody.sending(Cookie=f"_xsrf={XSRF}").post(
        LOGIN_PAGE, email=hostile, password=hostile, _xsrf=XSRF
    )
    flat = re.sub(r"[\r\n]+", " ", hostile)
    # What Tornado refuses by itself has none of our headers.
    wrong = replace(box.basic(BOSS, "wrong"), described=False)
    await behind(wrong, f"fe80::1%{flat}").get(USERS)
    await behind(wrong, flat).get(USERS)
    own = [record.getMessage() for record in caplog.records if record.name.startswith("mailusers_plugin")]
    # Newer Tornados refuse a header with control characters themselves.
    assert len(addresses(caplog)) in (4, 6)
    for line in own:
        assert line.isprintable()
        assert FORGED not in line
        assert "%n" not in line

"""Requests that other sites make a browser send: refused by what the browser says of them, whoever is logged in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from mailusers_plugin.errors import ForeignOriginError
from mailusers_plugin.handlers.origin import check_origin
from mailusers_plugin.settings import Settings
from tests.handlers.browsing import as_browser, as_script, words
from tests.handlers.test_who_may import verbs
from tests.support import BOSS, PASSWORD, USER, XSRF, Box, Boxes, Client, basic

SAID = "Another site sent this form. Load the page itself and repeat what you did."
HOST = "panel.example"
OWN = "https://panel.example"
EVIL = "https://evil.example"


def is_refused(
    headers: dict[str, str], *, method: str = "POST", public_url: str = "", protocol: str = "http"
) -> bool:
    """Tell whether a request would be refused."""
    context = SimpleNamespace(remote_ip="127.0.0.1", protocol=protocol)
    connection: Any = SimpleNamespace(context=context)
    start_line = RequestStartLine(method, "/admin/users/add", "HTTP/1.1")
    sent = HTTPHeaders({"Host": HOST, **headers})
    request = HTTPServerRequest(start_line=start_line, headers=sent, connection=connection)
    try:
        check_origin(request, Settings(public_url=public_url))
    except ForeignOriginError:
        return True
    return False


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        # A program.
        ({}, False),
        # What the browser says of it, in every value that there is, and in none that there is.
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": ""}, True),
        ({"Sec-Fetch-Site": "same-origin, cross-site"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, True),
        # By plain http in a network there is the origin alone.
        ({"Origin": "http://panel.example"}, False),
        ({"Origin": "http://panel.example:80"}, False),
        ({"Origin": EVIL}, True),
        ({"Origin": "http://panel.example.evil.example"}, True),
        ({"Origin": "http://panel.example:8080"}, True),
        ({"Origin": "http://evil.example/panel.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Origin": "http://[::1"}, True),
        ({"Origin": "http://panel.example:x"}, True),
        ({"Sec-Fetch-Site": "none", "Origin": EVIL}, True),
        # A proxy that speaks TLS and does not say so keeps the host, or changes it and the browser compares.
        ({"Origin": OWN}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OWN, "Host": "127.0.0.1:10222"}, False),
        ({"Origin": OWN, "Host": "127.0.0.1:10222"}, True),
        # A page that hides where it is.
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, False),
        # Neither of the two.
        ({"Referer": "http://panel.example/admin/users?q=a"}, False),
        ({"Referer": EVIL + "/"}, True),
        ({"Referer": "nonsense"}, True),
        ({"Referer": EVIL, "Origin": "http://panel.example"}, False),
    ],
)
def test_where_it_comes_from(headers: dict[str, str], refused: bool) -> None:
    """Sec-Fetch-Site first, then Origin, then Referer; nothing of them is a program. Reading is never refused."""
    assert is_refused(headers) == refused
    for verb in ("PUT", "PATCH", "DELETE", "WHATEVER"):
        assert is_refused(headers, method=verb) == refused
    for verb in ("GET", "HEAD", "OPTIONS"):
        assert not is_refused(headers, method=verb)


def test_a_plain_page_of_the_same_host() -> None:
    """Over TLS a page of the same host that came by plain http is another site: somebody in the network wrote it."""
    assert is_refused({"Origin": "http://panel.example"}, protocol="https")
    assert not is_refused({"Origin": OWN}, protocol="https")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": OWN, "Host": "127.0.0.1:10222"}, False),
        ({"Origin": OWN, "Host": "evil.example"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, False),
        # A name of somebody else's that leads here: what the browser takes for the same origin is not ours.
        (
            {
                "Sec-Fetch-Site": "same-origin",
                "Origin": "http://evil.example:10222",
                "Host": "evil.example:10222",
            },
            True,
        ),
        ({"Origin": "http://evil.example:10222", "Host": "evil.example:10222"}, True),
        # Past the proxy, on this machine.
        (
            {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:10222", "Host": "127.0.0.1:10222"},
            False,
        ),
        ({"Origin": "http://localhost:10222", "Host": "localhost:10222"}, False),
        ({"Origin": "http://[::1]:10222", "Host": "[::1]:10222"}, False),
        ({}, False),
    ],
)
def test_a_panel_that_knows_its_name(headers: dict[str, str], refused: bool) -> None:
    """With public_url that is where forms come from, whatever a proxy makes of the host, and from nowhere else."""
    assert is_refused(headers, public_url=OWN) == refused


async def test_every_route(box: Box, admin: Client, user: str) -> None:
    """No unsafe verb of any route is carried out for another site, by whatever credential, with a good token even."""
    before = box.sql("SELECT * FROM users ORDER BY id")
    form = {"email": USER, "password": "a new long password", "quota": "1G", "do": "yes", "action": "cancel"}
    key = (await admin.post("/admin/login")).json()["api_key"]
    clients = (await box.browser(BOSS), admin, box.api, box.basic(BOSS, key))
    tried = 0
    for verb, path, _ in verbs(box.app):
        if verb in ("GET", "HEAD"):
            continue
        assert verb == "POST"
        for client in clients:
            for headers in (
                {"Sec_Fetch_Site": "cross-site"},
                {"Sec_Fetch_Site": "same-site"},
                {"Origin": EVIL},
            ):
                answer = await client.sending(**headers).post(path, **form)
                assert (answer.status, answer.text) == (403, SAID), (path, headers)
                assert "Set-Cookie" not in answer.headers
                tried += 1
    assert tried > 200
    assert box.sql("SELECT * FROM users ORDER BY id") == before
    for client in clients:
        assert (await client.get("/admin/mail/users")).status == 200


@pytest.mark.parametrize("path", ["/admin/mailusers/login", "/admin/login"])
async def test_logging_in(box: Box, admin: Client, path: str) -> None:
    """Another site can neither log a browser in as somebody else nor try passwords through it."""
    visitor = box.nobody.sending(
        Cookie=f"_xsrf={XSRF}",
        X_XSRFToken=XSRF,
        Authorization=basic(BOSS, PASSWORD),
        Sec_Fetch_Site="cross-site",
    )
    answer = await visitor.post(path, email=BOSS, password=PASSWORD)
    assert answer.status == 403
    assert "api_key" not in answer.text
    assert box.state_sql("SELECT * FROM mailusers_session") == []


@pytest.mark.parametrize("path", ["/admin/mailusers/logout", "/admin/logout"])
async def test_logging_out(box: Box, admin: Client, path: str) -> None:
    """Another site cannot log a browser out, by a form or by a link."""
    browser = await box.browser(BOSS)
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": EVIL}):
        assert (await browser.sending(**headers).post(path)).status == 403
    for verb in ("GET", "HEAD", "PUT", "DELETE"):
        assert (await browser.sending(Sec_Fetch_Site="none").fetch(verb, path)).status == 405
    assert (await browser.get("/admin/mail/users")).status == 200


async def test_reading_changes_nothing(box: Box, admin: Client, user: str) -> None:
    """No GET of any route changes anything, whatever it is given."""
    before = box.sql("SELECT * FROM users ORDER BY id"), await box.events()
    browser = await box.browser(BOSS)
    values = {
        "email": USER,
        "password": PASSWORD,
        "quota": "1G",
        "do": "yes",
        "confirm": USER,
        "action": "cancel",
    }
    for verb, path, _ in verbs(box.app):
        if verb == "GET" and not path.endswith("/events"):
            await browser.sending(Sec_Fetch_Site="cross-site").get(path, _method="POST", **values)
        if verb == "POST":
            for method in ("GET", "HEAD"):
                await browser.fetch(method, f"{path}?email={USER}&quota=1G&do=yes&_xsrf={XSRF}&_method=POST")
    assert (box.sql("SELECT * FROM users ORDER BY id"), await box.events()) == before


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"])
async def test_method_override(box: Box, admin: Client, user: str, name: str) -> None:
    """No header and no field makes another verb of the one that was sent."""
    browser = (await box.browser(BOSS)).sending(**{name: "POST"})
    before = box.sql("SELECT * FROM users ORDER BY id")
    assert (await browser.get("/admin/mail/users/remove", email=USER, _method="POST")).status == 405
    assert (await browser.get("/admin/users/archive", email=USER, _method="POST")).status == 200
    # A form with our token that says it is a GET is a POST all the same, and so checked.
    forged = (await box.browser(BOSS, None)).sending(**{name: "GET"})
    assert (await forged.post("/admin/mail/users/remove", email=USER, _method="GET")).status == 403
    assert box.sql("SELECT * FROM users ORDER BY id") == before


async def test_what_is_said(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A page, a script and a program are told what to do, and the log what may be set wrongly, in one line."""
    browser = await box.browser(BOSS)
    evil = {"Origin": "https://evil.example/\xe9\x9b\xa8" + "x" * 500}
    page = await as_browser(browser).sending(**evil).post("/admin/users/quota", email=BOSS, quota="1G")
    assert SAID in words(page)
    part = await as_script(browser).sending(**evil).post("/admin/users/quota", email=BOSS, quota="1G")
    assert SAID in words(part)
    assert part.headers["HX-Retarget"] == "#mu-dialogs"
    assert "set public_url" in caplog.text
    said = [record.getMessage() for record in caplog.records if "public_url" in record.getMessage()]
    assert all(text.isascii() and len(text) < 500 for text in said)


async def test_behind_a_proxy(boxes: Boxes) -> None:
    """Through a proxy that speaks TLS the page works, whether it says so, keeps the host, or neither and is told."""
    for headers, public_url in (
        ({"Host": HOST, "X_Forwarded_Proto": "https"}, ""),
        ({"Host": HOST}, ""),
        ({}, OWN),
    ):
        box = await boxes.open(public_url=public_url)
        await box.add(BOSS, ("admin",))
        await box.add(USER)
        client = Client(boxes.listen(box.app, xheaders=True)).sending(Origin=OWN, **headers)
        token = await client.get("/admin/mailusers/login")
        cookie = token.headers["Set-Cookie"].partition(";")[0]
        browser = client.sending(Cookie=cookie, X_XSRFToken=cookie.partition("=")[2].strip('"'))
        answer = await browser.post("/admin/mailusers/login", email=BOSS, password=PASSWORD)
        assert answer.status == 303, answer.text
        session = answer.headers["Set-Cookie"].partition(";")[0]
        browser = browser.sending(Cookie=f"{cookie}; {session}")
        assert (await browser.post("/admin/mail/users/quota", email=USER, quota="1G")).text == "OK"
        assert (
            await browser.sending(Origin=EVIL).post("/admin/mail/users/quota", email=USER, quota="2G")
        ).status == 403
        assert (await box.service.account(USER)).quota == "1G"

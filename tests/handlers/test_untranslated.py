"""No text on any page or in any dialog escapes translation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from mailusers_plugin import languages
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.routes import routes
from mailusers_plugin.models import ADMIN
from tests.factor_support import set_up
from tests.handlers.test_imports import act, ended, job, upload
from tests.pseudo import PSEUDO, untranslated, write_pseudo_catalogue
from tests.support import BOSS, CONSOLE, PASSWORD, XSRF, Box, Boxes, Client

GONE, KEPT, HALF = "gone@example.com", "kept@example.org", "half@example.com"
IDN = "kim@xn--mller-kva.example.net"
SECOND = "factor@example.com"
TOKEN = "0" * 16
DATA = {"CSV", "JSON", "K", "M", "G", "T", "P", "UTC", "TLS", "SSL", "STARTTLS", "müller", "العربية"}
"""Not texts: formats, units, protocols, a domain, and the language's own name."""

WALK: list[tuple[str, dict[str, str] | None]] = [
    ("/users", None),
    ("/users?q=nothing-like-it", None),
    ("/users?domain=example.com&status=inactive", None),
    ("/users?sort=-size&privilege=admin", None),
    ("/users?limit=2", None),
    (f"/users?done=added&email={BOSS}", None),
    (f"/users?done=archived&email={GONE}", None),
    ("/users?sort=nonsense&cursor=nonsense", None),
    ("/users/domains?domain=ex", None),
    ("/users/statistics", None),
    ("/users/export?format=x", None),
    ("/mailusers/audit", None),
    ("/mailusers/audit?type=nonsense", None),
    ("/mailusers/audit?since=nonsense", None),
    ("/mailusers/audit?at=nonsense", None),
    ("/mailusers/audit/export?format=x", None),
    ("/users/import", None),
    ("/users/import", {"text": ""}),
    ("/users/add", None),
    ("/users/add", {"email": "A", "password": "x", "quota_number": "-", "quota_unit": "G"}),
    ("/users/add", {"email": BOSS, "password": PASSWORD, "quota": "0"}),
    ("/users/add", {"email": KEPT, "password": PASSWORD, "quota": "0"}),
    ("/users/add", {"email": "postmaster@example.com", "password": PASSWORD, "quota": "0"}),
    ("/users/check", {"field": "email", "email": "A"}),
    ("/users/check", {"field": "email", "email": GONE}),
    ("/users/check", {"field": "password", "password": "password1"}),
    ("/users/check", {"field": "password", "password": "qwertyuiopas"}),
    ("/users/check", {"field": "quota", "quota_number": "1,5", "quota_unit": "G"}),
    ("/users/check", {"field": "nothing"}),
    ("/users/restore?email=" + GONE, None),
    ("/users/restore", {"email": GONE, "password": "x", "quota": "1 G"}),
    ("/users/undo?email=" + GONE, None),
    ("/users/undo", {"email": KEPT + "x"}),
    ("/users/purge?email=" + GONE, None),
    ("/users/purge?email=" + HALF, None),
    ("/users/purge", {"email": GONE, "confirm": "other"}),
    *[
        (f"/users/bulk/{action}{query}", form)
        for action in ("quota", "archive")
        for query, form in (
            ("", None),
            (f"?email=user@example.com&email={BOSS}&email={GONE}&email=nobody@example.com", None),
            ("", {"email": "user@example.com"}),
            ("", {"email": "user@example.com", "quota": "1 G"}),
            ("", {"email": "full@example.org", "quota": "1M"}),
            ("", {"email": "warning@example.org", "quota_number": "1", "quota_unit": "M"}),
            ("", {"email": BOSS, "quota": "0"}),
        )
    ],
    ("/users/bulk/quota", {"email": "user@example.com", "quota": "3G", "do": "yes"}),
    ("/users/bulk/archive", {"email": "odd@example.com", "do": "yes"}),
    ("/users/bulk/archive", {"email": BOSS, "do": "yes"}),
    ("/mailusers/sessions", None),
    ("/mailusers/sessions", {"id": "x"}),
    ("/mailusers/tokens", None),
    ("/mailusers/tokens?done=revoked", None),
    ("/mailusers/tokens", {"name": "report", "scope": "users:read", "networks": "192.0.2.0/24"}),
    ("/mailusers/tokens", {"name": "report", "scope": "users:read", "days": "never"}),
    ("/mailusers/tokens", {"name": "", "scope": "users:read"}),
    ("/mailusers/tokens", {"name": "report", "scope": ""}),
    ("/mailusers/tokens", {"name": "report", "scope": "users:read", "days": "soon"}),
    ("/mailusers/tokens", {"name": "report", "scope": "users:read", "networks": "here"}),
    ("/mailusers/tokens/revoke?id=0", None),
    (f"/mailusers/tokens/revoke?id={TOKEN}", None),
    ("/mailusers/login", None),
    ("/mailusers/login", {"email": BOSS, "password": "wrong"}),
    ("/mailusers/login", {"email": "user@example.com", "password": PASSWORD}),
    ("/mailusers/login", {"email": SECOND, "password": PASSWORD}),
    ("/mailusers/login", {"email": SECOND, "half": "0" * 64, "code": "1"}),
    ("/mailusers/second-factor", None),
    ("/mailusers/second-factor?done=removed", None),
    ("/mailusers/second-factor", {"label": "x" * 101}),
    ("/mailusers/second-factor", {"secret": "x", "code": "1", "password": "wrong"}),
    ("/mailusers/second-factor/remove", {"id": "1", "password": "wrong"}),
    ("/mailusers/second-factor/codes", {"password": ""}),
    ("/mailusers/second-factor/codes", {"password": PASSWORD}),
    ("/mailusers/second-factor/remove", {"id": "1", "password": PASSWORD}),
    ("/mailusers/second-factor/codes", {"password": PASSWORD}),
    ("/mailusers/setup?token=x", None),
    *[
        (f"/users/{action}{query}", form)
        for action in ("quota", "password", "make-admin", "remove-admin", "archive")
        for query, form in (
            ("?email=full@example.org", None),
            (f"?email={BOSS}", None),
            ("?email=nobody@example.com", None),
            ("?email=odd@example.com", None),
            ("", {"email": "full@example.org", "quota": "1 G", "password": "short"}),
            ("", {"email": "nobody@example.com", "quota": "1G", "password": PASSWORD}),
        )
    ],
]
SENT_NO_PAGE = {"/mailusers/logout", "/mailusers/language", "/users/events", "/users/import/example.csv"}
"""Answer with a redirect, a stream or a file."""
IMPORTS = {"/users/import/([0-9A-Za-z-]{1,64})", "/users/import/([0-9A-Za-z-]{1,64})/result.csv"}
"""Walked by a test of their own."""
UNREADABLE = (
    "PK\x03\x04",
    "%PDF-1.5",
    "",
    "address\n",
    "a@example.com\0",
    'a@example.com,"x',
    "a,b,c,d,e,f\n",
)
LINES = f"""address;password;quota;privilege;phone
one@example.com;{PASSWORD};5G;
two@example.com;short;1 G;king
two@example.com;;;admin
{GONE};;0;
postmaster@example.com;;;
three@example.com;;;;
"""


@pytest.fixture
def pseudo_box(io_loop: IOLoop, boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A box in the language of marks, with users of all kinds."""
    monkeypatch.setattr(languages, "CATALOGUES", write_pseudo_catalogue(tmp_path / "catalogues"))

    async def make() -> Box:
        box = await boxes.open(languages=(PSEUDO, "en"), extra_privileges=("reports",))
        await fill(box)
        return box

    made: Box = io_loop.run_sync(make)
    return made


async def fill(box: Box) -> None:
    """Put users of all kinds and sizes into a box."""
    await box.add(BOSS, (ADMIN,))
    for email, quota, used in (
        ("user@example.com", "0", 5),
        ("warning@example.org", "1M", 900_000),
        ("critical@example.org", "1M", 1_000_000),
        ("full@example.org", "1M", 2_000_000),
        (IDN, "5G", 1),
        (GONE, "2G", 12_345_678),
        (KEPT, "0", 5),
        (HALF, "0", 5),
    ):
        await box.add(email, ("reports",), quota)
        box.make_mailbox(email, "a message")
        (box.maildir(email) / "maildirsize").write_text(f"0S\n{used} 3\n")
    box.make_mailbox("before@example.com")
    box.sql(
        "INSERT INTO users (email, password, privileges, quota, extra) VALUES ('odd@example.com', 'x', '', '?', '')"
    )
    for email in (GONE, KEPT, HALF):
        await box.service.archive(CONSOLE, email)
    box.sql("UPDATE mailusers_archive SET purge_name = 'x' WHERE email = ?", HALF)
    await box.add(SECOND, (ADMIN,))
    for email in (BOSS, SECOND):
        set_up(box, email, label="M")
    expired, _ = await box.runtime.tokens().create(BOSS, "backup", ("admin", "users:write"), days=0.000001)
    box.state_sql("UPDATE mailusers_token SET id = ? WHERE id = ?", TOKEN, expired.id)
    box.runtime.refresh_usage()
    await box.runtime.directory.catch_up(10)


async def visit(box: Box, client: Client, path: str, form: dict[str, str] | None) -> str:
    """Get or post, and follow where a form leads."""
    answer = await (client.get("/admin" + path) if form is None else client.post("/admin" + path, **form))
    if answer.status == 303:
        answer = await client.get(answer.headers["Location"])
    assert answer.type.startswith("text/html"), (path, answer.status, answer.text)
    return answer.text


@pytest.mark.parametrize("by_script", [False, True], ids=["pages", "dialogs"])
@pytest.mark.gen_test(timeout=180)
async def test_everything_is_translated(pseudo_box: Box, by_script: bool) -> None:
    """Whatever people read, in text or attributes, was translated or is data."""
    client = (await pseudo_box.browser(BOSS)).sending(Accept="text/html")
    if by_script:
        client = client.sending(HX_Request="true", HX_Current_URL=f"{pseudo_box.base_url}/admin/users")
    found: dict[str, str] = {}
    for path, form in WALK:
        page = await visit(pseudo_box, client, path, form)
        assert "⟦" in page or "/users/check" in path or "/users/domains" in path, path
        found.update((text, path) for text in untranslated(page, DATA))
    assert found == {}


@pytest.mark.gen_test(timeout=180)
async def test_what_was_done_is_translated(pseudo_box: Box) -> None:
    """What the page says after each change, with and without script."""
    browser = (await pseudo_box.browser(BOSS)).sending(Accept="text/html")
    found: dict[str, str] = {}
    for client in (browser, browser.sending(HX_Request="true")):
        for path, form in (
            ("/users/add", {"email": "new@example.com", "password": PASSWORD, "quota": "5G"}),
            ("/users/quota", {"email": "new@example.com", "quota": "7G"}),
            ("/users/quota", {"email": "new@example.com", "quota": "0"}),
            ("/users/password", {"email": "new@example.com", "password": PASSWORD}),
            ("/users/make-admin", {"email": "new@example.com"}),
            ("/users/remove-admin", {"email": "new@example.com"}),
            ("/users/archive", {"email": "new@example.com"}),
            ("/users/undo", {"email": "new@example.com"}),
            ("/users/archive", {"email": "new@example.com"}),
            ("/users/restore", {"email": "new@example.com", "password": PASSWORD, "quota": "5G"}),
            ("/users/archive", {"email": "new@example.com"}),
            ("/users/purge", {"email": "new@example.com", "confirm": "new@example.com"}),
        ):
            page = await visit(pseudo_box, client, path, form)
            assert re.search("⟦[^⟧]*new@example.com", page), (path, page)
            found.update((text, path) for text in untranslated(page, DATA))
    assert found == {}


@pytest.mark.gen_test(timeout=180)
async def test_an_import_is_translated(pseudo_box: Box) -> None:
    """Every state of an import, with what is wrong with a file and its lines."""
    client = (await pseudo_box.browser(BOSS)).sending(Accept="text/html")
    await pseudo_box.add("second@example.com", (ADMIN,))
    other = (await pseudo_box.browser("second@example.com")).sending(Accept="text/html")
    pages = []
    for content in UNREADABLE:
        answer = await upload(client, content)
        pages.append(answer.text or (await client.get(answer.headers["Location"])).text)
    path = await job(client, LINES)
    for reader in (client, other):
        pages += [(await reader.get(f"{path}?show={show}")).text for show in ("errors", "all")]
    pages.append((await act(client, path, "import")).text)
    assert (await act(client, path, "leave-out", restore="yes")).status == 303
    pages.append((await client.get(path)).text)
    pages.append(await ended(client, path))
    for reader in (client, other, client.sending(HX_Request="true")):
        pages += [(await reader.get(f"{path}?show={show}")).text for show in ("errors", "all")]
    cancelled = await job(client, "four@example.com\n")
    await act(client, cancelled, "cancel")
    pages.append((await client.get(cancelled)).text)
    pages.append((await act(client, cancelled, "import")).text)
    pages.append((await client.get("/admin/users/import")).text)
    assert [page for page in pages if "⟦" not in page] == []
    given = {"users.csv", "phone", "king", "a", "c", "d", "e", "f", "admin"}
    assert {text for page in pages for text in untranslated(page, DATA | given)} == set()


async def test_set_up_and_an_absent_database_are_translated(
    boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very first page, and an error that only the storage can raise."""
    monkeypatch.setattr(languages, "CATALOGUES", write_pseudo_catalogue(tmp_path / "catalogues"))
    box = await boxes.open(languages=(PSEUDO,))
    token = box.handle.first_run.begin()
    client = box.nobody.sending(Accept="text/html", Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
    for form in (None, {"email": "A", "password": "x", "token": token}):
        page = await visit(box, client, f"/mailusers/setup?token={token}", form)
        assert "⟦" in page
        assert untranslated(page, DATA) == []

    async def away(*_: Any) -> bool:
        raise UnavailableError("The account database is not available. Run 'mailusers doctor' on the server.")

    monkeypatch.setattr(box.service, "has_administrator", away)
    page = (await client.get("/admin/mailusers/login")).text
    assert "⟦The account database is not available." in page
    assert untranslated(page, DATA) == []


async def test_every_page_is_walked(box: Box) -> None:
    """A new page is looked at too: it stands in the walk above, or among those that show nothing."""
    dependencies = box.runtime  # only the settings are read
    pages = {
        pattern.removesuffix("$").replace("\\", "").removeprefix("/admin")
        for pattern, handler, _ in routes(dependencies, object())  # type: ignore[arg-type]
        if issubclass(handler, PageHandler)
    }
    walked = {path.partition("?")[0] for path, _ in WALK}
    assert pages - walked - SENT_NO_PAGE - IMPORTS == set()


def test_the_reader_finds_what_is_not_translated() -> None:
    """Text and attributes outside the marks are found; data, code and marked text with elements in it are not."""
    page = """<p title="⟦a⟧">⟦one <code>two</code> three⟧ a@example.com 1.2G <time>May</time></p>
      <button value="quota" data-mu-copied="⟦c⟧">⟦x⟧</button><input value="typed" placeholder="⟦p⟧">
      <b lang="de">Deutsch</b> <pre>curl</pre>"""
    assert untranslated(page) == []
    for wrong in (
        "<p>one ⟦two⟧</p>",
        "<p>⟦one⟧ two</p>",
        "<img alt='one'>",
        "<button aria-label='one'>⟦x⟧</button>",
        "<input type=submit value=one>",
        "<p data-mu-copied='one'>",
        "<template>one</template>",
    ):
        assert len(untranslated(wrong)) == 1, wrong

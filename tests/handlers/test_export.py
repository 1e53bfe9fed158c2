"""Exporting what the list shows."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from mailusers_plugin import csv_text
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN, Actor, Entry
from tests.support import BOSS, USER, Answer, Box, Client

EXPORT = "/admin/users/export"


@pytest.fixture
def filled(io_loop: Any, box: Box, admin: Client) -> Box:
    """A box with users of all kinds."""

    async def fill() -> None:
        await box.add(USER, quota="1M")
        await box.add("other@example.org", (ADMIN,), "5G")
        box.make_mailbox(USER)
        (box.maildir(USER) / "maildirsize").write_text("1048576S\n1040000 3\n")
        box.make_mailbox("gone@example.com")
        await asyncio.to_thread(box.runtime.refresh_usage)

    io_loop.run_sync(fill)
    return box


def rows(answer: Answer) -> list[dict[str, str]]:
    """Return a CSV answer's rows by column."""
    assert (answer.status, answer.type) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))


async def test_csv(filled: Box, admin: Client) -> None:
    """A header row, then a line for each user in the order of the list; sizes in bytes, what is unknown is empty."""
    answer = await admin.get(EXPORT)
    assert answer.body.startswith(b"\xef\xbb\xbf")
    assert re.fullmatch(
        r'attachment; filename="mail-users-\d{4}-\d\d-\d\d\.csv"', answer.headers["Content-Disposition"]
    )
    assert answer.text.count("\r\n") == answer.text.count("\n") == 5
    found = rows(answer)
    assert [(row["email"], row["status"], row["privileges"], row["quota"]) for row in found] == [
        (BOSS, "active", "admin", "0"),
        (USER, "active", "", "1M"),
        ("gone@example.com", "inactive", "", "?"),
        ("other@example.org", "active", "admin", "5G"),
    ]
    assert (found[1]["box_size_bytes"], found[1]["box_quota"], found[1]["percent"]) == (
        "1040000",
        "1048576",
        "99%",
    )
    assert found[0]["box_size_bytes"] == ""


async def test_json(filled: Box, admin: Client) -> None:
    """The objects are those of the API."""
    answer = await admin.get(EXPORT, format="json")
    assert answer.type == "application/json"
    assert answer.headers["Content-Disposition"].endswith('.json"')
    listed = (await admin.get("/admin/mail/users", format="json")).json()
    assert answer.json() == [user for domain in listed for user in domain["users"]]


@pytest.mark.parametrize(
    ("state", "emails"),
    [
        ({"q": "other"}, ["other@example.org"]),
        ({"domain": "example.com", "status": "active"}, [BOSS, USER]),
        ({"status": "inactive"}, ["gone@example.com"]),
        ({"privilege": "admin", "sort": "-quota"}, [BOSS, "other@example.org"]),
        ({"nearly_full": "1"}, [USER]),
        (
            {"sort": "-size", "limit": "25", "at": "somewhere", "domain": "example.com", "status": "active"},
            [USER, BOSS],
        ),
        ({"q": "nobody"}, []),
    ],
)
async def test_what_is_shown(filled: Box, admin: Client, state: dict[str, str], emails: list[str]) -> None:
    """Filters and order are those of the list's address; the page of it that is shown does not matter."""
    assert [row["email"] for row in rows(await admin.get(EXPORT, **state))] == emails
    found = (await admin.get(EXPORT, format="json", **state)).json()
    assert [user["email"] for user in found] == emails


async def test_more_than_one_batch(box: Box, admin: Client) -> None:
    """Many thousand users come in one file, each once and in order."""
    many = [f"user{number:05}@example.com" for number in range(5000)]
    box.insert_users(many)
    await asyncio.to_thread(box.runtime.directory.compare_now)
    assert [row["email"] for row in rows(await admin.get(EXPORT))] == [BOSS, *many]
    assert len((await admin.get(EXPORT, format="json")).json()) == 5001


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *(
            (start + "1", f"'{start}1")
            for start in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
        ),
        ("1-1", "1-1"),
        ("'x", "'x"),
        (-5, "-5"),
        (None, ""),
        ("", ""),
    ],
)
def test_formulas(value: object, cell: str) -> None:
    """What a spreadsheet could take for a formula begins with an apostrophe; a number stays one."""
    assert csv_text.cell(value) == cell


def test_quotes() -> None:
    """Every cell is quoted, quotes are doubled, lines end as RFC 4180 says."""
    assert csv_text.lines([['a "b"', "c,d\ne", 5]]) == '"a ""b""","c,d\ne","5"\r\n'


async def test_hostile_users(box: Box, admin: Client) -> None:
    """What other programs stored comes as text and starts no formula."""
    box.sql(
        "INSERT INTO users (email, password, privileges, quota) VALUES (?, 'x', ?, ?)",
        "=cmd|'/C calc'!A0@example.com",
        "@SUM(1)\n+1",
        "-1+1",
    )
    await asyncio.to_thread(box.runtime.directory.compare_now)
    (row,) = [row for row in rows(await admin.get(EXPORT)) if row["email"] != BOSS]
    assert row["email"] == "'=cmd|'/C calc'!A0@example.com"
    assert (row["privileges"], row["quota"]) == ("'@SUM(1)|+1", "'-1+1")


async def test_an_export_can_be_imported(filled: Box, admin: Client) -> None:
    """An export of active users is a file that an import takes, on a box that does not have them yet."""
    content = (await admin.get(EXPORT, status="active", domain="example.org")).body
    filled.sql("DELETE FROM users WHERE email LIKE '%@example.org'")
    imports = filled.runtime.imports
    job_id = await imports.upload(Actor(BOSS, "cookie"), "export.csv", content)
    view = await imports.view(job_id)
    assert view is not None
    assert view.held is not None
    assert [(row.email, row.quota, row.privileges, row.faults) for row in view.held.rows] == [
        ("other@example.org", "5G", (ADMIN,), ())
    ]


async def test_who_may(box: Box, admin: Client, user: str) -> None:
    """Reading is enough, and needed; a format that there is not is refused."""
    assert (await box.nobody.get(EXPORT)).status == 303
    assert (await box.basic(user).get(EXPORT)).status == 401
    refused = await admin.get(EXPORT, format="xlsx")
    assert (refused.status, refused.text) == (400, "The format is csv or json.")
    head = await admin.fetch("HEAD", EXPORT)
    assert (head.status, head.type, head.body) == (200, "text/csv; charset=utf-8", b"")


async def test_slow_reader_and_one_who_leaves(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is read from the directory than the reader takes, and nothing once he is gone."""
    read = 0
    entry = Entry("x" * 200 + "@example.com", True, (), "0", None)

    async def endless(*_: object) -> AsyncIterator[Sequence[Entry]]:
        nonlocal read
        while True:
            read += 1
            yield [entry] * 1000

    monkeypatch.setattr(box.runtime.directory, "export", endless)
    host, _, port = admin.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1000)
    head = f"GET {EXPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: {admin.headers['Authorization']}\r\n\r\n"
    writer.write(head.encode())
    await reader.readexactly(500)
    # Some megabytes fit into the buffers between the two.
    before = -1
    async with asyncio.timeout(20):
        while before != read:
            before = read
            await asyncio.sleep(0.5)
    writer.close()
    assert await box.handle.finish_requests(5)
    assert read <= before + 1


@pytest.mark.parametrize("error", [UnavailableError("The database is away."), RuntimeError("a mistake")])
async def test_half_an_export_is_no_whole_one(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Where the rest cannot be read the answer is cut off, so that nobody takes what came for everything."""

    async def some(*_: object) -> AsyncIterator[Sequence[Entry]]:
        yield [Entry("a@example.com", True, (), "0", None)]
        raise error

    monkeypatch.setattr(box.runtime.directory, "export", some)
    with pytest.raises(HTTPStreamClosedError):
        await admin.get(EXPORT)
    assert await box.handle.finish_requests(5)

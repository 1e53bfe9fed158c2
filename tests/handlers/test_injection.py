"""What comes in as data stays data: in SQL, in paths, in arguments of programs, in headers, and between requests."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from mailusers_plugin.models import ADMIN
from tests.support import BOSS, PASSWORD, USER, Box, Boxes, Client

USERS = "/admin/mail/users"
SQL = (
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '" OR ""="',
    "x' UNION SELECT password, 1, 1 FROM users --",
    "%' OR privileges LIKE '%admin",
    "\\' OR 1=1 #",
    "1; ATTACH DATABASE '/tmp/x' AS x",
    "%u%s%(email)s{0}{email}",
    "$(id)`id`;|&",
)
ADDRESSES = (
    "../../etc/passwd@example.com",
    "..@example.com",
    "a/b@example.com",
    "x@../../etc",
    "x@example.com/../..",
    "x@.",
    "x@example.com.",
    "--config=/tmp/x@example.com",
    "x\n@example.com",
    "x@example.com\nbcc:victim@example.com",
    "x@example.com\r\nX-Injected: yes",
    "x\0@example.com",
    "%u@example.com",
    "%s%%@example.com",
    "x@example.com'--",
    '"x y"@example.com',
    "<script>@example.com",
    "{{7*7}}@example.com",
    "X@example.com",
    "x@EXAMPLE.com\u200b",
    "\u0430dmin@example.com",
    "us\u0435r@example.com",
    "\uff55ser@example.com",
    "user\u202e@example.com",
    "user@ex\u0430mple.com\n",
    "admin@other.example",
    "postmaster+tag@other.example",
)
"""None of these may become an account: neither by itself, nor as something else that looks like it."""
QUOTAS = (
    "9" * 20,
    "9223372036854775808",
    "8589934592G",
    "\u0661\u0662",
    "\uff15G",
    "1e9",
    "1E9",
    "-1",
    "+1",
    "0x10",
    "1_000",
    "1.5G",
    "1,5G",
    "1 G",
    "NaN",
    "inf",
    "5g5",
    "G",
    "5T",
    "1G\n2G",
)


def state_of(box: Box) -> tuple[list[Any], list[Any]]:
    """Return everything that an attack could have changed."""
    return (
        box.sql("SELECT email, password, privileges, quota FROM users ORDER BY email"),
        box.sql("SELECT email FROM mailusers_archive ORDER BY email"),
    )


async def test_sql_is_text(box: Box, admin: Client, user: str) -> None:
    """SQL in any parameter of any list and any change is looked for or refused as the text that it is."""
    before = state_of(box)
    everybody = len(before[0])
    for text in SQL:
        for name in ("q", "domain", "status", "privilege", "sort", "cursor", "limit"):
            answer = await admin.get(USERS, format="json", **{name: text})
            assert answer.status in (200, 400), (name, text)
            if answer.status == 200:
                found = [one["email"] for domain in answer.json() for one in domain["users"]]
                assert len(found) < everybody, (name, text, found)
        for path in ("quota", "privileges"):
            assert (await admin.get(f"{USERS}/{path}", email=text)).status == 400, text
        forms: tuple[tuple[str, dict[str, str]], ...] = (
            ("remove", {"email": text}),
            ("quota", {"email": text, "quota": "1G"}),
            ("quota", {"email": USER, "quota": text}),
            ("privileges/add", {"email": USER, "privilege": text}),
            ("purge", {"email": text, "confirm": text}),
            ("add", {"email": text, "password": PASSWORD}),
        )
        for path, form in forms:
            answer = await admin.post(f"{USERS}/{path}", **form)
            assert answer.status == 400, (path, form, answer.text)
        assert (await box.basic(text, text).get(USERS)).status in (401, 429)
    assert state_of(box) == before


async def test_stored_text_does_no_harm_later(boxes: Boxes) -> None:
    """An address that another program stored, with SQL and formats in it, is shown and changed as what it is."""
    box = await boxes.open()
    await box.add(BOSS, (ADMIN,))
    evil = "x';drop/**/table/**/users;--%s%u@example.com"
    box.sql(
        "INSERT INTO users (email, password, privileges, quota) SELECT ?, password, '', '0' FROM users", evil
    )
    await asyncio.to_thread(box.runtime.directory.compare_now)
    admin = box.basic(BOSS)
    found = (await admin.get(USERS, format="json", q="drop/**/table")).json()
    assert [one["email"] for domain in found for one in domain["users"]] == [evil]
    assert (await admin.post(f"{USERS}/quota", email=evil, quota="1G")).text == "OK"
    assert (await admin.get(f"{USERS}/quota", email=evil)).json() == {"email": evil, "quota": "1G"}
    assert (await admin.post(f"{USERS}/remove", email=evil)).text == "mail user removed\n"
    assert [row[0] for row in box.sql("SELECT email FROM users")] == [BOSS]


@pytest.mark.parametrize("email", ADDRESSES, ids=ascii)
async def test_no_address_leads_elsewhere(box: Box, admin: Client, email: str) -> None:
    """Paths, options, line breaks, look-alikes and reserved names are no addresses, and make no file."""
    before = state_of(box)
    folders = sorted(box.storage.rglob("*"))
    answer = await admin.post(f"{USERS}/add", email=email, password=PASSWORD)
    assert answer.status == 400, answer.text
    assert "X-Injected" not in answer.headers
    assert state_of(box) == before
    names = [path for path in sorted(box.storage.rglob("*")) if path not in folders]
    assert [path for path in names if "sqlite" not in path.name] == []


async def test_capital_letters_make_no_second_user(box: Box, admin: Client, user: str) -> None:
    """The same address written otherwise is not another one."""
    for email in (USER.upper(), USER.title(), f" {USER}", f"{USER} ", USER.replace("@", "@\u200b")):
        answer = await admin.post(f"{USERS}/add", email=email, password=PASSWORD)
        assert answer.status == 400, email
    assert [row[0] for row in state_of(box)[0]] == [BOSS, USER]


@pytest.mark.parametrize("quota", QUOTAS, ids=ascii)
async def test_no_number_overflows(box: Box, admin: Client, user: str, quota: str) -> None:
    """Numbers that are too large, written in other digits, or not whole are refused."""
    before = state_of(box)
    answer = await admin.post(f"{USERS}/quota", email=USER, quota=quota)
    assert answer.status == 400, answer.text
    assert state_of(box) == before


async def test_a_parameter_given_twice(box: Box, admin: Client, user: str) -> None:
    """Of two different values none is chosen, so that nobody in front decides on one and we on the other."""
    before = state_of(box)
    form = "application/x-www-form-urlencoded"
    for body in (f"email={USER}&email={BOSS}&quota=1G", f"email={USER}&quota=1G&quota=2G"):
        answer = await admin.send(f"{USERS}/quota", body, form)
        assert (answer.status, "more than once" in answer.text) == (400, True)
    # What is in the address of a POST is no parameter.
    answer = await admin.send(f"{USERS}/quota?email={quote(BOSS)}", f"email={USER}&quota=1G", form)
    assert answer.text == "OK"
    assert [row[3] for row in state_of(box)[0]] == [before[0][0][3], "1G"]


async def test_thousands_of_parameters(box: Box, admin: Client) -> None:
    """A form of very many parameters is answered like any other, and soon."""
    many = urlencode([(f"p{number}", "x") for number in range(20_000)])
    answer = await admin.send(f"{USERS}/quota", many, "application/x-www-form-urlencoded")
    assert answer.status in (400, 413)
    assert (await admin.get(f"{USERS}/quota", email=BOSS)).status == 200


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes on a connection of their own and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


SMUGGLED = b"GET /admin/mail/users/health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Content-Length: 4\r\nContent-Length: 90",
        b"Content-Length: 4, 90",
        b"Content-Length: +4",
        b"Content-Length: 4_0",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length : 4",
        b"X: y\r\n Content-Length: 90",
    ],
    ids=ascii,
)
async def test_no_request_is_smuggled(box: Box, head: bytes) -> None:
    """Where it is in doubt where a request ends, no second one that was hidden in it is answered.

    That is what Tornado guarantees, asked here so that it is noticed where a release does not. Newer ones refuse such a
    request, older ones close the connection behind it.
    """
    port = int(box.base_url.rpartition(":")[2])
    body = b"0\r\n\r\n" + SMUGGLED
    request = b"POST /admin/login HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body
    answer = await asyncio.to_thread(exchange, port, request)
    assert b'"alive"' not in answer
    assert answer.count(b"HTTP/1.1 200 ") <= 1


async def test_headers_cannot_be_split(box: Box, admin: Client) -> None:
    """What a caller sends comes back in no header with a line break in it."""
    evil = "x\r\nSet-Cookie: planted=1"
    paths = (
        f"/admin/mailusers/login?next={quote(evil)}",
        f"/admin/users?q={quote(evil)}",
        f"{USERS}?format=json&limit=1&q={quote(evil)}",
        f"{USERS}/quota?email={quote(evil)}",
    )
    for path in paths:
        answer = await admin.get(path)
        assert "planted" not in str(answer.headers.get("Set-Cookie", "")), path
        assert all("\n" not in value for value in answer.headers.values()), path

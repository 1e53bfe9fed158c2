"""What no event tells: log-ins and refusals, how many of them are written, and what happens where that fails."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest

from mailusers_plugin import trail
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.store import audit_chain
from tests.support import BOSS, PASSWORD, USER, Box, Boxes, Client

LIST = "/admin/mail/users"


def told(entries: list[Any], *types: str) -> list[tuple[Any, ...]]:
    """Return what entries of some types say, without their times."""
    return [(e.type, e.email, e.actor, e.via, e.ip, e.detail) for e in entries if e.type in types]


async def test_requests_with_a_password_are_one_log_in(box: Box, admin: Client) -> None:
    """Who sends his password with each request has logged in once, until the hour is over."""
    for _ in range(5):
        assert (await admin.get(LIST)).status == 200
    wanted = ("LoggedIn", BOSS, BOSS, "basic", "127.0.0.1", {"by": "request"})
    assert told(await box.trail(), "LoggedIn") == [wanted]
    await box.api.get(LIST)
    assert told(await box.trail(), "LoggedIn")[1:] == [
        ("LoggedIn", "", None, "token", "127.0.0.1", {"by": "request"})
    ]


async def test_log_in_and_out_with_a_session_key(box: Box, admin: Client) -> None:
    """A session key that was given out and taken back stands in the trail, with whose it was and from where."""
    key = (await admin.post("/admin/login")).json()["api_key"]
    await box.basic(BOSS, key).post("/admin/logout")
    # A session that has ended already ends nobody's.
    await box.basic(BOSS, key).post("/admin/logout")
    assert told(await box.trail(), "LoggedIn", "LoggedOut") == [
        ("LoggedIn", BOSS, BOSS, "basic", "127.0.0.1", {"by": "api"}),
        ("LoggedOut", BOSS, BOSS, "basic", "127.0.0.1", {}),
    ]
    assert key not in str(await box.trail())


async def test_log_in_and_out_on_the_page(box: Box, admin: Client) -> None:
    """A browser's log-in and log-out stand in the trail."""
    browser = box.cookie("", "0" * 32)
    answer = await browser.post("/admin/mailusers/login", email=BOSS, password=PASSWORD)
    key = answer.headers.get_list("Set-Cookie")[0].partition("=")[2].partition(";")[0]
    await box.cookie(key).post("/admin/mailusers/logout")
    assert told(await box.trail(), "LoggedIn", "LoggedOut") == [
        ("LoggedIn", BOSS, BOSS, "cookie", "127.0.0.1", {"by": "page"}),
        ("LoggedOut", BOSS, BOSS, "cookie", "127.0.0.1", {}),
    ]
    assert key not in str(await box.trail())


@pytest.mark.parametrize("way", ["request", "api", "page"])
async def test_refusals(box: Box, admin: Client, way: str) -> None:
    """A wrong password stands in the trail with the account, an account that does not exist without what was typed."""
    for email in (BOSS, "my-password", "nobody@example.com", "nul \0 nul"):
        client = box.basic(email, "wrong password")
        if way == "request":
            assert (await client.get(LIST)).status == 401
        elif way == "api":
            assert (await client.post("/admin/login")).json()["status"] == "invalid"
        else:
            browser = box.cookie("", "0" * 32)
            form = {"email": email, "password": "wrong password"}
            assert (await browser.post("/admin/mailusers/login", **form)).status == 400
    detail = {"by": "page" if way == "page" else "request", "reason": "Incorrect email address or password."}
    await eventually(box, 2)
    assert told(await box.trail(), "LoginRefused") == [
        ("LoginRefused", BOSS, None, "", "127.0.0.1", detail),
        ("LoginRefused", "", None, "", "127.0.0.1", detail),
    ]
    assert "my-password" not in str(await box.trail())
    assert "nobody@" not in str(await box.trail())


async def eventually(box: Box, count: int) -> None:
    """Wait until so many refusals are written: who is refused does not wait for that."""
    async with asyncio.timeout(10):
        while len(told(await box.trail(), "LoginRefused")) < count:
            await asyncio.sleep(0.01)


async def test_who_may_not_is_refused(box: Box, admin: Client, user: str) -> None:
    """A right password of somebody who is no administrator is no log-in; no credential at all is no refusal."""
    assert (await box.basic(USER).get(LIST)).status == 401
    assert (await box.nobody.get(LIST)).status == 401
    await eventually(box, 1)
    assert [(entry[1], entry[5]["reason"]) for entry in told(await box.trail(), "LoginRefused")] == [
        (USER, "You are not an administrator.")
    ]
    assert told(await box.trail(), "LoggedIn") == []


async def test_a_flood_of_refusals(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand refusals from many addresses are some hundred entries, and none of them is not counted."""
    monkeypatch.setattr(trail, "REFUSED_SECONDS", 60.0)
    note = box.runtime.trail.note
    for number in range(10_000):
        await note("LoginRefused", ip=f"198.51.{number % 200}.1", detail={"reason": "no"})
    await box.handle.stop()
    box = await reopened(box)
    entries = [entry for entry in await box.trail() if entry.type == "LoginRefused"]
    assert len(entries) == 2 * 101
    assert sum(entry.detail.get("again", 1) for entry in entries) == 10_000
    rest = [entry for entry in entries if entry.detail.get("from") == "many addresses"]
    assert [(entry.ip, entry.detail.get("again")) for entry in rest] == [(None, None), (None, 4999)]


async def reopened(box: Box) -> Box:
    """Open the box once more; it is closed at the end of the test."""
    opened: Box = await OPEN[0].open(box.storage)
    return opened


OPEN: list[Boxes] = []


@pytest.fixture(autouse=True)
def _boxes(boxes: Boxes) -> Any:
    OPEN[:] = [boxes]
    yield
    OPEN.clear()


async def test_what_came_again_is_counted_at_the_end(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the minute is over there is one more entry with how often it came again, and then it begins anew."""
    monkeypatch.setattr(trail, "REFUSED_SECONDS", 0.3)
    note = box.runtime.trail.note
    for _ in range(4):
        await note("LoginRefused", ip="192.0.2.1", detail={"reason": "no"})
    await eventually(box, 2)
    await note("LoginRefused", ip="192.0.2.1", detail={"reason": "no"})
    await eventually(box, 3)
    first, again, anew = [entry.detail for entry in await box.trail()]
    assert first == anew == {"reason": "no"}
    assert again["again"] == 3


async def test_networks_are_counted(box: Box) -> None:
    """Whoever has an IPv6 network has all addresses of it, so that they count as one."""
    for ip in (
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8:0:1::1",
        "::ffff:192.0.2.1",
        "192.0.2.1",
        "::1",
        "odd",
    ):
        await box.runtime.trail.note("LoginRefused", ip=ip)
    await eventually(box, 5)
    assert [entry.ip for entry in await box.trail()] == [
        "2001:db8::/64",
        "2001:db8:0:1::/64",
        "192.0.2.1",
        "::1",
        "odd",
    ]


async def test_nobody_waits_where_it_cannot_be_written(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the trail cannot be written log-ins go on; the log says what was to be written, and later it is."""
    monkeypatch.setattr(trail, "_AGAIN_SECONDS", 0.05)
    append, away = audit_chain.append, True

    def fail(*args: Any) -> int:
        if away:
            raise UnavailableError("The disk is full.")
        return append(*args)

    monkeypatch.setattr(audit_chain, "append", fail)
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "mailusers_plugin.audit"):
        assert (await admin.post("/admin/login")).json()["status"] == "ok"
        assert (await box.basic(BOSS, "a\nline").get(LIST)).status == 401
        for number in range(20):
            await box.runtime.trail.note("LoggedIn", email=f"user{number}@example.com")
    assert time.monotonic() - began < 10
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 22
    assert all("\n" not in line for line in lines)
    assert json.loads(lines[0].partition("): ")[2])["email"] == BOSS
    assert "The disk is full." in lines[0]
    away = False
    async with asyncio.timeout(10):
        while len(await box.trail()) < 22:
            await asyncio.sleep(0.01)
    assert (await box.runtime.state.read(audit_chain.verify)).fault is None


async def test_a_database_that_hangs(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who logs in waits a second for the trail and not longer, and the entry is written all the same."""
    append = audit_chain.append

    def slow(*args: Any) -> int:
        time.sleep(3)
        return append(*args)

    monkeypatch.setattr(audit_chain, "append", slow)
    began = time.monotonic()
    await box.runtime.trail.note("LoggedIn", email=BOSS)
    assert time.monotonic() - began < 2.5
    async with asyncio.timeout(20):
        while not await box.trail():
            await asyncio.sleep(0.05)


async def test_what_has_no_room_is_counted(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is bounded: what does not fit is in the log, and the trail says how much is missing."""
    monkeypatch.setattr(trail, "_MAX_WAITING", 5)
    monkeypatch.setattr(trail, "_AGAIN_SECONDS", 0.05)
    append, away = audit_chain.append, True

    def fail(*args: Any) -> int:
        if away:
            raise UnavailableError("The disk is full.")
        return append(*args)

    monkeypatch.setattr(audit_chain, "append", fail)
    for number in range(8):
        await box.runtime.trail.note("LoggedIn", email=f"user{number}@example.com")
    away = False
    async with asyncio.timeout(10):
        while "EntriesLost" not in [entry.type for entry in await box.trail()]:
            await asyncio.sleep(0.01)
    assert [(entry.type, entry.detail) for entry in await box.trail()][5:] == [("EntriesLost", {"count": 3})]
    assert "user7@example.com" in caplog.text


async def test_the_end_of_the_chain_is_in_the_log(boxes: Boxes, caplog: pytest.LogCaptureFixture) -> None:
    """A server says in its log how the trail ends, where who changes the table cannot reach it."""
    with caplog.at_level(logging.INFO, "mailusers_plugin.audit"):
        box = await boxes.open()
        async with asyncio.timeout(10):
            while "The audit trail ends with 0:000" not in caplog.text:
                await asyncio.sleep(0.01)
    await box.add(BOSS, (ADMIN,))

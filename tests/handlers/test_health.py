"""What programs see that watch the panel: alive, ready with reasons, and counts without anybody's address."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import namedtuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mailusers_plugin import hookimpl
from mailusers_plugin.events import UserAdded
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.models import ADMIN
from tests.support import BOSS, USER, Box, Boxes, Client

HEALTH = "/admin/mail/users/health"
METRICS = "/admin/mail/users/metrics"
DiskUsage = namedtuple("DiskUsage", "total used free")


class Broken:
    """An implementation that always fails."""

    @hookimpl
    def mailusers_post_add(self, event: UserAdded) -> None:
        """Fail."""
        raise ValueError(f"nothing of {event.email} goes here")


async def samples(client: Client) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the metrics by name, then by labels."""
    answer = await client.get(METRICS)
    assert answer.status == 200
    assert answer.type.startswith("text/plain; version=")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_a_box_that_works(box: Box, admin: Client) -> None:
    """Whoever asks is told that it is ready; what was looked at only an administrator hears."""
    for client in (box.nobody, box.basic(BOSS, "a wrong password")):
        answer = await client.get(HEALTH)
        assert (answer.status, answer.json()) == (200, {"status": "ready"})
    found = (await admin.get(HEALTH)).json()
    assert found["status"] == "ready"
    assert [check["name"] for check in found["checks"] if check["ok"]] == [
        "accounts database",
        "state database",
        "disk",
        "hooks",
        "password hashing",
    ]
    assert (await box.nobody.get(f"{HEALTH}/live")).json() == {"status": "alive"}
    assert (await box.nobody.fetch("HEAD", HEALTH)).status == 200


async def test_a_database_that_does_not_answer(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program keeps to itself makes the panel not ready, and it is alive all the same."""
    monkeypatch.setattr("mailusers_plugin.health._TIMEOUT_SECONDS", 0.2)
    box = await boxes.open()
    await box.add(BOSS, (ADMIN,))
    key = await box.session_key(BOSS)
    path = box.storage / "mail" / "users.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = await box.nobody.get(HEALTH)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json() == {"status": "unavailable"}
        assert (await box.nobody.get(f"{HEALTH}/live")).status == 200
        report = await box.runtime.health.report()
        assert [check.reason for check in report.checks if check.reason] == ["No answer within 0.2 seconds."]
        other.execute("ROLLBACK")
    async with asyncio.timeout(20):
        while (await box.nobody.get(HEALTH)).status != 200:
            await asyncio.sleep(0.05)
    assert (await box.basic(BOSS, key).get(HEALTH)).json()["status"] == "ready"


async def test_a_disk_that_is_full(box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no mail could be stored any more, that is said before it comes to it."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: DiskUsage(2**40, 2**40 - 2**20, 2**20))
    answer = await admin.get(HEALTH)
    assert answer.status == 503
    (reason,) = [check["reason"] for check in answer.json()["checks"] if not check["ok"]]
    assert reason == f"Only 1 MB are free in {box.storage}. Make room, or no mail can be stored."


async def test_hooks_that_lag_behind(box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not told is named, and hinders no request."""
    monkeypatch.setattr("mailusers_plugin.health._LATE_SECONDS", 0.0)
    box.handle.pm.register(Broken(), "broken")
    await admin.post("/admin/mail/users/add", email=USER, password="correct horse battery")
    async with asyncio.timeout(20):
        while not box.runtime.measures.deliveries["broken", "mailusers_post_add", "failed"]:
            await asyncio.sleep(0.02)
    answer = await admin.get(HEALTH)
    assert answer.status == 200
    (check,) = [check for check in answer.json()["checks"] if not check["ok"]]
    assert (check["name"], check["essential"]) == ("hooks", False)
    assert "broken has not been told 1 events" in check["reason"]


async def test_nobody_is_let_in_to_the_counts(box: Box, admin: Client, user: str) -> None:
    """They are an administrator's."""
    assert (await box.nobody.get(METRICS)).status == 401
    assert (await box.basic(user).get(METRICS)).status == 401


async def test_what_is_counted(box: Box, admin: Client) -> None:
    """Requests by route, calls of hooks by outcome, deliveries that wait, database time, the pool, and users."""
    box.handle.pm.register(Broken(), "broken")
    await admin.post("/admin/mail/users/add", email=USER, password="correct horse battery")
    await admin.post("/admin/mail/users/add", email=USER, password="correct horse battery")
    await admin.get("/admin/mail/users/quota", email=USER)
    await box.nobody.get("/admin/mail/users/quota", email=USER)
    async with asyncio.timeout(20):
        while not box.runtime.measures.deliveries["broken", "mailusers_post_add", "failed"]:
            await asyncio.sleep(0.02)
    found = await samples(admin)
    requests = found["mailusers_http_requests_total"]

    def counted(route: str, method: str, status: int) -> float:
        return requests[("method", method), ("route", route), ("status", str(status))]

    assert counted("/mail/users/add", "POST", 200) == 1
    assert counted("/mail/users/add", "POST", 400) == 1
    assert counted("/mail/users/quota", "GET", 401) == 1
    assert found["mailusers_http_request_duration_seconds_count"][(("route", "/mail/users/quota"),)] == 2
    hooks = found["mailusers_hook_calls_total"]
    assert hooks[("hook", "mailusers_post_add"), ("implementation", "broken"), ("outcome", "failed")] >= 1
    waiting = found["mailusers_outbox_deliveries"]
    assert waiting[("implementation", "broken"), ("state", "pending")] == 1
    assert found["mailusers_outbox_oldest_age_seconds"][(("implementation", "broken"),)] > 0
    assert found["mailusers_users"][(("status", "active"),)] == 2
    assert found["mailusers_up"][()] == 1
    assert found["mailusers_hash_pool"][("lane", "logins"), ("what", "limit")] > 0
    writes = [
        value
        for labels, value in found["mailusers_database_call_duration_seconds_count"].items()
        if ("kind", "write") in labels
    ]
    assert sum(writes) >= 2


async def test_no_address_is_in_the_counts(box: Box, admin: Client) -> None:
    """Nothing that a caller says becomes a part of a name, so that neither addresses nor their number leak."""
    for path in (f"/admin/users/import/{USER.replace('@', '-')}", "/admin/mail/users/quota"):
        await admin.get(path, email=USER)
        await admin.fetch("MADE-UP-BY-CALLER", path)
    text = (await admin.get(METRICS)).text
    assert "user" in text
    for hidden in ("@", "user-example", "MADE-UP"):
        assert hidden not in text
    assert 'method="other"' in text


def test_every_route_has_a_name_of_its_own(box: Box) -> None:
    """No two routes share a handler, for their counts would be one."""
    handlers = [
        handler
        for rule in box.app.default_router.rules[0].target.rules
        if issubclass(handler := rule.target, BaseHandler)
    ]
    assert len(handlers) > 30
    assert len(set(handlers)) == len(handlers)
    assert all(handler.route for handler in handlers)

"""The id of a request: in the answer, in the log, on error pages and in the events."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import uuid
from dataclasses import replace
from typing import Any

import pytest

from mailusers_plugin import events, hookimpl, panel
from mailusers_plugin.events import EVENT_TYPES, QuotaChanged
from mailusers_plugin.request_log import JSONFormatter, RequestFilter
from tests.support import CONSOLE, USER, Box, Boxes, Client

API = "/admin/mail/users"
ID = "X-Request-Id"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", API),
        ("GET", "/admin/users"),
        ("POST", f"{API}/quota"),
        ("PATCH", f"{API}/quota"),
        ("GET", f"{API}/quota"),
        ("POST", "/admin/login"),
        ("GET", "/admin/mailusers/login"),
    ],
)
async def test_every_answer_has_one(box: Box, admin: Client, method: str, path: str) -> None:
    """Every answer names its request, an error and a refusal too, and each another one."""
    found = {
        (await client.fetch(method, path)).headers[ID] for client in (admin, box.nobody) for _ in range(2)
    }
    assert len(found) == 4
    assert {uuid.UUID(each).version for each in found} == {7}


async def test_an_id_of_a_stranger_is_not_taken_over(box: Box, admin: Client) -> None:
    """Who is not a proxy of ours does not choose what stands in our log."""
    assert (await admin.sending(X_Request_Id="chosen").get(API)).headers[ID] != "chosen"


async def test_an_id_of_a_proxy_is_taken_over(boxes: Boxes) -> None:
    """Behind a proxy its id is the request's, so that its log and ours go together; one that is no id is not."""
    box = await boxes.open(trusted_proxies=("127.0.0.1",))
    assert (await box.api.sending(X_Request_Id="proxy-1").get(API)).headers[ID] == "proxy-1"
    for bad in ("a b", "x" * 200, "<script>", ""):
        assert uuid.UUID((await box.api.sending(X_Request_Id=bad).get(API)).headers[ID]).version == 7
    assert (await box.api.sending(X_Request_Id="proxy-2").post(f"{API}/quota")).headers[ID] == "proxy-2"


class Listener:
    """Keeps the events that it is told of."""

    def __init__(self) -> None:
        """Begin without any."""
        self.told: list[QuotaChanged] = []

    @hookimpl
    async def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Keep it."""
        self.told.append(event)


async def test_events_have_it(box: Box, user: str, admin: Client) -> None:
    """A change's event names the request, and none where it was none."""
    listener = Listener()
    box.handle.pm.register(listener)
    answer = await admin.sending(Prefer="wait=10").post(f"{API}/quota", email=user, quota="1G")
    await box.service.set_quota(CONSOLE, user, "2G")
    browser = await box.browser("boss@example.com")
    page = await browser.post("/admin/users/quota", email=user, quota="3G")
    await box.delivered()
    assert [event.request_id for event in listener.told] == [answer.headers[ID], None, page.headers[ID]]


def test_events_of_before() -> None:
    """An event that an older version has stored, without an id of a request, is read as ever."""
    for cls in EVENT_TYPES.values():
        old: dict[str, Any] = {
            "id": "0" * 32,
            "time": "2026-01-01T00:00:00+00:00",
            "actor": None,
            "via": "cli",
            "email": USER,
            "privileges": [],
            "quota": "0",
            "quota_bytes": 0,
            "restored": False,
            "mailbox": "",
            "old_quota": "0",
            "new_quota": "1G",
            "old_quota_bytes": 0,
            "new_quota_bytes": 2**30,
            "old_privileges": [],
            "new_privileges": [],
        }
        found: events.Event = cls.from_dict(old)
        assert found.request_id is None
        assert cls.from_dict(json.loads(json.dumps(found.as_dict()))) == found


class Lines(logging.Handler):
    """Keeps lines of JSON."""

    def __init__(self) -> None:
        """Set it up as ``mailusers serve`` does."""
        super().__init__()
        self.setFormatter(JSONFormatter())
        self.addFilter(RequestFilter())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Any:
    """What is logged."""
    handler = Lines()
    root = logging.getLogger()
    level, root_level = logging.getLogger("mailusers_plugin").level, root.level
    root.addHandler(handler)
    logging.getLogger("mailusers_plugin").setLevel(logging.INFO)
    yield handler.lines
    root.removeHandler(handler)
    logging.getLogger("mailusers_plugin").setLevel(level)
    root.setLevel(root_level)


async def test_every_line_of_a_request_has_it(
    box: Box, user: str, admin: Client, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged while requests are answered side by side, in threads too, bears the id of its own one."""
    box.app.settings["log_function"] = panel.log_request
    inside = logging.getLogger("mailusers_plugin.tested")

    async def fail(*_: Any) -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(inside.info, "in a thread")
        raise RuntimeError("something broke")

    monkeypatch.setattr(box.service, "set_quota", fail)
    failing = replace(admin, described=False)
    answers = await asyncio.gather(
        *(failing.post(f"{API}/quota", email=user, quota="1G", secret="to-be-hidden") for _ in range(5))
    )
    assert {answer.status for answer in answers} == {500}
    for answer in answers:
        of_it = [line for line in lines if line.get("request_id") == answer.headers[ID]]
        assert sorted(line["logger"] for line in of_it) == [
            "mailusers_plugin.access",
            "mailusers_plugin.http",
            "mailusers_plugin.tested",
        ]
    assert "to-be-hidden" not in json.dumps(lines)


async def test_what_an_access_line_says(box: Box, admin: Client, lines: list[dict[str, Any]]) -> None:
    """A request's line says who asked for what and how, what was answered and how long it took, without the query."""
    box.app.settings["log_function"] = panel.log_request
    answer = await admin.get(API, format="json", q="to-be-hidden")
    (line,) = [line for line in lines if line["logger"] == "mailusers_plugin.access"]
    assert line["duration_ms"] > 0
    assert {name: line[name] for name in ("request_id", "method", "path", "status", "user", "via", "ip")} == {
        "request_id": answer.headers[ID],
        "method": "GET",
        "path": API,
        "status": 200,
        "user": "boss@example.com",
        "via": "basic",
        "ip": "127.0.0.1",
    }
    assert "to-be-hidden" not in json.dumps(lines)


async def test_error_pages_name_it(
    box: Box, user: str, monkeypatch: pytest.MonkeyPatch, admin: Client
) -> None:
    """Who sees an error on the page is told by which number the administrator finds it in the log."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("something broke")

    monkeypatch.setattr(box.service, "set_quota", fail)
    browser = (await box.browser("boss@example.com")).sending(Accept="text/html")
    for client in (browser, browser.sending(HX_Request="true")):
        answer = await client.post("/admin/users/quota", email=user, quota="1G")
        assert answer.status == 500
        assert answer.headers[ID] in answer.text


@pytest.mark.parametrize(
    "path", [b"/admin/%0d%0aforged", b"/admin/\x1b[2J", b"/admin/\xe2\x80\xa8x", b"/admin/\xffx"]
)
async def test_hostile_paths(box: Box, lines: list[dict[str, Any]], path: bytes) -> None:
    """A path that a client made up is one harmless line, whatever bytes are in it."""
    box.app.settings["log_function"] = panel.log_request

    def send() -> None:
        port = int(box.base_url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while connection.recv(4096):
                pass

    await asyncio.to_thread(send)
    for line in lines:
        assert line["message"].isprintable()
        assert line.get("path", "").isprintable()

"""The stream of changes: what is sent, from where on, and when it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from tornado.web import Application

from mailusers_plugin.auth.authenticator import COOKIE
from mailusers_plugin.handlers.live import MAX_NAMED, Events
from mailusers_plugin.handlers.streams import Streams
from mailusers_plugin.models import Changed
from tests import openapi
from tests.client import APPLICATIONS
from tests.support import BOSS, CONSOLE, USER, XSRF, Box, Boxes, Client

PATH = "/admin/users/events"


@dataclass(frozen=True)
class Event:
    """One block of a stream."""

    fields: dict[str, str]
    comment: bool = False

    @property
    def name(self) -> str:
        """The event's type, empty for a block that has none."""
        return self.fields.get("event", "")

    @property
    def seq(self) -> int:
        """The event's id."""
        return int(self.fields["id"])

    @property
    def data(self) -> dict[str, list[str]]:
        """What it carries."""
        found: dict[str, list[str]] = json.loads(self.fields["data"])
        return found


class Reader:
    """Reads a stream as a script does, without a library's buffers between."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection on which the request was sent."""
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = ""
        self._text = ""

    async def begin(self) -> None:
        """Read the answer's head."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    async def next(self, *, comments: bool = False) -> Event | None:
        """Return the next block, ``None`` where the stream has ended."""
        while True:
            while "\n\n" not in self._text:
                size = int(await self.reader.readline(), 16)
                piece = await self.reader.readexactly(size + 2)
                if size == 0:
                    return None
                self._text += piece[:-2].decode()
            block, self._text = self._text.split("\n\n", 1)
            self.body += f"{block}\n\n"
            if not block.startswith(":"):
                return Event(dict(line.split(": ", 1) for line in block.split("\n")))
            if comments:
                return Event({}, comment=True)

    async def expect(self, name: str) -> Event:
        """Return the next block, which must be an event of some type."""
        found = await asyncio.wait_for(self.next(), 10)
        assert found is not None
        assert found.name == name
        return found


@asynccontextmanager
async def stream(client: Client, query: str = "", **headers: str) -> AsyncIterator[Reader]:
    """Open the stream and read its head."""
    address = urlsplit(client.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    sent = {"Host": address.netloc, **client.sending(**headers).headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    writer.write(f"GET {PATH}{query} HTTP/1.1\r\n{lines}\r\n".encode())
    found = Reader(reader, writer)
    try:
        await asyncio.wait_for(found.begin(), 10)
        yield found
        body = found.body.encode() or None
        app = APPLICATIONS[client.base_url]
        openapi.check_application(app, PATH, "GET", sent, found.status, found.headers.items(), body)
    finally:
        writer.close()


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let heartbeats come quickly."""
    monkeypatch.setattr(Events, "heartbeat_seconds", 0.05)


async def test_a_change_is_sent_with_its_number(box: Box, admin: Client) -> None:
    """A reader hears of a user who was added, and is told to begin again soon after an end."""
    async with stream(admin) as events:
        assert events.status == 200
        assert events.headers["content-type"] == "text/event-stream"
        assert events.headers["cache-control"] == "no-store"
        assert events.headers["x-accel-buffering"] == "no"
        begin = await events.expect("")
        assert 2000 <= int(begin.fields["retry"]) <= 5000
        await box.add(USER)
        event = await events.expect("changed")
        assert event.data == {"lines": [USER], "sizes": []}
        assert event.seq > begin.seq


async def test_many_changes_come_in_few_events(box: Box, admin: Client) -> None:
    """What changes within a moment comes together, and an address once."""
    emails = [f"user{number}@example.org" for number in range(10)]
    async with stream(admin) as events:
        await events.expect("")
        for email in emails:
            await box.add(email)
        await box.service.set_quota(CONSOLE, emails[0], "1G")
        seen: list[str] = []
        count = 0
        while set(seen) != set(emails) or seen.count(emails[0]) < 1:
            found = (await events.expect("changed")).data["lines"]
            assert len(found) == len(set(found))
            seen += found
            count += 1
        assert count < len(emails)


async def test_a_reader_goes_on_where_it_was(box: Box, admin: Client) -> None:
    """Nothing between two streams is lost, by header as browsers send it or by query; the header is the newer."""
    async with stream(admin) as events:
        first = (await events.expect("")).seq
    await box.add(USER)
    await box.add("second@example.com")
    newest = await box.runtime.directory.newest()
    for query, headers in (
        (f"?after={first}", {}),
        ("", {"Last-Event-ID": str(first)}),
        (f"?after={newest}", {"Last-Event-ID": str(first)}),
    ):
        async with stream(admin, query, **headers) as events:
            assert (await events.expect("")).seq == first
            event = await events.expect("changed")
            assert set(event.data["lines"]) == {USER, "second@example.com"}
            assert event.seq == newest


async def test_a_new_size_is_told_from_a_changed_line(box: Box, admin: Client, user: str) -> None:
    """Where nothing but the size is new, the event says so."""
    async with stream(admin) as events:
        await events.expect("")
        box.make_mailbox(user)
        (box.maildir(user) / "maildirsize").write_text("1048576S\n1024 3\n")
        await asyncio.to_thread(box.runtime.refresh_usage)
        assert (await events.expect("changed")).data == {"lines": [], "sizes": [user]}


async def test_too_much_to_name_is_one_event(box: Box, admin: Client) -> None:
    """A reader who missed a lot is told to read everything, and goes on from there."""
    for query in ("?after=999999", "?after=0"):
        if query == "?after=0":
            box.insert_users([f"{number}@example.org" for number in range(MAX_NAMED + 1)])
            await asyncio.to_thread(box.runtime.directory.compare_now)
        async with stream(admin, query) as events:
            await events.expect("")
            event = await events.expect("reload")
            assert event.seq == await box.runtime.directory.newest()
            await box.add(f"after{query[7:]}@example.com")
            assert (await events.expect("changed")).data["lines"] == [f"after{query[7:]}@example.com"]


async def test_a_number_must_be_one(admin: Client) -> None:
    """What is no event's id is refused, wherever it stands."""
    for query, headers in (("?after=x", {}), ("?after=-1", {}), ("", {"Last-Event-ID": "1e9"})):
        async with stream(admin, query, **headers) as events:
            assert events.status == 400


async def test_nobody_reads_without_permission(box: Box, admin: Client, user: str) -> None:
    """A script gets the challenge; a page's stream does not, since a browser would open a box over the page."""
    async with stream(box.nobody) as events:
        assert events.status == 401
        assert "www-authenticate" in events.headers
    async with stream(box.basic(user)) as events:
        assert events.status == 401
    for client in (box.nobody, await box.browser(user)):
        page = client.sending(Accept="text/event-stream")
        async with stream(page) as events:
            assert events.status == 403
            assert "www-authenticate" not in events.headers
        assert (await page.fetch("HEAD", PATH)).status == 403
    answer = await (await box.browser(BOSS)).fetch("HEAD", PATH)
    assert (answer.status, answer.type, answer.body) == (200, "text/event-stream", b"")


@pytest.mark.usefixtures("restless")
async def test_a_heartbeat_comes_when_nothing_happens(admin: Client) -> None:
    """Proxies and the server see that the connection lives."""
    async with stream(admin) as events:
        await events.expect("")
        for _ in range(3):
            found = await asyncio.wait_for(events.next(comments=True), 5)
            assert found is not None
            assert found.comment


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("how", ["logged out", "not an administrator"])
async def test_the_stream_ends_with_the_session(box: Box, admin: Client, how: str) -> None:
    """Whoever may not read any more is told so and hears no more."""
    await box.add("second@example.com", ("admin",))
    key = await box.session_key("second@example.com", COOKIE)
    async with stream(box.cookie(key, XSRF)) as events:
        await events.expect("")
        if how == "logged out":
            await box.runtime.authenticator().end_session(key)
        else:
            await box.service.remove_privileges(CONSOLE, "second@example.com", ("admin",))
        while (event := await asyncio.wait_for(events.next(), 10)) and event.name == "changed":
            pass
        assert event is not None
        assert event.name == "login"
        assert await asyncio.wait_for(events.next(), 10) is None


async def test_a_server_that_stops_does_not_wait_for_readers(box: Box, admin: Client) -> None:
    """Streams end at once, and nobody begins a new one."""
    async with stream(admin) as events:
        await events.expect("")
        began = time.monotonic()
        assert await box.handle.finish_requests(10)
        assert await asyncio.wait_for(events.next(), 10) is None
        assert time.monotonic() - began < 1
    async with stream(admin) as events:
        assert events.status == 503
        assert int(events.headers["retry-after"]) > 0


async def test_a_reader_who_goes_is_forgotten(box: Box, admin: Client) -> None:
    """Nothing is kept for a connection that was closed."""
    async with stream(admin) as events:
        await events.expect("")
    assert await box.handle.finish_requests(5)


async def test_a_reader_who_takes_nothing_is_cut_off(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server neither heaps up what a reader does not take nor waits for it for ever."""
    monkeypatch.setattr(Events, "patience_seconds", 0.3)
    monkeypatch.setattr(Events, "pause_seconds", 0)
    monkeypatch.setattr("mailusers_plugin.handlers.live.MAX_NAMED", 10**6)
    calls = 0

    async def endless(after: int, timeout_seconds: float) -> list[Changed]:
        nonlocal calls
        calls += 1
        return [Changed(after + number, f"{after}.{number}@example.com", "line") for number in range(1, 2000)]

    monkeypatch.setattr(box.handle._streams, "_read", endless)
    async with stream(admin) as events:
        events.writer.get_extra_info("socket").setsockopt(1, 8, 4096)
        async with asyncio.timeout(20):
            # Its request is answered when it has been cut off.
            assert await box.handle._requests.finished(20)
    assert 0 < calls < 1000


async def test_there_are_not_too_many_streams(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is asked to come back later; one that ends makes room."""
    monkeypatch.setattr(box.handle._streams, "_limit", 2)
    async with stream(admin) as first, stream(admin) as second:
        await first.expect("")
        await second.expect("")
        async with stream(admin) as third:
            assert third.status == 503
            assert int(third.headers["retry-after"]) > 0
    assert await box.handle._requests.finished(5)
    async with stream(admin) as again:
        assert again.status == 200


async def test_a_host_that_compresses_leaves_the_stream_alone(boxes: Boxes) -> None:
    """A compressed event would wait for the next ones."""
    app = Application(compress_response=True)
    handle = boxes.mount(app, storage_root=boxes.storage())
    box = Box(handle.runtime.settings.storage_root, app, handle, boxes.listen(app))
    await box.add(BOSS, ("admin",))
    compressed = box.basic(BOSS).sending(Accept_Encoding="gzip")
    assert (await compressed.get("/admin/users")).headers["X-Consumed-Content-Encoding"] == "gzip"
    async with stream(compressed) as events:
        assert "content-encoding" not in events.headers
        await events.expect("")


async def test_readers_who_know_the_same_ask_once() -> None:
    """A thousand open pages are one look into the database, also when some of them go meanwhile."""
    asked: list[int] = []
    news: asyncio.Future[list[Changed]] = asyncio.get_running_loop().create_future()

    async def read(after: int, timeout_seconds: float) -> list[Changed]:
        asked.append(after)
        return await news

    streams = Streams(read)
    with streams.open() as first, streams.open() as second, streams.open() as third:
        waits = [asyncio.create_task(one.changes(7, 10)) for one in (first, second, third)]
        await asyncio.sleep(0)
        first.end()
        assert await waits[0] == ()
        found = [Changed(8, USER, "line")]
        news.set_result(found)
        assert await waits[1] == found
        assert await waits[2] == found
        assert asked == [7]


async def test_readers_wake_nobody_else() -> None:
    """A reader whose time is over, as for a heartbeat, leaves the others and their look into the database alone."""
    asked: list[int] = []
    news: asyncio.Future[list[Changed]] = asyncio.get_running_loop().create_future()

    async def read(after: int, timeout_seconds: float) -> list[Changed]:
        asked.append(after)
        return await news

    streams = Streams(read)
    with streams.open() as short, streams.open() as long:
        first = asyncio.create_task(short.changes(7, 0.01))
        second = asyncio.create_task(long.changes(7, 10))
        assert await first == ()
        assert not second.done()
        news.set_result([Changed(8, USER, "line")])
        assert await second == [Changed(8, USER, "line")]
        assert asked == [7]


async def test_nobody_is_left_asking() -> None:
    """A look into the database that nobody waits for any more is given up."""
    given_up = asyncio.Event()

    async def read(after: int, timeout_seconds: float) -> list[Changed]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.set()
            raise
        return []

    streams = Streams(read)
    with streams.open() as one:
        assert await one.changes(7, 0.01) == ()
        await asyncio.wait_for(given_up.wait(), 5)

"""What one client, and all of them together, may take up of the panel's own server."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.testing import bind_unused_port

from mailusers_plugin.handlers.front import FrontServer
from tests.support import PASSWORD, USER, Box, Client, basic

KIB = 1024
MAX_BODY = 64 * KIB
ADD = "/admin/mail/users/add"


@asynccontextmanager
async def front(box: Box, **arguments: float) -> AsyncIterator[int]:
    """Let a box listen behind the server with bounds; give its port."""
    socket, port = bind_unused_port()
    server = FrontServer(box.app, max_body_bytes=lambda path: MAX_BODY, **arguments)
    server.add_sockets([socket])
    try:
        yield port
    finally:
        server.stop()
        await server.close_all_connections()


def head(box: Box, *more: str, method: str = "POST") -> bytes:
    """Return the head of a request of the box's own key."""
    lines = [f"{method} {ADD} HTTP/1.1", "Host: localhost", f"Authorization: {basic(box.api_key, '')}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server closes the connection."""
    with_reset = b""
    try:
        async with asyncio.timeout(20):
            while chunk := await reader.read(KIB):
                with_reset += chunk
    except ConnectionResetError:
        pass
    return with_reset


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
async def test_a_body_that_is_said_to_be_large(box: Box, admin: Client, expect: tuple[str, ...]) -> None:
    """A body of 1 GB is refused by its length, with words, before any of it was sent."""
    async with front(box) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(box, f"Content-Length: {1024**3}", *expect))
        found = await answer(reader)
        assert found.startswith(b"HTTP/1.1 413 ")
        assert f"at most {MAX_BODY} bytes".encode() in found
        assert b"100 (Continue)" not in found
        writer.close()


@pytest.mark.parametrize("chunk", [1024**3, 4 * KIB])
async def test_a_chunked_body_without_end(box: Box, admin: Client, chunk: int) -> None:
    """One that comes in pieces, small ones or one without end, is refused when it is too much, and dropped."""
    async with front(box) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(box, "Transfer-Encoding: chunked"))
        reading = asyncio.create_task(answer(reader))
        sent = 0
        if chunk > MAX_BODY:
            writer.write(f"{chunk:x}\r\n".encode())
        try:
            while not reading.done() and sent < 1024**3:
                piece = b"x" * 4 * KIB
                writer.write(piece if chunk > MAX_BODY else f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
                sent += len(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert (await reading).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_what_is_not_too_large(box: Box, admin: Client) -> None:
    """Bodies within the bounds are taken, chunked ones too, several on one connection."""
    async with front(box) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for email in (USER, "other@example.com"):
            body = json.dumps({"email": email, "password": PASSWORD}).encode()
            writer.write(head(box, "Content-Type: application/json", "Transfer-Encoding: chunked"))
            writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(len("mail user added\n")) == b"mail user added\n"
        writer.close()
    assert USER in await box.emails()


async def test_one_byte_at_a_time_of_the_head(box: Box) -> None:
    """A client that does not come to an end of the head in time is cut off, however busily it sends."""
    async with front(box, header_seconds=0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        await _trickle(reader, writer, b"GET / HTTP/1.1\r\nX: " + b"x" * 1000)
        assert 0.4 < time.monotonic() - began < 10


async def test_one_byte_at_a_time_of_the_body(box: Box, admin: Client) -> None:
    """Nor one that does not come to an end of the body; nothing is done then."""
    async with front(box, body_seconds=0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        form = f"email={USER}&password={PASSWORD.replace(' ', '+')}&quota=1G".encode()
        length = f"Content-Length: {len(form) + 1000}"
        writer.write(head(box, "Content-Type: application/x-www-form-urlencoded", length))
        await _trickle(reader, writer, form + b"x" * 1000)
    assert USER not in await box.emails()


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> None:
    ended = asyncio.create_task(answer(reader))
    for byte in content:
        if ended.done():
            break
        try:
            writer.write(bytes([byte]))
            await writer.drain()
        except (ConnectionResetError, BrokenPipeError):
            break
        await asyncio.sleep(0.02)
    assert await ended == b""
    writer.close()


async def test_many_that_send_nothing_keep_nobody_out(box: Box, admin: Client) -> None:
    """Where all places are taken by clients that send nothing, the one that has waited longest makes room."""
    async with front(box, connections=10) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for _, writer in idle:
            writer.write(b"GET / HTTP/1.1\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(box, "Content-Length: 0", "Connection: close"))
        assert (await answer(reader)).startswith(b"HTTP/1.1 400 ")
        assert await answer(idle[0][0]) == b""
        for _, one in idle:
            one.close()
        writer.close()


FORM = "application/x-www-form-urlencoded"
BOMBS = [
    (FORM, "&".join(f"p{number}=1" for number in range(5000))),
    (FORM, "&" * 60_000),
    ("application/json", "[" * 60_000),
    ("application/json", '{"email":' + "[" * 30_000 + "]" * 30_000 + "}"),
    ("application/json", "{" + ",".join(f'"p{number}":1' for number in range(5000)) + "}"),
    ("application/json", '{"quota":' + "9" * 60_000 + "}"),
    ("multipart/form-data; boundary=b", "--b\r\n" * 10_000 + "--b--"),
    (
        "multipart/form-data; boundary=b",
        '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 1100 + "--b--\r\n",
    ),
    ("multipart/form-data; boundary=b", "--b\r\n" + "A: b\r\n" * 10_000 + "\r\n\r\n1\r\n--b--\r\n"),
]


@pytest.mark.parametrize(("content_type", "body"), BOMBS)
async def test_what_would_keep_the_server_busy(box: Box, admin: Client, content_type: str, body: str) -> None:
    """Thousands of parameters, parts and levels are answered 400, soon, and change nothing."""
    async with front(box) as port:
        client = Client(f"http://127.0.0.1:{port}", box.api.headers)
        began = time.monotonic()
        found = await client.send(ADD, body, content_type)
        assert found.status == 400
        assert time.monotonic() - began < 5
    assert await box.emails() == ["boss@example.com"]


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
async def test_a_compressed_body(box: Box, admin: Client, content_type: str) -> None:
    """A body that says to be compressed is refused; nothing is made of it."""
    body = gzip.compress(b"x" * 40_000_000)
    assert len(body) < MAX_BODY
    async with front(box) as port:
        client = Client(f"http://127.0.0.1:{port}", box.api.headers).sending(Content_Encoding="gzip")
        assert (await client.send(ADD, body, content_type)).status == 400

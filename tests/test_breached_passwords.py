"""Asking whether a password is known from breaches: what leaves the machine, and what a service may do wrong."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from mailusers_plugin.breached_passwords import BreachedPasswords
from mailusers_plugin.errors import UnavailableError

PASSWORD = "correct horse battery"
DIGEST = hashlib.sha1(PASSWORD.encode()).hexdigest().upper()  # noqa: S324 (as the service wants it)
PADDING = "".join(f"{number:035X}:0\r\n" for number in range(800))

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RangeServer:
    """A small server on this machine that speaks HTTP; it remembers what it was sent."""

    url: str = ""
    heads: list[str] = field(default_factory=list)


def answer(body: str, status: str = "200 OK", headers: str = "") -> bytes:
    """Return an answer as it goes over the wire."""
    content = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{headers}\r\n".encode() + content


@asynccontextmanager
async def serving(
    *parts: bytes, pause_seconds: float = 0.0, hold: bool = False
) -> AsyncIterator[RangeServer]:
    """Answer each request with these parts; ``hold`` leaves the connection open behind them."""
    found = RangeServer()
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            found.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
            if hold:
                await over.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/range/"
    try:
        yield found
    finally:
        over.set()
        server.close()
        await server.wait_closed()


def known(count: int = 3861493, digest: str = DIGEST) -> str:
    """Return the body of an answer in which a password is known."""
    return f"{PADDING}{digest[5:]}:{count}\r\n{'F' * 35}:1"


async def test_what_is_asked() -> None:
    """Five digits of the hash leave the machine, and neither the rest nor the password; the answer is to be padded."""
    async with serving(answer(known())) as server:
        assert await BreachedPasswords(server.url, 5).knows(PASSWORD)
        assert not await BreachedPasswords(server.url, 5).knows("another password")
    first = server.heads[0]
    assert first.startswith(f"GET /range/{DIGEST[:5]} HTTP/1.1\r\n")
    assert "add-padding: true" in first.lower()
    assert DIGEST[5:] not in first.upper().replace(DIGEST[:5], "", 1)
    assert "correct" not in first
    assert len(server.heads) == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (known(), True),
        (known(1), True),
        (known().lower(), True),
        (known().replace("\r\n", "\n"), True),
        (PADDING, False),
        # Padding that happens to be what is looked for.
        (known(0), False),
        (known(digest="0" * 40), False),
    ],
)
async def test_what_is_known(body: str, expected: bool) -> None:
    """A password is known where its hash is in the answer with a count; what is only padding is not."""
    async with serving(answer(body)) as server:
        assert await BreachedPasswords(server.url, 5).knows(PASSWORD) is expected


@pytest.mark.parametrize("password", ["пароль с пробелами", "a" * 1024, "\ud800 lonely"])
async def test_any_password(password: str) -> None:
    """Every text that can be typed can be asked for."""
    async with serving(answer(PADDING)) as server:
        assert not await BreachedPasswords(server.url, 5).knows(password)


@pytest.mark.parametrize(
    "parts",
    [
        (answer("", "503 Service Unavailable"),),
        (answer("", "429 Too Many Requests", "Retry-After: 1\r\n"),),
        (answer(""),),
        (answer("<html>Log in to the network</html>"),),
        (answer(f"{DIGEST[5:]}:12345678901234567890"),),
        (answer("x" * 2_000_000),),
        (b"nonsense\r\n\r\n",),
        (answer(known())[:-500],),
        (b"",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b123456\xff",),
    ],
)
async def test_a_service_that_errs(parts: tuple[bytes, ...], caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes back that is no answer is said to be none, and the log has nothing of the password."""
    with caplog.at_level(logging.DEBUG):
        async with serving(*parts) as server:
            with pytest.raises(UnavailableError, match="cannot be asked at the moment"):
                await BreachedPasswords(server.url, 5).knows(PASSWORD)
    said = "".join(record.getMessage() for record in caplog.records if record.name == "mailusers_plugin")
    assert "could not be asked" in said
    assert DIGEST[:5] not in said
    assert PASSWORD not in caplog.text


async def test_nobody_else_is_asked() -> None:
    """A redirect is not followed, wherever it leads."""
    async with serving(answer(known())) as other:
        moved = answer("", "302 Found", f"Location: {other.url}{DIGEST[:5]}\r\n")
        async with serving(moved) as server:
            with pytest.raises(UnavailableError):
                await BreachedPasswords(server.url, 5).knows(PASSWORD)
    assert other.heads == []


@pytest.mark.parametrize("parts", [(), (b"HTTP/1.1 200 OK\r\n",), (answer(known())[:200],)])
async def test_a_service_that_hangs(parts: tuple[bytes, ...]) -> None:
    """One that does not answer, or not to the end, is given up after the time that is set, and the loop goes on."""
    async with serving(*parts, hold=True) as server:
        asking = asyncio.ensure_future(BreachedPasswords(server.url, 0.5).knows(PASSWORD))
        turns = 0
        async with asyncio.timeout(20):
            while not asking.done():
                await asyncio.sleep(0.01)
                turns += 1
        with pytest.raises(UnavailableError):
            asking.result()
    assert turns > 5


async def test_a_service_that_is_not_there() -> None:
    """Where nobody listens, that is said."""
    async with serving() as server:
        pass
    with pytest.raises(UnavailableError):
        await BreachedPasswords(server.url, 5).knows(PASSWORD)

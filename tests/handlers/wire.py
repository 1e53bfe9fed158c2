"""Requests as they go over the wire, many on one connection: what a client library would not send, and quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

from tests.support import Answer

_STREAM = "text/event-stream"


class Wire:
    """One connection, opened anew where the server has closed it."""

    def __init__(self, base_url: str) -> None:
        """Open nothing yet."""
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._close()

    async def send(self, verb: str, path: str, headers: Mapping[str, str], body: str = "") -> Answer:
        """Send a request with any verb; of a stream without an end only the beginning is read.

        :param body: a form
        """
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append("Content-Type: application/x-www-form-urlencoded")
        if body or verb in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        request = ("\r\n".join(lines) + "\r\n\r\n" + body).encode("ascii")
        async with asyncio.timeout(30):
            try:
                return await self._exchange(verb, request)
            except (ConnectionError, asyncio.IncompleteReadError):
                # The server has closed it after the answer before.
                await self._close()
                return await self._exchange(verb, request)

    async def _exchange(self, verb: str, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, _, rest = head.partition("\r\n")
        status, headers = int(first.split()[1]), HTTPHeaders.parse(rest)
        body = b""
        if verb != "HEAD" and status not in (204, 304):
            if headers.get("Content-Type", "") == _STREAM:
                await self._close()
                return Answer(status, headers, body)
            body = await self._body(reader, headers)
        if headers.get("Connection", "").lower() == "close":
            await self._close()
        return Answer(status, headers, body)

    async def _body(self, reader: asyncio.StreamReader, headers: HTTPHeaders) -> bytes:
        if headers.get("Transfer-Encoding", "") != "chunked":
            return await reader.readexactly(int(headers["Content-Length"]))
        found = b""
        while size := int(await reader.readline(), 16):
            found += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return found

    async def _close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()

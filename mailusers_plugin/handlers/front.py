"""The server of the panel that the plugin brings: bounds what one client, and all of them together, can take up.

Tornado reads a request without regard to how long that takes or how much is still to come; a host's own server should
have the same bounds, or a proxy in front of it that has them (``docs/host.md``).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.ioloop import IOLoop
from tornado.web import Application

_log = logging.getLogger("mailusers_plugin.http")

HEADER_SECONDS: Final = 60.0
"""How long a client may take for the head of a request, and so also how long a connection may be idle."""
BODY_SECONDS: Final = 60.0
"""How long it may take for the body."""
_MOST_CONNECTIONS: Final = 4000
_LINGER_SECONDS: Final = 2.0
"""So long what a client goes on to send is thrown away, that it may read the refusal. A connection that is closed with
something unread takes the answer along (RFC 9112, section 9.6)."""
_MOST_PARAMETERS: Final = 1000
"""In one form; as many as Tornado itself takes from 6.5.8 on. The page's own have some dozens, those for several users
some hundreds."""
_SEPARATORS: Final = {"application/x-www-form-urlencoded": b"&", "multipart/form-data": b"\r\n--"}
_UNKNOWN_LENGTH: Final = 2**62
_NO_DESCRIPTORS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_REST_SECONDS: Final = 0.2
"""How long nothing is accepted where the process may open no more files."""
_SAY_EVERY_SECONDS: Final = 60.0


def most_connections() -> int:
    """Return how many connections may be open: half of the files that the process may open are for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft // 2)


class _Listener(socket.socket):
    """Accepts nothing for a moment where the process may open no more files.

    The event loop would ask again at once, since there is somebody waiting, and do nothing else.
    """

    said_at: float = float("-inf")
    make_room: Callable[[], None]

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        :raises BlockingIOError: if there is none, or it must wait
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
        loop = IOLoop.current()
        loop.update_handler(self, 0)
        loop.call_later(_REST_SECONDS, self._go_on)
        self.make_room()
        if time.monotonic() - self.said_at > _SAY_EVERY_SECONDS:
            self.said_at = time.monotonic()
            _log.error("No connection can be accepted: the process has too many files open (ulimit -n).")
        raise BlockingIOError

    def _go_on(self) -> None:
        if self.fileno() >= 0:
            IOLoop.current().update_handler(self, IOLoop.READ)


class FrontServer(HTTPServer):
    """Tornado's server with bounds."""

    def initialize(  # type: ignore[override]
        self,
        app: Application,
        *,
        max_body_bytes: Callable[[str], int],
        header_seconds: float = HEADER_SECONDS,
        body_seconds: float = BODY_SECONDS,
        connections: int | None = None,
    ) -> None:
        """Take what it works with.

        :param max_body_bytes: takes a path and returns how large a body may be there
        :param header_seconds: how long a client may take for the head of a request
        :param body_seconds: how long it may take for the body
        :param connections: how many may be open at once; by default what the process's limit of open files allows
        """
        super().initialize(
            app,
            idle_connection_timeout=header_seconds,
            body_timeout=body_seconds,
        )
        self._max_body_bytes = max_body_bytes
        self._most = most_connections() if connections is None else connections
        self._open: set[object] = set()
        # Those that have not sent a whole request yet, first who has waited longest.
        self._waiting: dict[object, None] = {}

    def add_sockets(self, sockets: Any) -> None:
        """Begin to accept connections on sockets that listen; they are this server's from now on."""
        listeners = []
        for given in sockets:
            listener = _Listener(fileno=given.detach())
            listener.setblocking(False)
            listener.make_room = self._make_room
            listeners.append(listener)
        super().add_sockets(listeners)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Begin to read a request, which a client sends that has just come, or whose last one was answered."""
        if server_conn not in self._open:
            self._open.add(server_conn)
            if len(self._open) > self._most:
                self._make_room()
        self._waiting[server_conn] = None
        inner = super().start_request(server_conn, request_conn)
        return _Guard(inner, request_conn, self._max_body_bytes, lambda: self._waiting.pop(server_conn, None))

    def on_close(self, server_conn: object) -> None:
        """Forget a connection."""
        self._open.discard(server_conn)
        self._waiting.pop(server_conn, None)
        super().on_close(server_conn)

    def _make_room(self) -> None:
        """Close the connection whose request has been waited for longest; one that is being answered stays."""
        oldest: Any = next(iter(self._waiting), None)
        if oldest is not None:
            del self._waiting[oldest]
            oldest.stream.close()


class _Guard(HTTPMessageDelegate):
    """Hands a request on as it comes, and refuses it as soon as it is too large."""

    def __init__(
        self,
        inner: HTTPMessageDelegate,
        connection: Any,
        max_body_bytes: Callable[[str], int],
        arrived: Callable[[], object],
    ) -> None:
        self._inner = inner
        self._connection = connection
        self._max_body_bytes = max_body_bytes
        self._arrived = arrived
        self._limit = 0
        self._size = 0
        self._is_head = False
        self._separator = b""
        self._separators = 0
        self._begun = False
        self._refused = False
        self._ended = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        path = start_line.path.partition("?")[0] if isinstance(start_line, RequestStartLine) else ""
        self._limit = self._max_body_bytes(path)
        # What is too much is refused here, with words; Tornado would say 400.
        self._connection.set_max_body_size(_UNKNOWN_LENGTH)
        content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._separator = _SEPARATORS.get(content_type, b"")
        self._is_head = isinstance(start_line, RequestStartLine) and start_line.method == "HEAD"
        length = headers.get("Content-Length", "")
        # Several lengths, or nonsense, are Tornado's to refuse.
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > self._limit):
            self._refuse(at_once=headers.get("Expect", "").lower() == "100-continue")
            return None
        self._begun = True
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._refused:
            return None
        self._size += len(chunk)
        if self._separator:
            self._separators += chunk.count(self._separator)
        if self._size > self._limit:
            self._refuse()
            return None
        if self._separators > _MOST_PARAMETERS:
            self._refuse(f"At most {_MOST_PARAMETERS} parameters can be sent at once.")
            return None
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._arrived()
        if self._refused:
            self._end()
            self._forget()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        self._ended = True
        self._forget()

    def _forget(self) -> None:
        if self._begun:
            self._begun = False
            self._inner.on_connection_close()

    def _refuse(self, text: str = "", *, at_once: bool = False) -> None:
        self._refused = True
        body = (text or f"The request is too large: at most {self._limit} bytes can be sent here.").encode()
        status = HTTPStatus.BAD_REQUEST if text else HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        headers = HTTPHeaders(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(body)),
                "Connection": "close",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }
        )
        phrase = "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else status.phrase
        # It waits for a client that does not read, not we for it.
        written = self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", status, phrase), headers, b"" if self._is_head else body
        )
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        if at_once:
            self._end()
        else:
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._end)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._connection.finish()

"""The stream of changes for open pages and scripts: server-sent events, resumable by number.

The format is the one of https://html.spec.whatwg.org/multipage/server-sent-events.html; ``docs/live.md`` says which
events there are.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import orjson
from tornado.iostream import StreamClosedError

from mailusers_plugin.errors import (
    InvalidInputError,
    LoginRefusedError,
    MailUsersError,
    NotPermittedError,
)
from mailusers_plugin.handlers.base import BaseHandler, Dependencies, requires
from mailusers_plugin.handlers.streams import Stream
from mailusers_plugin.models import Changed
from mailusers_plugin.permissions import EVENTS
from mailusers_plugin.texts import N_

_log = logging.getLogger("mailusers_plugin.http")

MAX_NAMED: Final = 200
"""An event names so many addresses at the most; beyond that it says that everything is to be read anew."""
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_RETRY_MILLISECONDS: Final = (2000, 5000)
"""Between these a browser waits before it comes back, each another time, so that not all come at once."""


class Events(BaseHandler):
    """``GET /users/events``.

    :cvar heartbeat_seconds: how often something is sent and the reader's permission looked at
    :cvar pause_seconds: least time between two events, so that many changes come in few
    :cvar patience_seconds: how long a reader may take to take something
    """

    default_content_type = "text/event-stream"
    heartbeat_seconds: ClassVar[float] = 15.0
    pause_seconds: ClassVar[float] = 0.25
    patience_seconds: ClassVar[float] = 30.0
    _stream: Stream | None = None

    def initialize(self, dependencies: Dependencies) -> None:
        """Take what the route's table hands over, and see that a host does not compress this: it would wait."""
        super().initialize(dependencies)
        # Before Tornado asks its transforms, which look here.
        if "Accept-Encoding" in self.request.headers:
            del self.request.headers["Accept-Encoding"]

    @requires(EVENTS)
    async def get(self) -> None:
        """Send changes until one side has enough."""
        after = self._position()
        with self.dependencies.streams.open() as self._stream:
            if after is None:
                after = await self.dependencies.directory.newest()
            self._set_stream_headers()
            low, high = _RETRY_MILLISECONDS
            # No secret: it spreads who comes back.
            beginning = f"retry: {random.randint(low, high)}\nid: {after}\n\n"  # noqa: S311  # nosec B311
            try:
                if await self._send(beginning.encode("ascii")):
                    await self._follow(self._stream, after)
            except StreamClosedError:
                pass
            except MailUsersError as error:
                # The answer has begun; the reader comes back and then gets the error.
                _log.warning("A stream of changes ended: %s", error)

    @requires(EVENTS)
    async def head(self) -> None:
        """Tell a page whose stream was refused why, which its browser does not."""
        self._position()
        self._set_stream_headers()

    def on_connection_close(self) -> None:
        """Stop waiting for a reader who is gone."""
        if self._stream is not None:
            self._stream.end()

    def refuse(self, reason: str) -> None:
        """Answer a caller who is not known; a page's stream without the challenge that opens a browser's box."""
        if "Authorization" in self.request.headers or not self._asked_by_page():
            super().refuse(reason)
            return
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason + "\n")

    def _asked_by_page(self) -> bool:
        return "text/event-stream" in self.request.headers.get("Accept", "")

    def _position(self) -> int | None:
        """Return the number of the last change that the reader knows, ``None`` where it begins with the next."""
        text = self.request.headers.get("Last-Event-ID") or self.parameters.text("after")
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise InvalidInputError(N_("after and Last-Event-ID must be the id of an event."))
        return int(text)

    def _set_stream_headers(self) -> None:
        self.set_header("Content-Type", self.default_content_type)
        # nginx would keep events until it has some kilobytes of them.
        self.set_header("X-Accel-Buffering", "no")

    async def _follow(self, stream: Stream, after: int) -> None:
        checked = time.monotonic()
        while not stream.is_over:
            left = checked + self.heartbeat_seconds - time.monotonic()
            if left <= 0:
                if not await self._is_still_permitted():
                    await self._send(_event("login", {}))
                    return
                checked, left = time.monotonic(), self.heartbeat_seconds
                if not await self._send(b": still here\n\n"):
                    return
            found = await stream.changes(after, left)
            if stream.is_over or (found is not None and not found):
                continue
            after, event = await self._next(found, after)
            if not await self._send(event):
                return
            await stream.pause(self.pause_seconds)

    async def _next(self, found: Sequence[Changed] | None, after: int) -> tuple[int, bytes]:
        lines = dict.fromkeys(change.email for change in found or () if change.kind == "line")
        sizes = dict.fromkeys(change.email for change in found or () if change.email not in lines)
        if found is None or len(lines) + len(sizes) > MAX_NAMED:
            newest = await self.dependencies.directory.newest()
            return newest, _event("reload", {}, newest)
        seq = found[-1].seq
        return seq, _event("changed", {"lines": list(lines), "sizes": list(sizes)}, seq)

    async def _is_still_permitted(self) -> bool:
        try:
            await self.authorize(self.needed())
        except (LoginRefusedError, NotPermittedError):
            return False
        except MailUsersError as error:
            # It cannot be known now; next time it will.
            _log.warning("A stream's reader could not be looked up: %s", error)
        return True

    async def _send(self, content: bytes) -> bool:
        """Hand something to the reader and wait until it is on its way, so that nothing heaps up here.

        :returns: whether it went
        :raises tornado.iostream.StreamClosedError: if the reader is gone
        """
        # Only said for the type checker: who gets here has one.
        assert self._stream is not None  # noqa: S101  # nosec B101
        self.write(content)
        sent = asyncio.ensure_future(self.flush())
        sent.add_done_callback(lambda future: future.cancelled() or future.exception())
        if await self._stream.until(sent, self.patience_seconds):
            sent.result()
            return True
        if not self._stream.is_over:
            _log.info("A reader of changes took nothing for %g seconds", self.patience_seconds)
            connection: Any = self.request.connection
            connection.close()
        return False


def _event(name: str, data: dict[str, Any], seq: int | None = None) -> bytes:
    head = b"" if seq is None else b"id: %d\n" % seq
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode("ascii"), orjson.dumps(data))


ROUTES = [("/users/events", Events)]

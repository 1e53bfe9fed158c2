"""Sends what is too large to be held: part by part, as fast as it is taken, and no further than it is read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

from tornado.iostream import StreamClosedError

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.handlers.base import BaseHandler

_log = logging.getLogger("mailusers_plugin.http")


class Sending(BaseHandler):
    """For handlers that answer with many parts."""

    patience_seconds: ClassVar[float] = 120.0
    """Who takes nothing for so long is taken for gone; what was read for him is held no longer."""

    async def send(self, parts: AsyncIterator[bytes]) -> None:
        """Send an answer, and end it.

        Where it cannot be gone on with the connection is closed, so that half an answer does not look like a whole one.

        :param parts: is closed at once when the reader is gone
        """
        try:
            async with aclosing(parts):  # type: ignore[type-var]  # every one here is a generator
                async for part in parts:
                    self.write(part)
                    if not await self._taken():
                        return
        except StreamClosedError:
            # The reader is gone.
            return
        except Exception as error:
            if not self._headers_written:
                raise
            _log.warning("A list ended: %s", error, exc_info=not isinstance(error, MailUsersError))
            self._cut_off()
            return
        self.finish()

    async def _taken(self) -> bool:
        """Wait until the reader has taken what was written, so that nothing heaps up here."""
        flushed = asyncio.ensure_future(self.flush())
        done, _ = await asyncio.wait((flushed,), timeout=self.patience_seconds)
        if done:
            flushed.result()
            return True
        flushed.add_done_callback(lambda future: future.cancelled() or future.exception())
        _log.info("The reader of a list took nothing for %g seconds", self.patience_seconds)
        self._cut_off()
        return False

    def _cut_off(self) -> None:
        connection: Any = self.request.connection
        connection.close()

"""Which requests are being answered, so that a server can end without cutting one off."""

from __future__ import annotations

import asyncio


class Requests:
    """The requests of one application that have begun and have not ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._running: set[object] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, request: object) -> None:
        """Count a request."""
        self._running.add(request)
        self._idle.clear()

    def end(self, request: object) -> None:
        """Count it no more."""
        self._running.discard(request)
        if not self._running:
            self._idle.set()

    async def finished(self, timeout_seconds: float) -> bool:
        """Wait until none runs.

        :returns: whether it came to that in time
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

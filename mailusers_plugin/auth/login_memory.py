"""Remembers for a short time that a password was right, so that a script's hundred requests hash it once.

What is kept of a password is an HMAC under a key that this process made up and nobody else has, over the address, the
stored hash and the password. The stored hash is read for each request all the same: where somebody else changed it,
or the user is gone, what is remembered fits nothing any more. Only what was right is kept, one for each address, so
that guessing drives nobody out.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_MOST: Final = 10_000
"""Addresses that are remembered; some 2 MB."""


class LoginMemory:
    """What is known of passwords that were sent."""

    def __init__(self, seconds: float, *, most: int = _MOST) -> None:
        """Begin with nothing.

        :param seconds: how long a right password is remembered after it was hashed, ``0`` for not at all
        :param most: how many addresses are remembered; the oldest is forgotten first
        """
        self._seconds = seconds
        self._most = most
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[Any]] = {}

    def mark(self, email: str, stored: str, password: str) -> bytes:
        """Return what stands for a password that was sent for an address with a stored hash.

        :param stored: empty where there is no such account
        """
        text = f"{len(email)}:{email}{len(stored)}:{stored}{password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def knows(self, email: str, mark: bytes) -> bool:
        """Tell whether a password was found right a short time ago."""
        known = self._known.get(email)
        if known is None or known[1] <= time.monotonic():
            return False
        return hmac.compare_digest(known[0], mark)

    def remember(self, email: str, mark: bytes) -> None:
        """Remember that a password is right."""
        if self._seconds <= 0:
            return
        now = time.monotonic()
        self._known.pop(email, None)
        self._known[email] = mark, now + self._seconds
        # In the order in which they end, for all last equally long.
        while len(self._known) > self._most or next(iter(self._known.values()))[1] <= now:
            self._known.popitem(last=False)

    async def once(self, mark: bytes, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work for a password, or wait for somebody who does it already; what it raises all of them get.

        :param work: is carried out even if all who wait for it go away meanwhile
        """
        task = self._running.get(mark)
        if task is None:
            task = asyncio.ensure_future(work())
            self._running[mark] = task
            task.add_done_callback(lambda done: self._end(mark, done))
        result: T = await asyncio.shield(task)
        return result

    def _end(self, mark: bytes, task: asyncio.Task[Any]) -> None:
        del self._running[mark]
        if not task.cancelled():
            # Asked for here, so that nothing is logged where nobody waits for it any more.
            task.exception()

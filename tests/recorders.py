"""Implementations of the hooks for tests, and how far their deliveries have got."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mailusers_plugin import hookimpl
from mailusers_plugin.events import Event, QuotaChanged, UserAdded, UserArchived
from mailusers_plugin.store import deliveries
from tests.support import Box

SOON: dict[str, Any] = {"hook_backoff_seconds": 0.01, "hook_timeout_seconds": 5}


class Recorder:
    """Remembers the events that it is told of, and fails as often as it should."""

    def __init__(self, failures: int = 0, error: BaseException | None = None) -> None:
        self.events: list[Event] = []
        self._failures = failures
        self._error = error or RuntimeError("not yet")

    async def take(self, event: Event) -> None:
        """Remember an event."""
        self.events.append(event)
        if self._failures:
            self._failures -= 1
            raise self._error

    @property
    def types(self) -> list[str]:
        """The events' names."""
        return [event.type for event in self.events]

    @hookimpl
    async def mailusers_post_add(self, event: UserAdded) -> None:
        """Take it."""
        await self.take(event)

    @hookimpl
    async def mailusers_post_archive(self, event: UserArchived) -> None:
        """Take it."""
        await self.take(event)

    @hookimpl
    async def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Take it."""
        await self.take(event)


class Another(Recorder):
    """A second implementation, with deliveries of its own."""


class Plain:
    """A plain implementation, which runs in a thread."""

    def __init__(self, action: Callable[[], object] = lambda: None) -> None:
        self.threads: list[str] = []
        self._action = action

    @hookimpl
    def mailusers_post_add(self, event: UserAdded) -> None:
        """Remember the thread."""
        self.threads.append(threading.current_thread().name)
        self._action()


async def states(box: Box, name: str) -> list[tuple[str, int]]:
    """Return state and attempts of an implementation's deliveries, oldest first."""
    rows = await box.runtime.state.read(deliveries.listing, unfinished_only=False, limit=1000)
    return [
        (row["state"], row["attempts"]) for row in rows[::-1] if str(row["implementation"]).endswith(name)
    ]

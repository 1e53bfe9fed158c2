"""Tells whether this process can do its work, and if not, why.

Being alive and being ready are two things: a process whose database is away is alive, and starting it anew would help
nobody; but a proxy should ask another one meanwhile
(https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailusers_plugin.dispatch import Dispatcher
from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import backlog
from mailusers_plugin.store.database import Database

_log = logging.getLogger("mailusers_plugin")

_TIMEOUT_SECONDS: Final = 3.0
"""A prober waits for some seconds at the most; what takes longer is not ready."""
_LEAST_FREE_BYTES: Final = 64 * 2**20
"""Below this a change or a delivered message may not find room any more."""
_LATE_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    :ivar name: what it is
    :ivar reason: what is wrong and what to do, empty where nothing is
    :ivar essential: whether requests fail without it
    """

    name: str
    reason: str = ""
    essential: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    :ivar checks: everything that was looked at
    """

    checks: Sequence[Check]

    @property
    def ready(self) -> bool:
        """Tell whether requests can be answered."""
        return not any(check.reason and check.essential for check in self.checks)


class Health:
    """Looks at the parts that requests need."""

    def __init__(
        self, database: Database, state: Database, passwords: Passwords, dispatcher: Dispatcher, storage: Path
    ) -> None:
        """Take them.

        :param storage: folder of the box
        """
        self._databases = {"accounts": database, "state": state}
        self._passwords = passwords
        self._dispatcher = dispatcher
        self._storage = storage

    async def report(self) -> Report:
        """Look at everything, at once and for some seconds at the most."""
        found = await asyncio.gather(
            *(
                _within(f"{name} database", lambda database=database: _answers(database))  # type: ignore[misc]
                for name, database in self._databases.items()
            ),
            _within("disk", self._disk),
            _within("hooks", self._hooks, essential=False),
        )
        return Report([*found, self._hashing()])

    def _hashing(self) -> Check:
        try:
            self._passwords.check_room()
        except MailUsersError as error:
            return Check("password hashing", error.message)
        return Check("password hashing")

    async def _disk(self) -> str:
        usage = await asyncio.to_thread(shutil.disk_usage, self._storage)
        if usage.free >= _LEAST_FREE_BYTES:
            return ""
        return (
            f"Only {usage.free // 2**20} MB are free in {self._storage}. Make room, or no mail can be stored."
        )

    async def _hooks(self) -> str:
        if not self._dispatcher.running:
            return "Events are not being delivered: the panel has not been started, or is stopping."
        backlog = await self._dispatcher.backlog()
        late = [one for one in backlog if one.pending and one.oldest_seconds > _LATE_SECONDS]
        return " ".join(
            f"{one.implementation} has not been told {one.pending} events, the oldest from {one.oldest_seconds:.0f} "
            "seconds ago; see: mailusers events list."
            for one in late
        )


async def _answers(database: Database) -> str:
    await database.read(backlog.answer)
    return ""


async def _within(name: str, look: Callable[[], Awaitable[str]], *, essential: bool = True) -> Check:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reason = await look()
    except TimeoutError:
        reason = f"No answer within {_TIMEOUT_SECONDS:g} seconds."
    except MailUsersError as error:
        reason = error.message
    except OSError as error:
        reason = f"{error.strerror or error}."
    except Exception:
        # A prober wants to hear that something is wrong, not get an error of ours.
        _log.exception("Looking at the %s failed", name)
        reason = "Looking at it failed; the server's log says why."
    return Check(name, reason, essential)

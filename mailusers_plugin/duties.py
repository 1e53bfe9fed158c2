"""Work that one process does for all that share a box, such as reading the mailboxes' sizes.

It is kept by a lease, not by a lock of the database: a lock ends with its connection, which a proxy in front of the
database may share out. So two processes may be at it for a moment, and what is done so must do no harm then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from mailusers_plugin import owners
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store import duties
from mailusers_plugin.store.database import Database

USAGE: Final = "usage"
"""Reading the mailboxes' sizes, comparing the directory with everything, and the day's sample."""


class Duties:
    """The duties of one process."""

    def __init__(self, state: Database) -> None:
        """Begin without any.

        :param state: where it is kept who has which
        """
        self._state = state
        self._owner = owners.new_owner()

    def start(self) -> None:
        """Say that this process works."""
        owners.enlist(self._owner)

    async def take(self, name: str, lease_seconds: float) -> bool:
        """Take a duty, or keep it for longer.

        :param name: of the duty
        :param lease_seconds: how long it is kept, should this process say nothing more
        :returns: whether it is this process's now
        :raises UnavailableError: if the database is away
        """
        return await self._state.write(duties.take, name, self._owner, lease_seconds, owners.is_dead)

    async def stop(self) -> None:
        """Leave all to others, who need not wait for the end of a lease then."""
        with suppress(UnavailableError):
            await self._state.write(duties.give_up, self._owner)
        owners.retire(self._owner)

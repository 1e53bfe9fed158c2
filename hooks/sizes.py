"""Built in where Dovecot writes sizes into a database: lets it forget a mailbox that was deleted for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailusers_plugin.events import UserPurged
from mailusers_plugin.hooks import hookimpl


class SizeHooks:
    """Forgets sizes. As a hook, so that it comes to that after a crash as well."""

    def __init__(self, forget: Callable[[str], None]) -> None:
        """Take what forgets.

        :param forget: takes an address; blocks
        """
        self._forget = forget

    @hookimpl
    async def mailusers_post_purge(self, event: UserPurged) -> None:
        """Delete the row that Dovecot wrote, which would be taken for the size of a new mailbox of that name."""
        await asyncio.to_thread(self._forget, event.email)

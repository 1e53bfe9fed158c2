"""Built in: tells Dovecot of new users and quotas, and throws out those who must not be in any longer.

Also a worked example of an object with coroutine implementations and a dependency handed to it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from mailusers_plugin.errors import ConfigurationError, MailUsersError
from mailusers_plugin.events import PasswordChanged, QuotaChanged, UserAdded, UserArchived
from mailusers_plugin.hooks import hookimpl

_log = logging.getLogger("mailusers_plugin.hooks.dovecot")


class Dovecot(Protocol):
    """What is needed of the mail server; :class:`mailusers_plugin.mailserver.doveadm.Doveadm` has it."""

    @property
    def installed(self) -> bool:
        """Tell whether Dovecot can be asked at all."""
        ...

    def recalculate_quota(self, email: str) -> Awaitable[None]:
        """Make Dovecot count a mailbox again, and make it where it is new."""
        ...

    def end_sessions(self, email: str) -> Awaitable[None]:
        """Forget a cached log-in and end open sessions."""
        ...


class DovecotHooks:
    """Reacts to changes for one Dovecot. What cannot work on this box is said once and is not tried for ever."""

    def __init__(self, dovecot: Dovecot) -> None:
        """Take the server.

        :param dovecot: how it is reached
        """
        self._dovecot = dovecot
        self._said: set[str] = set()

    @hookimpl
    async def mailusers_post_add(self, event: UserAdded) -> None:
        """Make the maildir and its quota file, and let go of a log-in that was refused before."""
        await self._tell(self._dovecot.recalculate_quota, event.email)

    @hookimpl
    async def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Write the new limit into the quota file."""
        await self._tell(self._dovecot.recalculate_quota, event.email)

    @hookimpl
    async def mailusers_post_archive(self, event: UserArchived) -> None:
        """End the sessions of a user who has no account any longer."""
        await self._tell(self._dovecot.end_sessions, event.email)

    @hookimpl
    async def mailusers_password_change(self, event: PasswordChanged) -> None:
        """End the sessions that were opened with the old password."""
        await self._tell(self._dovecot.end_sessions, event.email)

    async def _tell(self, command: Callable[[str], Awaitable[None]], email: str) -> None:
        if not self._dovecot.installed:
            self._say("There is no doveadm here: quotas are not recalculated and sessions are not ended.")
            return
        try:
            await command(email)
        except MailUsersError as error:
            if error.code != ConfigurationError.code:
                raise
            self._say(error.message)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)

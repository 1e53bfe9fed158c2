"""Built in: keeps every change in the audit trail.

Also a worked example of plain implementations, which run in a thread and may block, and of one that is told of
the same event twice: it stores each event's id once.
"""

from __future__ import annotations

from collections.abc import Callable

from mailusers_plugin.events import (
    Event,
    PasswordChanged,
    PrivilegesChanged,
    QuotaChanged,
    UserAdded,
    UserArchived,
    UserPurged,
)
from mailusers_plugin.hooks import hookimpl


class AuditLogHooks:
    """Hands every event to a function that stores it."""

    def __init__(self, record: Callable[[Event], None]) -> None:
        """Take the function.

        :param record: stores an event unless one with its id is stored already
        """
        self._record = record

    @hookimpl
    def mailusers_post_add(self, event: UserAdded) -> None:
        """Store it."""
        self._record(event)

    @hookimpl
    def mailusers_post_archive(self, event: UserArchived) -> None:
        """Store it."""
        self._record(event)

    @hookimpl
    def mailusers_post_purge(self, event: UserPurged) -> None:
        """Store it."""
        self._record(event)

    @hookimpl
    def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Store it."""
        self._record(event)

    @hookimpl
    def mailusers_password_change(self, event: PasswordChanged) -> None:
        """Store it."""
        self._record(event)

    @hookimpl
    def mailusers_privileges_change(self, event: PrivilegesChanged) -> None:
        """Store it."""
        self._record(event)

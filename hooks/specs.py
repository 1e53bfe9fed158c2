"""The hooks that other modules may implement. ``docs/hooks.md`` says when each fires and what it may rely on.

An implementation is a plain function, which runs in a thread, or a coroutine function, which runs on the host's
event loop. It may leave out the argument. What it returns is not used; what it raises is logged, and the event
is delivered to it again later.
"""

from __future__ import annotations

from collections.abc import Awaitable

from mailusers_plugin.events import (
    PasswordChanged,
    PrivilegesChanged,
    QuotaChanged,
    UserAdded,
    UserArchived,
    UserPurged,
)
from mailusers_plugin.hooks import hookspec
from mailusers_plugin.models import AddRequest


@hookspec
def mailusers_validate_add(request: AddRequest) -> Awaitable[None] | None:
    """Refuse a new user, before anything is written, by raising :class:`mailusers_plugin.errors.VetoError`."""


@hookspec
def mailusers_post_add(event: UserAdded) -> Awaitable[None] | None:
    """A mail user was added or restored."""


@hookspec
def mailusers_post_archive(event: UserArchived) -> Awaitable[None] | None:
    """A mail user was removed; the mailbox is kept."""


@hookspec
def mailusers_post_purge(event: UserPurged) -> Awaitable[None] | None:
    """An archived mailbox was deleted for good."""


@hookspec
def mailusers_quota_change(event: QuotaChanged) -> Awaitable[None] | None:
    """A user's quota was changed."""


@hookspec
def mailusers_password_change(event: PasswordChanged) -> Awaitable[None] | None:
    """A user's password was set."""


@hookspec
def mailusers_privileges_change(event: PrivilegesChanged) -> Awaitable[None] | None:
    """A user's privileges were changed."""

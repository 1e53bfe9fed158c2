"""What happened, as told to the hooks: frozen, serialisable, and never with a secret inside.

Each event class names the hook that receives it (:attr:`Event.hook`). An event is stored as JSON in the outbox
in the same transaction as the change, so a class may gain fields with a default but may not lose or rename one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from mailusers_plugin.models import Actor


def _new_id() -> str:
    return uuid.uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all events have in common.

    :ivar id: unique; the same for every delivery of this event, so that an implementation can tell a repeat
    :ivar time: when the change was made (UTC)
    :ivar actor: who made it: an address or other name, ``None`` where the caller acts for nobody
    :ivar via: how that caller was authenticated: ``cookie``, ``basic``, ``token``, ``cli`` or ``setup``
    :ivar email: the address whose account changed
    """

    hook: ClassVar[str]

    id: str = field(default_factory=_new_id)
    time: datetime = field(default_factory=_now)
    actor: str | None
    via: str
    email: str

    @property
    def type(self) -> str:
        """The event's name in the outbox, on the command line and in the audit trail."""
        return type(self).__name__

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; times as ISO 8601 with their zone."""
        values = asdict(self)
        values["time"] = self.time.isoformat()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the event again from :meth:`as_dict`'s values.

        :param values: the stored fields; unknown ones, written by a newer version, are passed over
        :raises KeyError: if the time is missing
        :raises TypeError: if another field without a default is missing
        """
        names = {f.name for f in fields(cls)}
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names
        }
        known["time"] = datetime.fromisoformat(values["time"])
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class UserAdded(Event):
    """A mail user was added, or restored from the archive.

    :ivar privileges: what the new user may do
    :ivar quota: the quota text, ``"0"`` for unlimited
    :ivar quota_bytes: the same in bytes, ``0`` for unlimited
    :ivar restored: whether the address has its archived mailbox back
    """

    hook: ClassVar[str] = "mailusers_post_add"

    privileges: tuple[str, ...]
    quota: str
    quota_bytes: int
    restored: bool


@dataclass(frozen=True, kw_only=True)
class UserArchived(Event):
    """A mail user was removed; the mailbox is kept.

    :ivar privileges: what the user was allowed to do
    :ivar quota: the quota text at the time
    :ivar mailbox: the directory that holds the mail
    """

    hook: ClassVar[str] = "mailusers_post_archive"

    privileges: tuple[str, ...]
    quota: str
    mailbox: str


@dataclass(frozen=True, kw_only=True)
class UserPurged(Event):
    """An archived mailbox was deleted for good.

    :ivar mailbox: the directory that held the mail
    """

    hook: ClassVar[str] = "mailusers_post_purge"

    mailbox: str


@dataclass(frozen=True, kw_only=True)
class QuotaChanged(Event):
    """A user's quota was changed.

    :ivar old_quota: the text before
    :ivar new_quota: the text after
    :ivar old_quota_bytes: in bytes, ``0`` for unlimited, ``None`` where the old text was not a quota
    :ivar new_quota_bytes: in bytes, ``0`` for unlimited
    """

    hook: ClassVar[str] = "mailusers_quota_change"

    old_quota: str
    new_quota: str
    old_quota_bytes: int | None
    new_quota_bytes: int


@dataclass(frozen=True, kw_only=True)
class PasswordChanged(Event):
    """A user's password was set. The event holds neither the password nor its hash."""

    hook: ClassVar[str] = "mailusers_password_change"


@dataclass(frozen=True, kw_only=True)
class PrivilegesChanged(Event):
    """A user's privileges were changed.

    :ivar old_privileges: those before
    :ivar new_privileges: those after
    """

    hook: ClassVar[str] = "mailusers_privileges_change"

    old_privileges: tuple[str, ...]
    new_privileges: tuple[str, ...]


EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (UserAdded, UserArchived, UserPurged, QuotaChanged, PasswordChanged, PrivilegesChanged)
}
"""Every event class by its name in the outbox."""


def by(actor: Actor) -> dict[str, Any]:
    """Return the two fields that say who made a change.

    :param actor: the caller
    """
    return {"actor": actor.name, "via": actor.via}

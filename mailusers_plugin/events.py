"""What happened, as told to the hooks: frozen, serialisable, and never with a secret inside.

Each event class names the hook that receives it (:attr:`Event.hook`, empty for none). An event is stored as JSON in
the outbox in the same transaction as the change, so a class may gain fields with a default but may not lose or rename
one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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
    :ivar ip: the client's address, ``None`` where there is none, as on the command line
    :ivar email: the address whose account changed
    :ivar request_id: of the HTTP request that asked for it, as in its answer and in the log; ``None`` where it was none
    """

    hook: ClassVar[str]

    id: str = field(default_factory=_new_id)
    time: datetime = field(default_factory=_now)
    actor: str | None
    via: str
    ip: str | None = None
    email: str
    request_id: str | None = None

    @property
    def type(self) -> str:
        """The event's name in the outbox, on the command line and in the audit trail."""
        return type(self).__name__

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; times as ISO 8601 with their zone."""
        # Not by asdict(), which copies what cannot change: of many events that takes longer than to store them.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
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
    :ivar undone: whether that is because archiving was undone, so that password and second factors are the old ones
    """

    hook: ClassVar[str] = "mailusers_post_add"

    privileges: tuple[str, ...]
    quota: str
    quota_bytes: int
    restored: bool
    undone: bool = False


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
class PurgeBegun(Event):
    """Deleting an archived mailbox for good has begun. No hook is told: it is for the audit trail.

    From then on mail is lost, also where it is never brought to its end and :class:`UserPurged` never comes.

    :ivar mailbox: the directory that holds the mail
    """

    hook: ClassVar[str] = ""

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
    for cls in (
        UserAdded,
        UserArchived,
        PurgeBegun,
        UserPurged,
        QuotaChanged,
        PasswordChanged,
        PrivilegesChanged,
    )
}
"""Every event class by its name in the outbox."""


def by(actor: Actor, email: str | None = None) -> dict[str, Any]:
    """Return the fields that say who made a change, from where, and at whose request.

    :param actor: the caller
    :param email: the address that changes; with it the event gets the id by which a repeat of the request finds out
        that the change was made
    """
    terms = actor.terms
    found: dict[str, Any] = {
        "actor": actor.name,
        "via": actor.via,
        "ip": actor.ip,
        "request_id": terms.request_id,
    }
    if terms.claim is not None and email is not None:
        found["id"] = terms.claim.event_id(email)
    return found

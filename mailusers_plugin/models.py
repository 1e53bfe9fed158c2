"""The values that the layers hand to each other: frozen dataclasses without behaviour of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

ADMIN: Final = "admin"
"""The privilege that makes a mail user an administrator."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, as events and the audit trail keep it.

    :ivar name: the address or other name of the caller, ``None`` where the caller acts for nobody
        (the system API key)
    :ivar via: how the caller was authenticated: ``cookie``, ``basic``, ``token``, ``cli`` or ``setup``
    """

    name: str | None
    via: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request, as the host says.

    :ivar name: an address or other name, ``None`` where the caller acts for nobody (the system API key)
    :ivar via: ``cookie``, ``basic`` or ``token``; a request that came by cookie must prove that our page made it
    :ivar privileges: what the host knows of the caller; the default host wants ``admin`` in it
    """

    name: str | None
    via: str
    privileges: tuple[str, ...] = ()

    @property
    def actor(self) -> Actor:
        """The caller as events keep it."""
        return Actor(self.name, self.via)


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the users table, with all that the rules and the login need.

    :ivar email: the address
    :ivar password_hash: in Dovecot's notation, ``{SCHEME}hash``
    :ivar privileges: in the order in which they were given
    :ivar quota: as stored: ``"0"``, ``"500M"``, ``"5G"`` or bytes as digits
    """

    email: str
    password_hash: str
    privileges: tuple[str, ...]
    quota: str

    @property
    def is_admin(self) -> bool:
        """Tell whether the account has the ``admin`` privilege."""
        return ADMIN in self.privileges


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a mailbox is.

    :ivar box_bytes: the sum of the messages' sizes
    :ivar messages: how many messages there are
    :ivar limit_bytes: the quota that the mail server knows, ``0`` for none
    :ivar checked_at: when this was read (UTC)
    """

    box_bytes: int
    messages: int
    limit_bytes: int
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class User:
    """An active mail user as the list shows it.

    :ivar email: the address
    :ivar privileges: as stored
    :ivar quota: the quota text
    :ivar usage: ``None`` until known
    """

    email: str
    privileges: tuple[str, ...]
    quota: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class ArchivedUser:
    """An account that was removed while its mailbox was kept.

    :ivar email: the address
    :ivar mailbox: the directory that holds, or held, the mail
    :ivar quota: the last quota, ``None`` for a mailbox that was there before us
    :ivar archived_at: when (UTC), ``None`` for a mailbox that was there before us
    :ivar archived_by: by whom, ``None`` where nobody's name is known
    :ivar usage: ``None`` until known
    :ivar purging: whether a permanent deletion began and has not ended
    """

    email: str
    mailbox: str
    quota: str | None
    archived_at: datetime | None
    archived_by: str | None
    usage: Usage | None
    purging: bool = False


@dataclass(frozen=True, slots=True)
class AddRequest:
    """A user about to be added, as ``mailusers_validate_add`` sees it. There is no password in it.

    :ivar email: the address, already found valid
    :ivar privileges: those asked for
    :ivar quota: the quota text
    :ivar actor: who asks
    """

    email: str
    privileges: tuple[str, ...]
    quota: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class Change:
    """What a use case did.

    :ivar event_ids: the events that were written with it, empty where nothing had to change
    """

    event_ids: tuple[str, ...] = ()

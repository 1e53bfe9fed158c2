"""The values that the layers hand to each other: frozen dataclasses without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

ADMIN: Final = "admin"
"""The privilege that makes a mail user an administrator."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request with an ``Idempotency-Key``, once: see :mod:`mailusers_plugin.idempotency`.

    :ivar mark: of the caller and the key, by which the claim is stored
    :ivar owner: the process that carries it out
    :ivar token: what the ids of its events are made of, the same for every attempt
    :ivar resumed: whether there was an attempt before of which it is not known how far it came
    """

    mark: str
    owner: str
    token: str
    resumed: bool = False

    def event_id(self, email: str) -> str:
        """Return the id of the event of the change of one address: where there is such an event, it was made."""
        return blake2b(f"{self.token} {email}".encode(errors="surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms somebody wants a change to be made.

    :ivar request_id: of the request that asks for it, for its events
    :ivar claim: where it is to be carried out once, however often it is sent
    :ivar versions: it is made only if the account is at one of these: see :mod:`mailusers_plugin.user_versions`;
        ``None`` for whatever it is at
    """

    request_id: str | None = None
    claim: Claim | None = None
    versions: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, as events and the audit trail keep it.

    :ivar name: the address or other name of the caller, ``None`` where the caller acts for nobody
        (the system API key)
    :ivar via: how the caller was authenticated: ``cookie``, ``basic``, ``token``, ``cli`` or ``setup``
    :ivar administers: whether privileges, and accounts that have some, may be changed; not kept
    :ivar ip: the client's address, ``None`` where there is none, as on the command line; who calls from elsewhere
        is the same actor
    :ivar terms: on what terms; no part of who it is
    """

    name: str | None
    via: str
    administers: bool = field(default=True, compare=False)
    ip: str | None = field(default=None, compare=False)
    terms: Terms = field(default=Terms(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request, as the host says.

    :ivar name: an address or other name, ``None`` where the caller acts for nobody (the system API key)
    :ivar via: ``cookie``, ``basic`` or ``token``; a request that came by cookie must prove that our page made it
    :ivar privileges: what the host knows of the caller; the default host wants ``admin`` in it
    :ivar scopes: of the API token by which the caller is known, beyond which nothing is allowed; ``None`` where it was
        none of ours
    :ivar administers: see :class:`Actor`; a host leaves it alone, it is asked :meth:`mailusers_plugin.host.Host.may`
    :ivar ip: the client's address; the handlers set it, whatever a host says
    """

    name: str | None
    via: str
    privileges: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    administers: bool = True
    ip: str | None = field(default=None, compare=False)

    @property
    def actor(self) -> Actor:
        """The caller as events keep it."""
        return self.on_terms(Terms())

    def on_terms(self, terms: Terms) -> Actor:
        """Return the caller as events keep it, with what the request demands."""
        return Actor(self.name, self.via, self.administers, self.ip, terms)


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the users table, with all that the rules and the login need.

    :ivar email: the address
    :ivar password_hash: in Dovecot's notation, ``{SCHEME}hash``
    :ivar privileges: in the order in which they were given
    :ivar quota: as stored: ``"0"``, ``"500M"``, ``"5G"`` or bytes as digits
    :ivar factors_mark: changes with each second factor that comes or goes, empty where there is none; only known
        of an account that was looked up
    """

    email: str
    password_hash: str
    privileges: tuple[str, ...]
    quota: str
    factors_mark: str = ""

    @property
    def is_admin(self) -> bool:
        """Tell whether the account has the ``admin`` privilege."""
        return ADMIN in self.privileges


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor of a mail user, as Mail-in-a-Box stores it.

    :ivar type: ``totp``
    :ivar secret: in base32
    :ivar mru_token: the code that was used last, ``None`` where none was
    :ivar label: what the user calls it
    """

    id: int
    type: str
    secret: str = field(repr=False)
    mru_token: str | None = field(repr=False)
    label: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a mailbox is.

    :ivar box_bytes: the sum of the messages' sizes
    :ivar messages: how many messages there are
    :ivar limit_bytes: the quota that the mail server knows, ``0`` for none
    :ivar checked_at: when these figures were first read (UTC)
    """

    box_bytes: int
    messages: int
    limit_bytes: int
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Measured:
    """What a source says of one mailbox.

    :ivar mark: by which the source tells later that nothing has changed; ``None`` where it must look again
    """

    usage: Usage
    mark: int | None = None


class KnownSize(NamedTuple):
    """What is stored of one mailbox, as far as it takes to compare.

    :ivar mark: see :class:`Measured`
    """

    box_bytes: int
    messages: int
    limit_bytes: int
    mark: int | None

    def says(self, usage: Usage) -> bool:
        """Tell whether the figures are the same."""
        return (self.box_bytes, self.messages, self.limit_bytes) == (
            usage.box_bytes,
            usage.messages,
            usage.limit_bytes,
        )


@dataclass(frozen=True, slots=True)
class SizeBatch:
    """What a source found in some hundred mailboxes.

    :ivar found: by address; what has certainly not changed may be left out
    :ivar gone: addresses whose size is not known any more
    :ivar position: where the next pass goes on if this one ends here
    """

    found: Mapping[str, Measured]
    gone: Sequence[str]
    position: str


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
class Entry:
    """A line of the directory: a user, active or archived, with everything the list shows.

    :ivar email: the address
    :ivar active: ``False`` for an archived one
    :ivar privileges: as stored; those of an archived user are what it had
    :ivar quota: the quota text, ``None`` where it is not on record
    :ivar usage: ``None`` until known
    :ivar archived_at: when (UTC), ``None`` where that is not on record
    :ivar archived_by: by whom, ``None`` where nobody's name is known
    :ivar purging: whether a permanent deletion began and has not ended
    :ivar undo_until: until when archiving can be undone (UTC), ``None`` where it cannot
    """

    email: str
    active: bool
    privileges: tuple[str, ...]
    quota: str | None
    usage: Usage | None
    archived_at: datetime | None = None
    archived_by: str | None = None
    purging: bool = False
    undo_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which users are wanted; empty for all.

    :ivar query: part of an address, as people type it: case does not matter, an internationalised domain may be
        written as it is shown
    :ivar domain: one domain only, as stored (ASCII)
    :ivar status: ``active`` or ``inactive``, empty for both
    :ivar privilege: only who has it
    :ivar nearly_full: only mailboxes that are at least 80 % full
    """

    query: str = ""
    domain: str = ""
    status: str = ""
    privilege: str = ""
    nearly_full: bool = False


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some lines of the directory, in order.

    :ivar previous: cursor of the page before, ``None`` on the first
    :ivar next: cursor of the page behind, ``None`` on the last
    """

    entries: tuple[Entry, ...]
    previous: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class LinePage:
    """Some lines of the directory as the API sends them, in order.

    :ivar lines: domain and encoded user object of each
    :ivar next: cursor of the page behind, ``None`` on the last
    """

    lines: tuple[tuple[str, str], ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ListState:
    """Which state of the directory a list shows: as long as it is the same, so is every list.

    :ivar epoch: chosen at random by each server that starts
    :ivar newest: number of the newest change
    :ivar silent: goes up where something was stored that is no news, such as that a size was read again
    """

    epoch: str
    newest: int
    silent: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many users there are, of the box, a domain or a selection.

    :ivar active: active ones
    :ivar archived: archived ones
    :ivar box_bytes: the sum of the sizes that are known; 0 where a text was looked for
    """

    active: int
    archived: int
    box_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """How large the box was at the end of a day, or is today.

    :ivar day: in UTC
    :ivar active: active users
    :ivar archived: archived ones
    :ivar box_bytes: the sum of the sizes that were known
    :ivar measured: how many mailboxes' sizes were known
    """

    day: date
    active: int
    archived: int
    box_bytes: int
    measured: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A line of the directory that changed, for open pages.

    :ivar seq: number of the change, increasing
    :ivar email: whose line it is
    :ivar kind: ``size`` where nothing but the size is new, ``line`` for all else, also a line that came or went
    :ivar was: -1 where there was no line, 0 where it was an active user's, 1 where it was an archived one's
    :ivar became: the same of what it is now
    """

    seq: int
    email: str
    kind: str
    was: int = 0
    became: int = 0


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
    :ivar emails: whom they are about
    """

    event_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()

"""The lines of the list as people read them: what is known of a user, and why something is not. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mailusers_plugin import validation
from mailusers_plugin.models import ADMIN, Entry
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import display_domain, quota_bytes, split_address

WARNING_PERCENT: Final = 80
CRITICAL_PERCENT: Final = 95

NOT_MEASURED: Final = N_("not measured yet")
NOT_ON_RECORD: Final = N_("not on record")
NOT_VALID: Final = N_("not a valid quota")
QUOTA_UNKNOWN: Final = N_("the quota is not known")
OWN_ACCOUNT: Final = N_("You cannot archive your own account.")
OWN_ADMINISTRATOR: Final = N_("You cannot archive your own account or stop being an administrator.")
LAST_ADMINISTRATOR: Final = N_("The last administrator can neither be archived nor become a normal user.")

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota as people read it. Of the three, one says what there is to say.

    :ivar limit: in bytes, ``0`` for unlimited, ``None`` where it is not known
    :ivar text: as stored, where that is short; else empty
    :ivar why: why it is not known (a text to be translated), else empty
    """

    limit: int | None
    text: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fullness:
    """How full a mailbox is.

    :ivar percent: ``None`` where there is no limit or it is not known
    :ivar level: ``warning`` or ``critical``, else empty
    :ivar why: why it is not known (a text to be translated), else empty
    """

    percent: float | None = None
    level: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One user of the page.

    :ivar domain: as people write it
    :ivar size: of the mailbox in bytes, ``None`` where it is not known
    :ivar messages: how many there are in it
    :ivar measured_at: when that was so (UTC)
    :ivar raw_quota: for a form's field, empty where the quota is not on record
    :ivar is_own: whether it is the reader
    :ivar refusal: why archiving and taking the admin privilege away are not offered (a text to be translated), else
        empty
    :ivar others: privileges beside ``admin``
    :ivar archived_at: when (UTC), ``None`` where that is not on record
    :ivar archived_by: by whom, empty where that is not known
    :ivar mailbox: the directory of an archived user's mail
    :ivar purging: whether a permanent deletion began and has not ended
    :ivar can_undo: whether archiving can be undone
    """

    email: str
    domain: str
    archived: bool
    size: int | None
    messages: int
    measured_at: datetime | None
    used: Fullness
    quota: Quota
    raw_quota: str
    is_admin: bool = False
    is_own: bool = False
    refusal: str = ""
    others: tuple[str, ...] = ()
    archived_at: datetime | None = None
    archived_by: str = ""
    mailbox: str = ""
    purging: bool = False
    can_undo: bool = False

    @property
    def local_part(self) -> str:
        """What stands before the domain."""
        return split_address(self.email)[0]


def quota_of(quota: str | None) -> Quota:
    """Return a quota as people read it."""
    if quota is None:
        return Quota(None, why=NOT_ON_RECORD)
    limit = quota_bytes(quota)
    if limit is None:
        return Quota(None, quota, NOT_VALID)
    return Quota(limit, "" if _DIGITS.fullmatch(quota.strip()) else quota.strip())


def fullness(entry: Entry) -> Fullness:
    """Return how full a mailbox is."""
    limit = None if entry.quota is None else quota_bytes(entry.quota)
    if limit == 0:
        return Fullness()
    if limit is None:
        return Fullness(why=QUOTA_UNKNOWN)
    if entry.usage is None:
        return Fullness(why=NOT_MEASURED)
    percent = entry.usage.box_bytes / limit * 100
    level = "critical" if percent >= CRITICAL_PERCENT else "warning" if percent >= WARNING_PERCENT else ""
    return Fullness(percent, level)


def _measured_at(entry: Entry, sizes_read_at: datetime | None) -> datetime | None:
    """Return when the size was seen last: that it is still the same is not written down for each mailbox."""
    if entry.usage is None:
        return None
    first = entry.usage.checked_at
    return max(first, sizes_read_at) if entry.active and sizes_read_at is not None else first


def row_of(
    entry: Entry,
    *,
    reader: str | None = None,
    administrators: int = 0,
    mailbox: str = "",
    sizes_read_at: datetime | None = None,
    now: datetime,
) -> Row:
    """Return a line.

    :param reader: address of the one who looks at the page
    :param administrators: how many there are on the box
    :param mailbox: the directory of its mail
    :param sizes_read_at: when the last pass began that looked at every active user's mailbox
    :param now: with its zone
    """
    is_admin = entry.active and ADMIN in entry.privileges
    is_own = entry.active and entry.email == reader
    refusal = ""
    if is_own:
        refusal = OWN_ADMINISTRATOR if is_admin else OWN_ACCOUNT
    elif is_admin and administrators == 1:
        refusal = LAST_ADMINISTRATOR
    usage = entry.usage
    return Row(
        entry.email,
        display_domain(split_address(entry.email)[1]),
        not entry.active,
        size=usage.box_bytes if usage else None,
        messages=usage.messages if usage else 0,
        measured_at=_measured_at(entry, sizes_read_at),
        used=fullness(entry),
        quota=quota_of(entry.quota),
        raw_quota="" if entry.quota is None else validation.display_quota(entry.quota),
        is_admin=is_admin,
        is_own=is_own,
        refusal=refusal,
        others=tuple(p for p in entry.privileges if p != ADMIN) if entry.active else (),
        archived_at=entry.archived_at,
        archived_by=entry.archived_by or "",
        mailbox=mailbox,
        purging=entry.purging,
        can_undo=entry.undo_until is not None and entry.undo_until > now and not entry.purging,
    )

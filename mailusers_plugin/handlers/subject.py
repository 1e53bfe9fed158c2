"""The user that a form is about, as its page or dialog shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailusers_plugin.listing import Listing
from mailusers_plugin.models import ADMIN, ArchivedUser, Usage, User
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import quota_bytes

OWN_ACCOUNT = N_(
    "This is your own account. Somebody else has to do that, so that you cannot lock yourself out."
)
LAST_ADMINISTRATOR = N_(
    "This is the last administrator. Make somebody else an administrator first, so that there is always one."
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A user, active or archived.

    :ivar quota: the quota text, empty where it is not on record
    :ivar limit_bytes: the same in bytes, ``0`` for unlimited, ``None`` where it is not known
    :ivar usage: ``None`` until known
    :ivar mailbox: the directory of an archived user's mail
    :ivar refusal: in English, why the user is kept from what would lock somebody out; else empty
    """

    email: str
    quota: str
    limit_bytes: int | None
    usage: Usage | None
    is_admin: bool = False
    mailbox: str = ""
    archived_at: datetime | None = None
    archived_by: str = ""
    purging: bool = False
    refusal: str = ""


def of_user(user: User, reader: str | None, administrators: int) -> Subject:
    """Return an active user.

    :param reader: address of the one who looks
    :param administrators: how many there are on the box
    """
    is_admin = ADMIN in user.privileges
    refusal = ""
    if user.email == reader:
        refusal = OWN_ACCOUNT
    elif is_admin and administrators == 1:
        refusal = LAST_ADMINISTRATOR
    return Subject(
        user.email, user.quota, quota_bytes(user.quota), user.usage, is_admin=is_admin, refusal=refusal
    )


def of_archived(user: ArchivedUser) -> Subject:
    """Return an archived user."""
    return Subject(
        user.email,
        user.quota or "",
        None if user.quota is None else quota_bytes(user.quota),
        user.usage,
        mailbox=user.mailbox,
        archived_at=user.archived_at,
        archived_by=user.archived_by or "",
        purging=user.purging,
    )


async def archived(listing: Listing, email: str) -> Subject | None:
    """Return an archived user, ``None`` where the address is active or nothing of it is kept."""
    user = await listing.archived(email)
    return None if user is None else of_archived(user)

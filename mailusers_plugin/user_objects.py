"""The user objects of the API: what is said of an active and of an archived user, and in which words."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mailusers_plugin.models import ArchivedUser, Entry, Usage, User
from mailusers_plugin.user_versions import as_tag, of_active, of_archived
from mailusers_plugin.validation import display_percent, display_quota, display_size, quota_bytes

UNKNOWN: Final = "?"
FORM: Final = 2
"""Goes up when an object gets another form, so that encoded ones that are kept are made anew."""
_MAILBOX: Final = b'"mailbox":"'
"""Stands before the path in an encoded object and nowhere else: inside a text a quote has a backslash before it."""


def user_object(user: User) -> dict[str, Any]:
    """Return an active user as the contract shows it."""
    return {
        "email": user.email,
        "privileges": user.privileges,
        "status": "active",
        "quota": display_quota(user.quota),
        **_sizes(user.quota, user.usage),
        "etag": as_tag(of_active(user.email, user.privileges, user.quota)),
    }


def archived_object(user: ArchivedUser) -> dict[str, Any]:
    """Return an archived user as the contract shows it, and with what we know besides."""
    return {
        "email": user.email,
        "privileges": (),
        "status": "inactive",
        "mailbox": user.mailbox,
        "quota": UNKNOWN if user.quota is None else display_quota(user.quota),
        **_sizes(user.quota or UNKNOWN, user.usage),
        "archived_at": user.archived_at and user.archived_at.isoformat(),
        "archived_by": user.archived_by,
        "purging": user.purging,
        "etag": as_tag(of_archived(user.email, user.archived_at)),
    }


def entry_object(entry: Entry, mailbox: str) -> dict[str, Any]:
    """Return a line of the directory as the contract shows it.

    :param mailbox: the directory of its mail
    """
    if entry.active:
        return user_object(User(entry.email, entry.privileges, entry.quota or "0", entry.usage))
    return archived_object(
        ArchivedUser(
            entry.email,
            mailbox,
            entry.quota,
            entry.archived_at,
            entry.archived_by,
            entry.usage,
            entry.purging,
        )
    )


def percent(quota: str, usage: Usage | None) -> str:
    """Return how full a mailbox is: empty where it has no limit, ``?`` where that is not known."""
    limit = quota_bytes(quota)
    if limit == 0:
        return ""
    if limit is None or usage is None:
        return UNKNOWN
    return display_percent(usage.box_bytes, limit)


def _sizes(quota: str, usage: Usage | None) -> dict[str, Any]:
    limit = quota_bytes(quota)
    return {
        "box_quota": UNKNOWN if limit is None else limit,
        "box_size": UNKNOWN if usage is None else display_size(usage.box_bytes),
        "box_size_bytes": None if usage is None else usage.box_bytes,
        "percent": percent(quota, usage),
        "size_checked_at": None if usage is None else usage.checked_at.isoformat(timespec="seconds"),
    }


def encoded(entry: Entry) -> str:
    """Return a user object as JSON that can be kept, whatever place the mail store is moved to.

    The path of an archived user's mailbox is the one inside the mail store: :func:`placed` puts the store before it.
    """
    local_part, _, domain = entry.email.rpartition("@")
    return orjson.dumps(entry_object(entry, f"{domain}/{local_part}")).decode()


def placed(objects: bytes, mail_store: bytes) -> bytes:
    """Return encoded objects with the whole path of each archived user's mailbox.

    :param objects: any number of them, as :func:`encoded` makes them, with anything between
    :param mail_store: the folder of the domains, as :func:`place` returns it
    """
    return objects.replace(_MAILBOX, _MAILBOX + mail_store)


def place(mail_store: str) -> bytes:
    """Return the folder of the domains' folders in the form that :func:`placed` takes.

    :param mail_store: its path
    """
    return orjson.dumps(f"{mail_store}/")[1:-1]

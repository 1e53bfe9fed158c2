"""At which version a user is: what somebody has seen of it, so that nobody overwrites what he has not.

A version has a part for each thing that can be changed, so that it can be said what has changed. It is made of the
values, not counted, since other programs change users too. A password is a part only where somebody is about to set
one: else a new hash of the same password, which a log-in may store, would look like a change of the quota.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from mailusers_plugin.models import Account

ANY: Final = "*"
STATUS: Final = "status"
QUOTA: Final = "quota"
PRIVILEGES: Final = "privileges"
PASSWORD: Final = "password"
_PARTS: Final = (STATUS, QUOTA, PRIVILEGES, PASSWORD)
_BYTES: Final = 6


def of_active(email: str, privileges: Iterable[str], quota: str, password_hash: str | None = None) -> str:
    """Return the version of an active user.

    :param password_hash: ``None`` where nothing depends on the password
    """
    listed = "\n".join(privileges)
    version = f"{_part(STATUS, f'active {email}')}-{_common(QUOTA, quota)}-{_common(PRIVILEGES, listed)}"
    return version if password_hash is None else f"{version}-{_part(PASSWORD, password_hash)}"


def of_account(account: Account, *, with_password: bool = False) -> str:
    """Return the version of an account.

    :param with_password: whether something depends on the password
    """
    secret = account.password_hash if with_password else None
    return of_active(account.email, account.privileges, account.quota, secret)


def of_archived(email: str, archived_at: datetime | None) -> str:
    """Return the version of an archived user.

    :param archived_at: ``None`` where that is not known
    """
    when = "" if archived_at is None else archived_at.isoformat()
    return _part(STATUS, f"archived {when} {email}")


def differences(now: str, seen: str) -> frozenset[str]:
    """Return the names of the parts that differ; of what is no version of ours that is the status.

    :param now: the version at which a user is, with the password
    :param seen: the one that somebody has seen
    """
    current, parts = now.split("-"), seen.split("-")
    # The password may be left out.
    if len(parts) != len(current) and (len(current), len(parts)) != (len(_PARTS), len(_PARTS) - 1):
        return frozenset((STATUS,))
    return frozenset(name for name, a, b in zip(_PARTS, current, parts, strict=False) if a != b)


def _part(name: str, value: str) -> str:
    return blake2b(f"{name} {value}".encode(errors="surrogatepass"), digest_size=_BYTES).hexdigest()


# Many users have the same ones, and a list has many users.
_common = lru_cache(maxsize=1024)(_part)


def as_tag(version: str) -> str:
    """Return a version as ``ETag`` and ``If-Match`` have it: a strong tag."""
    return f'"{version}"'

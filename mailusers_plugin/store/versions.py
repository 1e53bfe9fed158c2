"""Makes sure that a user is at a version that somebody has seen: see :mod:`mailusers_plugin.user_versions`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from mailusers_plugin.errors import ChangedError
from mailusers_plugin.models import Account
from mailusers_plugin.store import accounts
from mailusers_plugin.texts import N_
from mailusers_plugin.user_versions import (
    ANY,
    PRIVILEGES,
    QUOTA,
    STATUS,
    differences,
    of_account,
    of_archived,
)
from mailusers_plugin.validation import display_quota

_NOW_ARCHIVED: Final = N_(
    "Somebody has archived this user meanwhile, or changed the archived one. Nothing was done: load the user again."
)
_NOW_ACTIVE: Final = N_(
    "This user is not what you have seen: it is active now, with the quota %(quota)s. Nothing was done: load the "
    "user again."
)
_QUOTA_NOW: Final = N_(
    "Somebody has changed this user meanwhile: the quota is %(quota)s now. Nothing was done: load the user again."
)
_PRIVILEGES_NOW: Final = N_(
    "Somebody has changed this user meanwhile: the privileges are %(privileges)s now. Nothing was done: load the "
    "user again."
)
_NO_PRIVILEGES_NOW: Final = N_(
    "Somebody has changed this user meanwhile: there are no privileges now. Nothing was done: load the user again."
)
_BOTH_NOW: Final = N_(
    "Somebody has changed this user meanwhile: the quota is %(quota)s and the privileges are %(privileges)s now. "
    "Nothing was done: load the user again."
)
_PASSWORD_NOW: Final = N_(
    "Somebody has set another password for this user meanwhile. Nothing was done: load the user again."
)
_NONE_OF_THEM: Final = N_(
    "The user is at none of the versions that were sent: the quota is %(quota)s and the privileges are %(privileges)s "
    "now. Nothing was done: load the user again."
)
_UNKNOWN: Final = N_("There is nothing here that could match. Nothing was done.")


def check(connection: Connection, email: str, wanted: Iterable[str], *, lock: bool = True) -> None:
    """Make sure, in the transaction of a change, that a user is at one of some versions, and stays so until it ends.

    :param wanted: of :mod:`mailusers_plugin.user_versions`, or :data:`ANY`
    :param lock: keep it so until the transaction ends
    :raises ChangedError: saying what has changed, where there is one version only
    """
    wanted = tuple(wanted)
    account = accounts.find(connection, email)
    if lock:
        if account is not None and account.privileges:
            # They are locked first everywhere, so that two changes do not wait for each other.
            accounts.administrators(connection, lock=True)
        account = accounts.find(connection, email, lock=True)
    record = None if account is not None else accounts.archive_record(connection, email, lock=lock)
    if ANY in wanted:
        if account is None and record is None:
            raise ChangedError(_UNKNOWN)
        return
    if account is None:
        now = of_archived(email, None if record is None else record.archived_at)
    else:
        now = of_account(account, with_password=True)
    found = [differences(now, version) for version in wanted]
    if frozenset() in found:
        return
    raise _explained(found[0] if len(found) == 1 else frozenset(), account)


def _explained(what: frozenset[str], account: Account | None) -> ChangedError:
    if account is None:
        return ChangedError(_NOW_ARCHIVED, what)
    values = {
        "quota": display_quota(account.quota),
        "privileges": ", ".join(account.privileges) or "-",
    }
    if STATUS in what:
        return ChangedError(_NOW_ACTIVE, what, quota=values["quota"])
    if not what:
        return ChangedError(_NONE_OF_THEM, what, **values)
    if {QUOTA, PRIVILEGES} <= what:
        return ChangedError(_BOTH_NOW, what, **values)
    if QUOTA in what:
        return ChangedError(_QUOTA_NOW, what, quota=values["quota"])
    if PRIVILEGES in what:
        if not account.privileges:
            return ChangedError(_NO_PRIVILEGES_NOW, what)
        return ChangedError(_PRIVILEGES_NOW, what, privileges=values["privileges"])
    return ChangedError(_PASSWORD_NOW, what)

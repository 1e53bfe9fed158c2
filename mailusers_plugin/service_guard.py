"""What only those may do who administrate: give and take privileges, and take over accounts that have some.

Who may not do that (an API token without the scope ``admin``, staff of a host without that permission) could otherwise
come to it in a roundabout way: by the password of an administrator, or by an account that was one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from mailusers_plugin.errors import AdministrationError
from mailusers_plugin.import_models import Fault, Row
from mailusers_plugin.models import Actor
from mailusers_plugin.texts import N_

GIVING: Final = N_("You may not give or take privileges. An API token needs the scope admin for that.")
CHANGING: Final = N_(
    "You may not do this to an account that has privileges. An API token needs the scope admin for that."
)
RESTORING: Final = N_(
    "You may not restore an account that had privileges. An API token needs the scope admin for that."
)


def check_giving(actor: Actor, privileges: Collection[str]) -> None:
    """Check that somebody may give or take privileges.

    :param privileges: which ones; anybody may give none
    :raises AdministrationError: if not
    """
    if privileges and not actor.administers:
        raise AdministrationError(GIVING)


def check_changing(actor: Actor, privileges: Collection[str]) -> None:
    """Check that somebody may take over or archive an account.

    :param privileges: what the account has
    :raises AdministrationError: if not
    """
    if privileges and not actor.administers:
        raise AdministrationError(CHANGING)


def check_restoring(actor: Actor, privileges: Collection[str]) -> None:
    """Check that somebody may have an archived account back, or its mailbox.

    :param privileges: what the account had
    :raises AdministrationError: if not
    """
    if privileges and not actor.administers:
        raise AdministrationError(RESTORING)


def with_faults(rows: Iterable[Row], privileged: Collection[str]) -> list[Row]:
    """Return the lines of a file as somebody may import them who does not administrate.

    :param privileged: addresses of archived accounts that had privileges
    """
    return [replace(row, faults=(*row.faults, *_faults(row, privileged))) for row in rows]


def _faults(row: Row, privileged: Collection[str]) -> list[Fault]:
    found = []
    if row.email in privileged:
        found.append(Fault.of("email", AdministrationError(RESTORING)))
    if row.privileges:
        found.append(Fault.of("privilege", AdministrationError(GIVING)))
    return found

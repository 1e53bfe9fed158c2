"""The terms on which a change is made, checked in its transaction; :mod:`mailusers_plugin.service` calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mailusers_plugin.models import Account, Actor, Change
from mailusers_plugin.store import accounts, idempotency, versions
from mailusers_plugin.store.database import Connection


def carry_out(
    connection: Connection,
    function: Callable[..., Change],
    actor: Actor,
    subject: Account | str,
    *args: Any,
    **kwargs: Any,
) -> Change:
    """Make a change if its terms are kept.

    :param function: makes it; takes the connection, the actor, the subject and the rest
    :param subject: the account to be made, or the address of the one that changes
    :raises ChangedError: if the user is not at a version that the caller has seen
    :raises KeyBusyError: if another process has taken the request over
    """
    check(connection, actor, subject.email if isinstance(subject, Account) else subject)
    return function(connection, actor, subject, *args, **kwargs)


def check(connection: Connection, actor: Actor, email: str) -> None:
    """Check the terms of a change; parameters and errors as of :func:`carry_out`."""
    if actor.terms.claim is not None:
        idempotency.hold(connection, actor.terms.claim)
    if actor.terms.versions is not None:
        versions.check(connection, email, actor.terms.versions)


def foresee(connection: Connection, actor: Actor, email: str) -> Account:
    """Look whether a change could be made, before it is prepared with much work.

    :returns: the account as it is now; what holds is asked again in the transaction
    :raises ChangedError: as :func:`check`
    :raises UnknownUserError: if there is no such user
    """
    if actor.terms.versions is not None:
        versions.check(connection, email, actor.terms.versions, lock=False)
    return accounts.get(connection, email)


def seen(actor: Actor) -> Actor:
    """Return the actor of the further steps of a change whose first one has checked the version."""
    return replace(actor, terms=replace(actor.terms, versions=None))

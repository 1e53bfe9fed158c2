"""Who may what: the permissions, the scopes of API tokens, and which permission each route and verb needs.

:data:`TABLE` is what is enforced: a handler that answers a verb which is not in here, or says something else of one,
keeps the plugin from being mounted (:mod:`mailusers_plugin.handlers.routes`). ``docs/permissions.md`` is made from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

PUBLIC: Final = "public"
"""Not a permission: anybody may, and no host is asked."""

READ: Final = "users:read"
WRITE: Final = "users:write"
QUOTA: Final = "quota:write"
PURGE: Final = "users:purge"
EVENTS: Final = "events:read"
AUDIT: Final = "audit:read"
TOKENS: Final = "tokens"
SESSIONS: Final = "sessions"
SECOND_FACTOR: Final = "second-factor"
ADMINISTER: Final = "admin"

PERMISSIONS: Final[Mapping[str, str]] = {
    READ: "See the page, the lists, the statistics and the exports",
    WRITE: "Add, archive, restore and import users, set passwords",
    QUOTA: "Set quotas",
    PURGE: "Delete archived mailboxes for good",
    EVENTS: "Hear of changes as they happen",
    ADMINISTER: "Give and take privileges; set the password of somebody who has some, archive and restore such a user",
    AUDIT: "Read the audit trail, with log-ins and the addresses that they came from",
    TOKENS: "See, create and revoke API tokens",
    SESSIONS: "See and end sessions",
    SECOND_FACTOR: "See and change second factors",
}
"""Everything that :meth:`mailusers_plugin.host.Host.may` can be asked for, and what it allows."""

_IMPLIED: Final[Mapping[str, str]] = {QUOTA: WRITE, EVENTS: READ}
"""Whoever has the permission on the right need not have the one on the left, which is a part of it."""

SCOPES: Final[Mapping[str, Collection[str]]] = {
    READ: (READ, EVENTS),
    WRITE: (WRITE, QUOTA),
    QUOTA: (QUOTA,),
    EVENTS: (EVENTS,),
    ADMINISTER: (READ, WRITE, QUOTA, PURGE, EVENTS, ADMINISTER, AUDIT, SESSIONS),
}
"""The scopes of API tokens and the permissions in each. :data:`TOKENS` is in none: no token makes or shows another. Nor
is :data:`SECOND_FACTOR`: how somebody logs in is no matter of a program's."""


def _shown(permission: str) -> Mapping[str, str]:
    return {"GET": permission, "HEAD": permission}


def _form(permission: str) -> Mapping[str, str]:
    return {"GET": permission, "HEAD": permission, "POST": permission}


def _done(permission: str) -> Mapping[str, str]:
    return {"POST": permission}


TABLE: Final[Mapping[str, Mapping[str, str]]] = {
    # The API.
    "/mail/users": _shown(READ),
    "/mail/users/add": _done(WRITE),
    "/mail/users/remove": _done(WRITE),
    "/mail/users/purge": _done(PURGE),
    "/mail/users/password": _done(WRITE),
    "/mail/users/privileges": _shown(READ),
    "/mail/users/privileges/add": _done(ADMINISTER),
    "/mail/users/privileges/remove": _done(ADMINISTER),
    "/mail/users/quota": {"GET": READ, "HEAD": READ, "POST": QUOTA},
    "/mail/users/openapi.json": _shown(READ),
    "/mail/users/sessions": {"GET": SESSIONS},
    "/mail/users/sessions/end": _done(SESSIONS),
    "/mail/users/audit": _shown(AUDIT),
    "/mail/users/health": _shown(PUBLIC),
    "/mail/users/health/live": _shown(PUBLIC),
    "/mail/users/metrics": _shown(READ),
    "/mfa/status": _done(SECOND_FACTOR),
    "/mfa/totp/enable": _done(SECOND_FACTOR),
    "/mfa/disable": _done(SECOND_FACTOR),
    "/login": _done(PUBLIC),
    "/logout": _done(PUBLIC),
    # The pages.
    "/users": _shown(READ),
    "/users/domains": _shown(READ),
    "/users/statistics": _shown(READ),
    "/users/export": _shown(READ),
    "/users/events": _shown(EVENTS),
    "/users/check": _done(WRITE),
    "/users/add": _form(WRITE),
    "/users/restore": _form(WRITE),
    "/users/quota": _form(QUOTA),
    "/users/password": _form(WRITE),
    "/users/make-admin": _form(ADMINISTER),
    "/users/remove-admin": _form(ADMINISTER),
    "/users/archive": _form(WRITE),
    "/users/undo": _form(WRITE),
    "/users/purge": _form(PURGE),
    "/users/bulk/quota": _form(QUOTA),
    "/users/bulk/archive": _form(WRITE),
    "/users/import": _form(WRITE),
    "/users/import/example.csv": _shown(WRITE),
    "/users/import/{id}": _form(WRITE),
    "/users/import/{id}/result.csv": _shown(WRITE),
    "/mailusers/tokens": _form(TOKENS),
    "/mailusers/tokens/revoke": _form(TOKENS),
    "/mailusers/audit": _shown(AUDIT),
    "/mailusers/audit/export": _shown(AUDIT),
    "/mailusers/sessions": _form(SESSIONS),
    "/mailusers/second-factor": _form(SECOND_FACTOR),
    "/mailusers/second-factor/remove": _done(SECOND_FACTOR),
    "/mailusers/second-factor/codes": _done(SECOND_FACTOR),
    "/mailusers/language": _done(PUBLIC),
    "/mailusers/login": _form(PUBLIC),
    "/mailusers/logout": _done(PUBLIC),
    "/mailusers/setup": _form(PUBLIC),
    "/mailusers/static/{version}/{file}": _shown(PUBLIC),
}
"""By route, behind the prefix, and verb. Every verb that is not in here is answered with 405, whoever sends it."""


def enough(permission: str) -> tuple[str, ...]:
    """Return the permissions each of which is enough where one is needed, that one first."""
    more = _IMPLIED.get(permission)
    return (permission,) if more is None else (permission, more)


def in_scopes(permission: str, scopes: Collection[str]) -> bool:
    """Tell whether an API token with some scopes may do what needs a permission."""
    return any(permission in SCOPES.get(scope, ()) for scope in scopes)

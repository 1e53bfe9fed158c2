"""The table of all routes: exact patterns and no catch-all, so that everything else falls through to the host."""

from __future__ import annotations

import re
from typing import Any, Final

from tornado.web import RequestHandler

from mailusers_plugin.handlers import (
    actions,
    add_page,
    api,
    audit,
    bulk,
    checks,
    export,
    health,
    imports,
    language,
    live,
    mfa_api,
    openapi,
    second_factor,
    session,
    sessions,
    statistics,
    tokens,
    users_page,
)
from mailusers_plugin.handlers.base import BaseHandler, Dependencies
from mailusers_plugin.handlers.static import StaticFiles
from mailusers_plugin.permissions import PUBLIC, TABLE

Route = tuple[str, type[Any], dict[str, Any]]

_PARTS: Final = {
    "id": "([0-9A-Za-z-]{1,64})",
    "version": "([0-9a-f]{16})",
    "file": "([A-Za-z0-9_./-]+)",
}
"""What stands in a path where the table has a name in braces."""
_NAME: Final = re.compile(r"\{([a-z]+)\}", re.ASCII)


def routes(dependencies: Dependencies, login: session.LoginDependencies | None) -> list[Route]:
    """Return the routes of one application.

    :param login: ``None`` where the host logs people in itself
    :raises RuntimeError: if a handler and the table in permissions.py do not say the same
    """
    prefix = re.escape(dependencies.settings.prefix)
    given: dict[str, Any] = {"dependencies": dependencies}
    tables = (
        api.ROUTES,
        audit.ROUTES,
        users_page.ROUTES,
        add_page.ROUTES,
        actions.ROUTES,
        bulk.ROUTES,
        checks.ROUTES,
        export.ROUTES,
        health.ROUTES,
        imports.ROUTES,
        language.ROUTES,
        live.ROUTES,
        imports.PATTERNS,
        openapi.ROUTES,
        statistics.ROUTES,
        tokens.ROUTES,
    )
    found: list[Route] = [_route(prefix, path, handler, given) for table in tables for path, handler in table]
    found.append(
        _route(prefix, "/mailusers/static/{version}/{file}", StaticFiles, {"settings": dependencies.settings})
    )
    if login is not None:
        given = {**given, "login": login}
        found += [
            _route(prefix, path, handler, given)
            for path, handler in (
                *session.API_ROUTES,
                *session.PAGE_ROUTES,
                *mfa_api.ROUTES,
                *second_factor.ROUTES,
                *sessions.ROUTES,
            )
        ]
    return found


def _route(prefix: str, path: str, handler: type[RequestHandler], given: dict[str, Any]) -> Route:
    permit(path, handler)
    if issubclass(handler, BaseHandler):
        handler.route = path
    pieces = _NAME.split(path)
    # Every second one is a name.
    pattern = "".join(
        _PARTS[piece] if number % 2 else re.escape(piece) for number, piece in enumerate(pieces)
    )
    return f"{prefix}{pattern}$", handler, given


def permit(path: str, handler: type[RequestHandler]) -> None:
    """Let a handler answer the verbs that the table has for its route, and see that it answers just those.

    :param path: as in the table
    :raises RuntimeError: if the route is not in the table, or the handler says something else
    """
    line = TABLE.get(path)
    if line is None:
        raise RuntimeError(f"{path} is not in the table in permissions.py. Say there who may call it.")
    if not issubclass(handler, BaseHandler):
        if set(line.values()) != {PUBLIC}:
            raise RuntimeError(f"{path} needs a permission, which {handler.__name__} does not ask for.")
        return
    answered = handler.allowed_verbs()
    if set(answered) != set(line):
        raise RuntimeError(f"{path} answers {answered}, but the table in permissions.py has {list(line)}.")
    for verb, permission in line.items():
        said = getattr(handler, verb.lower()).mailusers_permission
        if said != permission and (said or permission == PUBLIC):
            raise RuntimeError(
                f"{handler.__name__} wants {said or 'a permission'!r} for {verb} {path}, the table {permission!r}."
            )
    if handler.__dict__.get("permissions", line) is not line:
        raise RuntimeError(
            f"{handler.__name__} serves {path} and another route. Give each a class of its own."
        )
    handler.permissions = line

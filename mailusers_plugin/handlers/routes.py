"""The table of all routes: exact patterns and no catch-all, so that everything else falls through to the host."""

from __future__ import annotations

import re
from typing import Any

from mailusers_plugin.handlers import api, pages, session
from mailusers_plugin.handlers.base import BaseHandler, Dependencies
from mailusers_plugin.handlers.static import StaticFiles

Route = tuple[str, type[Any], dict[str, Any]]


def routes(dependencies: Dependencies, login: session.LoginDependencies | None) -> list[Route]:
    """Return the routes of one application.

    :param login: ``None`` where the host logs people in itself
    """
    prefix = re.escape(dependencies.settings.prefix)
    given: dict[str, Any] = {"dependencies": dependencies}
    found: list[Route] = [_route(prefix, path, handler, given) for path, handler in api.ROUTES + pages.ROUTES]
    found.append((f"{prefix}/mailusers/static/([A-Za-z0-9_.-]+)$", StaticFiles, {}))
    if login is not None:
        given = {**given, "login": login}
        found += [
            _route(prefix, path, handler, given)
            for path, handler in (*session.API_ROUTES, *session.PAGE_ROUTES)
        ]
    return found


def _route(prefix: str, path: str, handler: type[BaseHandler], given: dict[str, Any]) -> Route:
    return f"{prefix}{re.escape(path)}$", handler, given

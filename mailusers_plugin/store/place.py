"""Reads a database URL: where it leads, and what may be shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, SQLITE, DatabasePlace
from mailusers_plugin.errors import ConfigurationError

_ENGINES: Final = {"sqlite": SQLITE, "postgresql": POSTGRESQL, "mysql": MARIADB, "mariadb": MARIADB}
_PORTS: Final = {POSTGRESQL: 5432, MARIADB: 3306}
_PASSWORDS: Final = ("password", "passwd")
"""Parameters of a URL that are a password: psycopg's and PyMySQL's."""
_SOCKETS: Final = ("host", "unix_socket")
"""Parameters of a URL that name a socket: psycopg's and PyMySQL's."""


def read_url(url: str) -> URL:
    """Return a URL in its parts.

    :raises ConfigurationError: if it is none, or not of an engine that we know; without the URL, which may hold a
        password
    """
    try:
        found = make_url(url)
    except ArgumentError:
        found = None
    if found is None or found.get_backend_name() not in _ENGINES:
        raise ConfigurationError(
            "That is no database URL that is possible here. Use sqlite:///PATH, postgresql+psycopg://… or "
            "mariadb+pymysql://…"
        )
    return found


def find_place(url: str) -> DatabasePlace:
    """Return where a URL leads.

    :raises ConfigurationError: as :func:`read_url`, or if it names no database
    """
    parts = read_url(url)
    engine = _ENGINES[parts.get_backend_name()]
    if engine == SQLITE:
        return DatabasePlace(engine, file=Path(parts.database or ""))
    if not parts.database:
        raise ConfigurationError("The database URL names no database: put its name behind the last slash.")
    socket = next((str(parts.query[name]) for name in _SOCKETS if name in parts.query), "")
    return DatabasePlace(
        engine,
        host=parts.host or socket or "localhost",
        port=parts.port or _PORTS[engine],
        name=parts.database,
    )


def without_password(url: str) -> str:
    """Return a URL as it may be shown.

    :raises ConfigurationError: as :func:`read_url`
    """
    return read_url(url).difference_update_query(_PASSWORDS).render_as_string(hide_password=True)


def has_password(url: str) -> bool:
    """Tell whether a URL has a password, in either of the places where one may stand.

    :raises ConfigurationError: as :func:`read_url`
    """
    found = read_url(url)
    return found.password is not None or not found.query.keys().isdisjoint(_PASSWORDS)

"""Reads the whole directory in the order of the list, some hundred lines at a time, inside one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
from sqlalchemy import Connection, select

from mailusers_plugin.models import ListState
from mailusers_plugin.store import schema
from mailusers_plugin.store.directory import ORDERS
from mailusers_plugin.store.positions import behind, plain_rows

_line = schema.directory.c
_feed = schema.feed.c
_ORDER: Final = ORDERS["email"]
Position = tuple[str, int, str]
"""Domain, whether archived, and address of the last line that was read."""
START: Final[Position] = ("", -1, "")


def state(connection: Connection) -> ListState | None:
    """Return which state of the directory is read, ``None`` where it is not whole yet."""
    query = select(_feed.epoch, _feed.newest, _feed.silent, _feed.built_at.is_not(None))
    *values, built = connection.execute(query).one()
    return ListState(*values) if built else None


def lines(connection: Connection, after: Position, limit: int) -> Sequence[tuple[str, str]]:
    """Return domain and encoded user object of the next lines; fewer than the limit at the end."""
    query = select(_line.domain, _line.line).order_by(*_ORDER).limit(limit)
    return plain_rows(connection, query.where(behind(connection, _ORDER, after, downward=False)))


def addresses(connection: Connection, after: tuple[str, str], limit: int) -> Sequence[tuple[str, str]]:
    """Return domain and address of the next active users; fewer than the limit at the end."""
    order = (_line.domain, _line.email)
    query = select(*order).where(_line.archived == 0).order_by(*order).limit(limit)
    return plain_rows(connection, query.where(behind(connection, order, after, downward=False)))


def position(row: tuple[str, str]) -> Position:
    """Return where a line of :func:`lines` stands."""
    user = orjson.loads(row[1])
    return row[0], int(user["status"] != "active"), user["email"]

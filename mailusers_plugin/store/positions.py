"""Finds what stands behind a position in an order, by an index and never by counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, tuple_


def behind(
    connection: Connection, order: tuple[Any, ...], position: tuple[Any, ...], *, downward: bool
) -> ColumnElement[bool]:
    """Return what is true of lines behind a position.

    :param downward: whether the order is turned round
    """
    if connection.dialect.name not in ("mysql", "mariadb"):
        return tuple_(*order) < position if downward else tuple_(*order) > position
    # MariaDB finds no place in an index by a comparison of rows: it is spelt out, with a bound that it can use.
    column, value = order[0], position[0]
    beyond = column < value if downward else column > value
    if len(order) == 1:
        return beyond  # type: ignore[no-any-return]
    bound = column <= value if downward else column >= value
    rest = behind(connection, order[1:], position[1:], downward=downward)
    return and_(bound, or_(beyond, and_(column == value, rest)))


def plain_rows(connection: Connection, query: Select[Any]) -> Sequence[tuple[Any, ...]]:
    """Return a query's rows as the driver gives them, where nothing of them is to be translated.

    Of a million rows SQLAlchemy's own objects take longer than the reading.
    """
    result = connection.execute(query)
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    return rows

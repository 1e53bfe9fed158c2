"""Queries of the directory: a page of it, by position and never by offset; counts; single lines.

Each function takes a connection to the state database inside a transaction.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Select,
    cast,
    false,
    func,
    select,
)

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.models import ADMIN, Counts, Entry, EntryPage, LinePage, Selection, Usage
from mailusers_plugin.store import directory_search, directory_tally, schema
from mailusers_plugin.store.positions import behind
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import parse_privileges

_line = schema.directory.c
ORDERS: Final[Mapping[str, tuple[Any, ...]]] = {
    "email": (_line.domain, _line.archived, _line.email),
    "size": (_line.box_bytes, _line.email),
    "used": (_line.percent, _line.email),
    "quota": (_line.limit_bytes, _line.email),
}
"""What each order compares; the last column makes it total."""
_BATCH: Final = 500
_COLUMNS: Final = (
    _line.email,
    _line.archived,
    _line.privileges,
    _line.quota,
    _line.box_bytes,
    _line.messages,
    _line.checked_at,
    _line.archived_at,
    _line.archived_by,
    _line.purging,
    _line.undo_until,
)
Conditions = list[ColumnElement[bool]]
FEW: Final = 1500
"""Up to so many lines are all read and then sorted; where more match, they are met on the way through the order's
index. Of a million, 50 of 1500 are met among some 33 000, which takes 5 ms; to read and sort 1500 takes as long."""
FEW_BY_TEXT: Final = 800
"""The same for those that have a text in them, which also takes the reading of the texts' index."""
_NUL: Final = "\0"
"""Stands in no text that PostgreSQL can hold; it takes none that is asked for either."""
_CURSOR: Final = N_("This place in the list is not known. Begin at the first page.")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a selection is in the tables.

    :ivar conditions: all of them
    :ivar few: whether at most :data:`FEW` lines match
    """

    conditions: Conditions
    few: bool


def page(connection: Connection, selection: Selection, sort: str, cursor: str, limit: int) -> EntryPage:
    """Return a page; parameters as in :meth:`mailusers_plugin.directory.Directory.page`.

    :raises InvalidInputError: if the order or the cursor is not possible
    """
    rows, previous, following = _page(connection, selection, sort, cursor, limit, _COLUMNS)
    return EntryPage(tuple(entry(row) for row in rows), previous, following)


def page_of_lines(
    connection: Connection, selection: Selection, sort: str, cursor: str, limit: int
) -> LinePage:
    """Return a page of encoded user objects; parameters as in :func:`page`.

    :raises InvalidInputError: if the order or the cursor is not possible
    """
    rows, _, following = _page(connection, selection, sort, cursor, limit, (_line.email, _line.line))
    return LinePage(tuple((row.domain, row.line) for row in rows), following)


def page_and_count(
    connection: Connection, selection: Selection, sort: str, cursor: str, limit: int
) -> tuple[EntryPage, Counts]:
    """Return a page, and how many lines there are on all of them; parameters as in :func:`page`.

    :raises InvalidInputError: if the order or the cursor is not possible
    """
    return page(connection, selection, sort, cursor, limit), count(connection, selection)


def _page(
    connection: Connection, selection: Selection, sort: str, cursor: str, limit: int, columns: Sequence[Any]
) -> tuple[list[Row[Any]], str | None, str | None]:
    """Return a page's rows, and the cursors of the page before and the one behind."""
    order, descending = _order(sort)
    found = _find(connection, selection, order)
    backward, position = _read_cursor(cursor, order) if cursor else (False, None)
    rows = _rows(connection, found, order, descending, position, limit + 1, columns, backward=backward)
    more = len(rows) > limit
    rows = rows[:limit]
    if backward:
        rows.reverse()
    first, last = (backward and not more) or position is None, not more and not backward
    return (
        rows,
        None if first or not rows else _cursor(rows[0], order, backward=True),
        None if last or not rows else _cursor(rows[-1], order, backward=False),
    )


def everything(
    connection: Connection, selection: Selection, sort: str, position: tuple[Any, ...] | None, limit: int
) -> tuple[list[Entry], tuple[Any, ...] | None]:
    """Return the lines behind a position, and the position of the last of them, ``None`` at the end.

    :raises InvalidInputError: if the order is not possible
    """
    order, descending = _order(sort)
    found = _find(connection, selection, order)
    rows = _rows(connection, found, order, descending, position, limit, _COLUMNS, backward=False)
    end = _position(rows[-1], order) if len(rows) == limit else None
    return [entry(row) for row in rows], end


def count(connection: Connection, selection: Selection) -> Counts:
    """Return how many lines a selection has.

    Without a text to look for that is kept, and one row is read; with one, what matches is counted.
    """
    if _is_impossible(selection):
        return Counts(0, 0, 0)
    if not selection.query:
        return directory_tally.of(connection, selection)
    return count_and_state(connection, selection)[1]


def count_and_state(connection: Connection, selection: Selection) -> tuple[int, Counts]:
    """Count what matches a text; return the number of the newest change that is counted, and how many there are."""
    return directory_search.count(connection, _find(connection, selection, ()).conditions)


def domains(connection: Connection, query: str, limit: int) -> list[tuple[str, Counts]]:
    """Return domains, those with most users first."""
    return [] if _NUL in query else directory_tally.domains(connection, query, limit)


def domain_counts(connection: Connection, names: Collection[str]) -> dict[str, Counts]:
    """Return how many users some domains have."""
    return directory_tally.of_domains(connection, names)


def entries(connection: Connection, emails: Collection[str]) -> dict[str, Entry]:
    """Return some lines by address."""
    return {row.email: entry(row) for row in lines(connection, emails, *_COLUMNS)}


def fullest(connection: Connection, limit: int) -> list[Entry]:
    """Return the users whose mailboxes are largest, as far as sizes are known."""
    wanted = select(*_COLUMNS).where(_line.box_bytes >= 0)
    rows = connection.execute(wanted.order_by(_line.box_bytes.desc(), _line.email.desc()).limit(limit))
    return [entry(row) for row in rows]


def administrators(connection: Connection) -> int:
    """Return how many administrators there are."""
    return directory_tally.of(connection, Selection(privilege=ADMIN)).active


def lines(connection: Connection, emails: Collection[str], *columns: Any) -> Iterator[Row[Any]]:
    """Yield some lines, whole where no columns are named."""
    wanted = sorted(email for email in emails if _NUL not in email)
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        yield from connection.execute(
            select(*(columns or (schema.directory,))).where(_line.email.in_(some))
        ).all()


def entry(row: Any) -> Entry:
    """Return a line as the pages know it."""
    usage = None
    if row.box_bytes >= 0:
        usage = Usage(row.box_bytes, row.messages, 0, row.checked_at)
    return Entry(
        row.email,
        not row.archived,
        parse_privileges(row.privileges),
        row.quota,
        usage,
        row.archived_at,
        row.archived_by,
        bool(row.purging),
        row.undo_until,
    )


def _order(sort: str) -> tuple[tuple[Any, ...], bool]:
    name = sort.removeprefix("-")
    if name not in ORDERS:
        raise InvalidInputError(N_("The list can be sorted by email, size, used or quota."))
    return ORDERS[name], sort.startswith("-")


def _rows(
    connection: Connection,
    found: _Found,
    order: tuple[Any, ...],
    descending: bool,
    position: tuple[Any, ...] | None,
    limit: int,
    columns: Sequence[Any],
    *,
    backward: bool,
) -> list[Row[Any]]:
    downward = descending != backward
    # First the places alone, which an index of the order holds side by side, then the lines that belong there.
    places = order
    if found.few:
        # The bound inside keeps every planner from walking through the order after all.
        inside = select(*order).where(*found.conditions).limit(FEW + 1).subquery()
        places = tuple(inside.c[column.name] for column in order)
        wanted: Select[Any] = select(*places)
    else:
        wanted = select(*order).where(*found.conditions)
    if position is not None:
        wanted = wanted.where(behind(connection, places, position, downward=downward))
    wanted = wanted.order_by(*(column.desc() if downward else column for column in places))
    emails = [row.email for row in connection.execute(wanted.limit(limit))]
    rows = {
        row.email: row for row in lines(connection, emails, *dict.fromkeys((*columns, *order, _line.domain)))
    }
    return [rows[email] for email in emails]


def _is_impossible(selection: Selection) -> bool:
    return _NUL in selection.query + selection.domain + selection.privilege


def _find(connection: Connection, selection: Selection, order: tuple[Any, ...]) -> _Found:
    """Say how a selection is found.

    :param order: that it is wanted in, empty where nothing but a count is
    """
    if _is_impossible(selection):
        return _Found([false()], True)
    few = directory_tally.of(connection, replace(selection, query="")) if order else Counts(0, 0, 0)
    is_few = few.active + few.archived <= FEW
    conditions: Conditions = []
    if selection.query and not (is_few and order):
        matching, is_few = directory_search.matching(connection, selection.query, min(FEW, FEW_BY_TEXT))
        conditions.append(matching)
    elif selection.query:
        conditions.append(directory_search.contains(connection, selection.query))
    # To walk through an order, its index must be the one that is used: a sum is found by none.
    by_index = is_few or not order or order[0] is _line.domain
    conditions += _filters(connection, selection, by_index=by_index)
    return _Found(conditions, is_few)


def _filters(connection: Connection, selection: Selection, *, by_index: bool) -> Conditions:
    nothing = 0 if not by_index else None

    def plain(column: ColumnElement[int]) -> ColumnElement[int]:
        return column if nothing is None else column + nothing

    found: Conditions = []
    if selection.domain:
        found.append(_line.domain == selection.domain)
    if selection.status:
        found.append(plain(_line.archived) == int(selection.status != "active"))
    if selection.privilege == ADMIN:
        found.append(plain(_line.privileged) == 2)
    elif selection.privilege:
        found += [plain(_line.privileged) > 0, _has_privilege(connection, selection.privilege)]
    if selection.nearly_full:
        found.append(plain(_line.percent) >= directory_tally.NEARLY_FULL_PERCENT)
    return found


def _has_privilege(connection: Connection, privilege: str) -> ColumnElement[bool]:
    """Return what finds a line of the privileges, which stand one a line; LIKE may not mind the case."""
    inside: ColumnElement[Any] = "\n" + _line.privileges + "\n"
    if connection.dialect.name == "postgresql":
        return func.strpos(inside, f"\n{privilege}\n") > 0
    if connection.dialect.name != "sqlite":
        inside = cast(inside, LargeBinary)
    return func.instr(inside, f"\n{privilege}\n") > 0


def _position(row: Row[Any], order: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(getattr(row, column.name) for column in order)


def _cursor(row: Row[Any], order: tuple[Any, ...], *, backward: bool) -> str:
    value = orjson.dumps([backward, order[0].name, *_position(row, order)])
    return base64.urlsafe_b64encode(value).decode("ascii").rstrip("=")


def _read_cursor(cursor: str, order: tuple[Any, ...]) -> tuple[bool, tuple[Any, ...]]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        backward, name, *position = orjson.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, TypeError):
        raise InvalidInputError(_CURSOR) from None
    fits = len(position) == len(order) and all(
        _fits(value, column) for value, column in zip(position, order, strict=True)
    )
    if not isinstance(backward, bool) or name != order[0].name or not fits:
        raise InvalidInputError(_CURSOR)
    return backward, tuple(position)


def _fits(value: Any, column: Any) -> bool:
    beyond = value > schema.UNLIMITED if isinstance(value, int) else _NUL in str(value)
    return type(value) is column.type.python_type and not beyond

"""Keeps how many lines the directory has: of all, by domain, by privilege, and by privilege in a domain.

So no count that a list shows is counted when it is asked for. Whoever changes lines says by how much, in the same
transaction and under the same lock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from mailusers_plugin.models import Counts, Selection
from mailusers_plugin.store import schema
from mailusers_plugin.validation import parse_privileges

NEARLY_FULL_PERCENT: Final = 80
"""From here on a mailbox counts as nearly full."""
ALL: Final = 0
DOMAIN: Final = 1
PRIVILEGE: Final = 2
PRIVILEGE_IN_DOMAIN: Final = 3
_SCOPES: Final = (ALL, DOMAIN, PRIVILEGE, PRIVILEGE_IN_DOMAIN)
Key = tuple[int, str, str]
_tally = schema.tally.c
_NAMES: Final = tuple(column.name for column in schema.tally.columns if not column.primary_key)
_BY: Final = tuple(f"by_{name}" for name in _NAMES)
_BATCH: Final = 200
_KEY: Final = (_tally.scope, _tally.domain, _tally.privilege)
_AT: Final = and_(
    _tally.scope == bindparam("at_scope"),
    _tally.domain == bindparam("at_domain"),
    _tally.privilege == bindparam("at_privilege"),
)
_ADD: Final = (
    update(schema.tally).where(_AT).values({name: _tally[name] + bindparam(f"by_{name}") for name in _NAMES})
)


class Difference:
    """Adds up by how much the counts change."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._values: defaultdict[Key, list[int]] = defaultdict(lambda: [0] * len(_NAMES))

    def add(self, line: Mapping[str, Any], sign: int) -> None:
        """Count a line.

        :param line: a line of the directory
        :param sign: 1 where it comes, -1 where it goes
        """
        archived, size = line["archived"], max(line["box_bytes"], 0)
        full = line["percent"] >= NEARLY_FULL_PERCENT
        values = (
            sign,
            sign * archived,
            sign * full,
            sign * (archived and full),
            sign * size,
            sign * size * archived,
            sign * size * full,
            sign * size * (archived and full),
            sign * (line["box_bytes"] >= 0),
        )
        domain = line["domain"]
        keys: list[Key] = [(ALL, "", ""), (DOMAIN, domain, "")]
        if line["privileges"] and not archived:
            for privilege in dict.fromkeys(p[:255] for p in parse_privileges(line["privileges"])):
                keys += [(PRIVILEGE, "", privilege), (PRIVILEGE_IN_DOMAIN, domain, privilege)]
        for key in keys:
            sums = self._values[key]
            for position, value in enumerate(values):
                sums[position] += value

    def store(self, connection: Connection) -> None:
        """Change the counts; the directory must be locked."""
        changed = {key: values for key, values in self._values.items() if any(values)}
        keys = sorted(changed)
        present: set[Key] = set()
        for start in range(0, len(keys), _BATCH):
            # Not "(…) IN (…)", for which SQLite reads all there is instead of looking in the index.
            one_of = (
                and_(_tally.scope == scope, _tally.domain == domain, _tally.privilege == privilege)
                for scope, domain, privilege in keys[start : start + _BATCH]
            )
            query = select(*_KEY).where(or_(*one_of))
            present.update((row[0], row[1], row[2]) for row in connection.execute(query))
        old = [key for key in keys if key in present]
        if old:
            connection.execute(
                _ADD,
                [
                    {
                        "at_scope": scope,
                        "at_domain": domain,
                        "at_privilege": privilege,
                        **dict(zip(_BY, changed[scope, domain, privilege], strict=True)),
                    }
                    for scope, domain, privilege in old
                ],
            )
        new = [key for key in keys if key not in present]
        if new:
            connection.execute(insert(schema.tally), [_row(key, changed[key]) for key in new])
        if any(changed[key][0] < 0 for key in old):
            connection.execute(delete(schema.tally).where(_tally.scope.in_(_SCOPES), _tally.found <= 0))


def _row(key: Key, values: Sequence[int]) -> dict[str, Any]:
    scope, domain, privilege = key
    return {
        "scope": scope,
        "domain": domain,
        "privilege": privilege,
        **dict(zip(_NAMES, values, strict=True)),
    }


def forget(connection: Connection) -> None:
    """Count from nothing."""
    connection.execute(delete(schema.tally))


def of(connection: Connection, selection: Selection) -> Counts:
    """Return how many lines a selection has that looks for no text."""
    scope = (
        (PRIVILEGE_IN_DOMAIN if selection.domain else PRIVILEGE)
        if selection.privilege
        else int(bool(selection.domain))
    )
    query = select(*(_tally[name] for name in _NAMES)).where(
        _tally.scope == scope,
        _tally.domain == selection.domain,
        _tally.privilege == selection.privilege[:255],
    )
    row = connection.execute(query).first()
    return Counts(0, 0, 0) if row is None else _counts(row, selection)


def _counts(row: Any, selection: Selection) -> Counts:
    found, archived, size, archived_size = row.found, row.archived, row.box_bytes, row.archived_bytes
    if selection.nearly_full:
        found, archived = row.nearly_full, row.archived_full
        size, archived_size = row.full_bytes, row.archived_full_bytes
    if selection.status == "active":
        return Counts(found - archived, 0, size - archived_size)
    if selection.status:
        return Counts(0, archived, archived_size)
    return Counts(found - archived, archived, size)


def everything(connection: Connection) -> tuple[int, int, int, int]:
    """Return how many lines there are, how many of them archived, their bytes, and how many have a known size."""
    query = select(_tally.found, _tally.archived, _tally.box_bytes, _tally.measured)
    row = connection.execute(query.where(_tally.scope == ALL)).first()
    return (0, 0, 0, 0) if row is None else (row[0], row[1], row[2], row[3])


def domains(
    connection: Connection, query: str, limit: int, *, by_bytes: bool = False
) -> list[tuple[str, Counts]]:
    """Return domains, those with most users or those with most bytes first.

    :param query: part of the name, as stored
    :param by_bytes: order by bytes; those without any known size are left out
    """
    order = _tally.box_bytes if by_bytes else _tally.found
    wanted = select(_tally.domain, _tally.found, _tally.archived, _tally.box_bytes).where(
        _tally.scope == DOMAIN
    )
    if by_bytes:
        wanted = wanted.where(_tally.box_bytes > 0)
    if query:
        wanted = wanted.where(_tally.domain.icontains(query, autoescape=True))
    rows = connection.execute(wanted.order_by(order.desc(), _tally.domain).limit(limit))
    return [_domain(row) for row in rows]


def of_domains(connection: Connection, names: Collection[str]) -> dict[str, Counts]:
    """Return how many users some domains have."""
    wanted = select(_tally.domain, _tally.found, _tally.archived, _tally.box_bytes)
    return dict(
        _domain(row)
        for row in connection.execute(wanted.where(_tally.scope == DOMAIN, _tally.domain.in_(names)))
    )


def _domain(row: Any) -> tuple[str, Counts]:
    return row[0], Counts(row[1] - row[2], row[2], row[3])


def count_anew(connection: Connection, lines: Iterable[Mapping[str, Any]]) -> None:
    """Count lines that are all there is."""
    forget(connection)
    difference = Difference()
    for line in lines:
        difference.add(line, 1)
    difference.store(connection)

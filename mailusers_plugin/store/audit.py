"""Reading the audit trail, newest first: by pages, and from one end to the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, select

from mailusers_plugin.store import positions
from mailusers_plugin.store.audit_schema import entries
from mailusers_plugin.trail_models import Kept, Position, TrailFilter, TrailPage

_entry = entries.c
_COLUMNS = (
    _entry.seq,
    _entry.event_id,
    _entry.time,
    _entry.type,
    _entry.actor,
    _entry.via,
    _entry.ip,
    _entry.email,
    _entry.detail,
    _entry.hash,
)


def page(connection: Connection, wanted: TrailFilter, behind: Position | None, limit: int) -> TrailPage:
    """Return entries, newest first.

    :param behind: only those behind this position
    :param limit: at most so many
    """
    query = select(*_COLUMNS).where(*_conditions(wanted))
    if behind is not None:
        query = query.where(positions.behind(connection, (_entry.time, _entry.seq), behind, downward=True))
    rows = connection.execute(_ordered(query).limit(limit + 1)).all()
    found = tuple(_kept(row) for row in rows[:limit])
    return TrailPage(found, (found[-1].time, found[-1].seq) if len(rows) > limit else None)


def types(connection: Connection) -> Sequence[str]:
    """Return the types of which there are entries, by name, by one step through the index for each."""
    found: list[str] = []
    while True:
        query = select(_entry.type).order_by(_entry.type).limit(1)
        if found:
            query = query.where(_entry.type > found[-1])
        one = connection.execute(query).scalar()
        if one is None:
            return found
        found.append(one)


def newest(connection: Connection, limit: int) -> list[Kept]:
    """Return the newest entries in the order in which they were written, the newest first."""
    rows = connection.execute(select(*_COLUMNS).order_by(_entry.seq.desc()).limit(limit))
    return [_kept(row) for row in rows]


def _conditions(wanted: TrailFilter) -> list[ColumnElement[bool]]:
    exact = (
        (_entry.email, wanted.email),
        (_entry.actor, wanted.actor),
        (_entry.type, wanted.type),
    )
    found: list[ColumnElement[bool]] = [column == value for column, value in exact if value]
    if wanted.since is not None:
        found.append(_entry.time >= wanted.since)
    if wanted.until is not None:
        found.append(_entry.time < wanted.until)
    return found


def _ordered(query: Select[Any]) -> Select[Any]:
    return query.order_by(_entry.time.desc(), _entry.seq.desc())


def _kept(row: Row[Any, *tuple[Any, ...]]) -> Kept:
    seq, event_id, time, type_, actor, via, ip, email, detail, hash_ = row
    return Kept(seq, event_id, time, type_, actor, via, ip, email, json.loads(detail), hash_)

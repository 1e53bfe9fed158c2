"""The audit trail: what changed, when, by whom."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, insert, select

from mailusers_plugin.events import Event
from mailusers_plugin.store import schema

_COMMON = ("id", "time", "actor", "via", "email")


def record(connection: Connection, event: Event) -> None:
    """Add an event, once: a repeated delivery changes nothing."""
    seen = select(schema.audit.c.seq).where(schema.audit.c.event_id == event.id)
    if connection.execute(seen).first() is not None:
        return
    detail = {name: value for name, value in event.as_dict().items() if name not in _COMMON}
    connection.execute(
        insert(schema.audit).values(
            event_id=event.id,
            time=event.time,
            type=event.type,
            actor=event.actor,
            via=event.via,
            email=event.email,
            detail=json.dumps(detail, sort_keys=True),
        )
    )


def newest(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest entries, newest first."""
    rows = connection.execute(select(schema.audit).order_by(schema.audit.c.seq.desc()).limit(limit))
    return [
        {
            "event_id": row.event_id,
            "time": row.time,
            "type": row.type,
            "actor": row.actor,
            "via": row.via,
            "email": row.email,
            **json.loads(row.detail),
        }
        for row in rows
    ]

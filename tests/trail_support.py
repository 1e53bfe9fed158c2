"""Reading the audit trail in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailusers_plugin.events import EVENT_TYPES
from mailusers_plugin.trail_models import Kept


def events_in(newest: Sequence[Kept]) -> list[dict[str, Any]]:
    """Return what hooks are told of among entries of the audit trail, oldest first; log-ins and such are left out.

    :param newest: the newest first
    """
    changes = [
        entry for entry in reversed(newest) if entry.type in EVENT_TYPES and EVENT_TYPES[entry.type].hook
    ]
    return [
        {
            "event_id": entry.id,
            "time": entry.time,
            "type": entry.type,
            "actor": entry.actor,
            "via": entry.via,
            "ip": entry.ip,
            "email": entry.email,
            **entry.detail,
        }
        for entry in changes
    ]

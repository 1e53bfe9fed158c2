"""What the audit trail is about: entries, filters, what checking it found."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

GENESIS: Final = "0" * 64
"""Stands for the hash of the entry before the first one."""
MAX_NAME_LENGTH: Final = 255
MAX_TYPE_LENGTH: Final = 64
MAX_VIA_LENGTH: Final = 16
MAX_DETAIL_LENGTH: Final = 16000
"""Characters; MariaDB's TEXT holds 65 535 bytes."""
_HEAD: Final = re.compile(r"(?:([0-9]{1,18}):)?([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be written: what happened, to whom, by whom, from where.

    :ivar type: what happened: the name of an event, or another such as ``LoggedIn``
    :ivar email: the address that it is about, empty where it is about none
    :ivar actor: who did it, ``None`` where nobody's name is known
    :ivar via: how that caller was authenticated, empty where not at all
    :ivar ip: the client's address, ``None`` where there is none, as on the command line
    :ivar detail: old and new values and such, as a JSON object; never a secret
    :ivar id: unique; the event's, where it is one
    :ivar time: when it happened (UTC)
    """

    type: str
    email: str
    actor: str | None
    via: str
    ip: str | None
    detail: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def made(
        cls,
        type_: str,
        *,
        email: str,
        actor: str | None,
        via: str,
        ip: str | None,
        detail: Mapping[str, Any],
        **more: Any,
    ) -> Entry:
        """Make one of what anybody may have sent: cut and cleaned, so that every database stores it as it is.

        :param detail: JSON values
        :param more: ``id`` and ``time``, where they are known
        """
        text = json.dumps(detail, sort_keys=True)
        if len(text) > MAX_DETAIL_LENGTH:
            text = json.dumps({"left_out": f"{len(text)} characters"})
        return cls(
            type=_clean(type_, MAX_TYPE_LENGTH),
            email=_clean(email, MAX_NAME_LENGTH),
            actor=None if actor is None else _clean(actor, MAX_NAME_LENGTH),
            via=_clean(via, MAX_VIA_LENGTH),
            ip=None if ip is None else _clean(ip, MAX_TYPE_LENGTH),
            detail=text,
            **more,
        )

    @classmethod
    def of_event(cls, type_: str, values: Mapping[str, Any]) -> Entry:
        """Make one of an event as it is stored.

        :param values: what :meth:`mailusers_plugin.events.Event.as_dict` returned
        """
        return cls.made(
            type_,
            email=values["email"],
            actor=values["actor"],
            via=values["via"],
            # Not there in one that a version wrote which did not know it yet.
            ip=values.get("ip"),
            detail={
                name: value
                for name, value in values.items()
                # Most that happens is not asked for by a request.
                if name not in _OF_ALL and not (name == "request_id" and value is None)
            },
            id=values["id"],
            time=datetime.fromisoformat(values["time"]),
        )


_OF_ALL: Final = frozenset(("id", "time", "actor", "via", "ip", "email"))


def _clean(text: str, length: int) -> str:
    # PostgreSQL stores no NUL, and no database half a surrogate pair.
    return text[:length].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as it is stored.

    :ivar seq: its number, without gaps
    :ivar detail: the JSON object
    :ivar hash: of it and everything before it
    """

    seq: int
    id: str
    time: datetime
    type: str
    actor: str | None
    via: str
    ip: str | None
    email: str
    detail: Mapping[str, Any]
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; the time as ISO 8601 with its zone."""
        return {
            "seq": self.seq,
            "id": self.id,
            "time": self.time.isoformat(),
            "type": self.type,
            "email": self.email,
            "actor": self.actor,
            "via": self.via,
            "ip": self.ip,
            "detail": self.detail,
            "hash": self.hash,
        }


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which entries are wanted; empty for all.

    :ivar email: about this address
    :ivar actor: by this one
    :ivar type: of this type
    :ivar since: at this time or later
    :ivar until: before this time
    """

    email: str = ""
    actor: str = ""
    type: str = ""
    since: datetime | None = None
    until: datetime | None = None


Position = tuple[datetime, int]
"""Of an entry, newest first: its time and number."""


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some entries, newest first.

    :ivar next: position of the last one, where there are more behind it
    """

    entries: tuple[Kept, ...]
    next: Position | None


@dataclass(frozen=True, slots=True)
class Head:
    """How the chain ended at some moment.

    :ivar seq: number of the newest entry, ``0`` before the first; ``None`` where only the hash was noted down
    :ivar hash: of that entry
    """

    seq: int | None
    hash: str

    def __str__(self) -> str:
        """Return it as it is to be noted down."""
        return self.hash if self.seq is None else f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head | None:
        """Read what was noted down, with or without the number; ``None`` where it is neither."""
        match = _HEAD.fullmatch(text.strip().lower())
        return None if match is None else cls(int(match[1]) if match[1] else None, match[2])


@dataclass(frozen=True, slots=True)
class TrailFault:
    """The first thing that is wrong in the chain.

    :ivar seq: number of the entry, ``None`` where it is about none
    :ivar text: what is wrong with it
    """

    seq: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checking the trail has found.

    :ivar checked: how many entries were right
    :ivar anchor: the newest one that was pruned, number 0 where none was
    :ivar head: the newest one that the chain knows of
    :ivar fault: ``None`` where everything is right
    :ivar guarded: whether the database refuses to change and delete entries
    """

    checked: int
    anchor: Head
    head: Head
    fault: TrailFault | None
    guarded: bool

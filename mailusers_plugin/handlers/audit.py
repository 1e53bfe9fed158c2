"""The audit trail: a page, a file of it, and the same for programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from mailusers_plugin import csv_text, trail_rows
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.handlers.api import APIHandler
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.page_examples import base_url
from mailusers_plugin.handlers.page_request import limit_of
from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.handlers.sending import Sending
from mailusers_plugin.permissions import AUDIT
from mailusers_plugin.store import audit
from mailusers_plugin.texts import N_
from mailusers_plugin.trail_models import MAX_NAME_LENGTH, MAX_TYPE_LENGTH, Kept, TrailFilter

_ON_A_PAGE: Final = 50
_NOTHING: Final = "\N{EN DASH}"
_FORMATS: Final = {"csv": csv_text.TYPE, "jsonl": "application/x-ndjson"}
_LABELS: Final = {
    "UserAdded": N_("User added"),
    "UserArchived": N_("User archived"),
    "PurgeBegun": N_("Deleting for good begun"),
    "UserPurged": N_("Mailbox deleted for good"),
    "QuotaChanged": N_("Quota changed"),
    "PasswordChanged": N_("Password changed"),
    "PrivilegesChanged": N_("Privileges changed"),
    "LoggedIn": N_("Logged in"),
    "LoggedOut": N_("Logged out"),
    "LoginRefused": N_("Log-in refused"),
    "AuditPruned": N_("Old entries deleted"),
    "EntriesLost": N_("Entries lost"),
}
_NAMES: Final = {
    "again": N_("Again, times"),
    "before": N_("Older than"),
    "by": N_("With"),
    "count": N_("How many"),
    "mailbox": N_("Mailbox"),
    "privileges": N_("Privileges"),
    "quota": N_("Quota"),
    "reason": N_("Reason"),
    "since": N_("Since"),
}
_REASON: Final = "reason"
_SAID_BY_LABEL: Final = ("restored", "undone")
_RESTORED: Final = N_("User restored with the old mailbox")
_UNDONE: Final = N_("Archiving undone")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    :ivar since: as it was given
    :ivar until: as it was given
    """

    wanted: TrailFilter
    since: str
    until: str

    @classmethod
    def of(cls, given: Parameters) -> Asked:
        """Read a request's parameters.

        :raises InvalidInputError: if a time is not possible
        """
        since, until = given.text("since").strip(), given.text("until").strip()
        # NUL is in no entry, and PostgreSQL refuses to look for it.
        email, actor, type_ = (
            value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")[:length]
            for value, length in (
                (given.email(), MAX_NAME_LENGTH),
                (given.email("actor"), MAX_NAME_LENGTH),
                (given.text("type"), MAX_TYPE_LENGTH),
            )
        )
        wanted = TrailFilter(
            email, actor, type_, trail_rows.parse_time(since), trail_rows.parse_time(until, end=True)
        )
        return cls(wanted, since, until)

    def query(self, **more: str) -> str:
        """Return a query string that asks for the same.

        :param more: other parameters
        """
        chosen = self.wanted
        values = {
            "email": chosen.email,
            "actor": chosen.actor,
            "type": chosen.type,
            "since": self.since,
            "until": self.until,
            **more,
        }
        return urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as the page shows it.

    :ivar label: what happened, a text to be translated; the type where there is none
    :ivar details: name and value of what else is known, and whether the value is to be translated; names are
    """

    entry: Kept
    label: str
    details: tuple[tuple[str, str, bool], ...]


def line(entry: Kept) -> Line:
    """Return how an entry is shown."""
    label = _LABELS.get(entry.type, entry.type)
    if entry.type == "UserAdded" and entry.detail.get("restored"):
        label = _UNDONE if entry.detail.get("undone") else _RESTORED
    details = tuple(
        (_NAMES.get(name, name), value, name == _REASON) for name, value in _details(entry.detail)
    )
    return Line(entry, label, details)


def _details(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what changed, old beside new; the same value in bytes is left out, and what is not so."""
    found = []
    for name, value in detail.items():
        if name.endswith("_bytes") or name.startswith("new_") or name in _SAID_BY_LABEL:
            continue
        if not name.startswith("old_") and value in (None, False, [], ""):
            continue
        if name.startswith("old_"):
            what = name.removeprefix("old_")
            found.append((what, f"{_text(value)} → {_text(detail.get(f'new_{what}'))}"))
        else:
            found.append((name, _text(value)))
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value or _NOTHING
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or _NOTHING
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


class AuditPage(PageHandler):
    """``GET /mailusers/audit``."""

    @requires(AUDIT)
    async def get(self) -> None:
        """Show it, newest first."""
        asked = Asked.of(self.parameters)
        at = trail_rows.parse_cursor(self.parameters.text("at"))
        state = self.dependencies.state
        found = await state.read(audit.page, asked.wanted, at, _ON_A_PAGE)
        types = await state.read(audit.types)
        await self.render_page_aside(
            "audit.html",
            lambda: {
                "asked": asked,
                "lines": [line(entry) for entry in found.entries],
                "types": [(name, _LABELS.get(name, name)) for name in types],
                "older": "" if found.next is None else asked.query(at=trail_rows.cursor(found.next)),
                "is_first": at is None,
            },
        )

    head = get


class AuditExport(PageHandler, Sending):
    """``GET /mailusers/audit/export``: everything that the filters show, as a file."""

    @requires(AUDIT)
    async def get(self) -> None:
        """Send it."""
        wanted = self._begin()
        await self.send(self._parts(wanted))

    @requires(AUDIT)
    async def head(self) -> None:
        """Say what would be sent."""
        self._begin()

    def _begin(self) -> TrailFilter:
        """Set the headers; return what is wanted.

        :raises InvalidInputError: if the format or a time is not possible
        """
        self._format = self.parameters.text("format") or "csv"
        if self._format not in _FORMATS:
            raise InvalidInputError(N_("The format is csv or jsonl."))
        wanted = Asked.of(self.parameters).wanted
        self.set_header("Content-Type", _FORMATS[self._format])
        name = f"audit-{datetime.now(UTC).date().isoformat()}.{self._format}"
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        return wanted

    async def _parts(self, wanted: TrailFilter) -> AsyncIterator[bytes]:
        is_csv = self._format == "csv"
        encode = trail_rows.csv_lines if is_csv else trail_rows.json_lines
        if is_csv:
            yield trail_rows.head().encode()
        async for some in trail_rows.everything(self.dependencies.state, wanted):
            yield await asyncio.to_thread(encode, some)


class AuditAPI(APIHandler):
    """``GET /mail/users/audit``: the trail for programs."""

    @requires(AUDIT)
    async def get(self) -> None:
        """Answer with a page of it, newest first; the next one is named in ``Link`` (RFC 8288)."""
        given = self.parameters
        asked, limit = Asked.of(given), limit_of(given.get("limit"))
        at = trail_rows.parse_cursor(given.text("cursor"))
        found = await self.dependencies.state.read(audit.page, asked.wanted, at, limit)
        if found.next is not None:
            url = base_url(self.request.protocol, self.request.host, self.dependencies.settings)
            query = asked.query(limit=str(limit), cursor=trail_rows.cursor(found.next))
            self.set_header("Link", f'<{url}/mail/users/audit?{query}>; rel="next"')
        self.answer_json(_objects(found.entries))

    head = get


def _objects(entries: Sequence[Kept]) -> list[dict[str, Any]]:
    return [entry.as_dict() for entry in entries]


ROUTES = [
    ("/mailusers/audit", AuditPage),
    ("/mailusers/audit/export", AuditExport),
    ("/mail/users/audit", AuditAPI),
]

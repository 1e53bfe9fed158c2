"""The users that the list shows, as a file: CSV or JSON, sent as fast as it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson

from mailusers_plugin import csv_text, export_rows
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.list_state import ListState
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.page_request import BUILDING_SECONDS, CATCH_UP_SECONDS
from mailusers_plugin.handlers.sending import Sending
from mailusers_plugin.models import Entry
from mailusers_plugin.permissions import READ
from mailusers_plugin.texts import N_
from mailusers_plugin.user_objects import entry_object

_TYPES: Final = {"csv": csv_text.TYPE, "json": "application/json"}


class UsersExport(PageHandler, Sending):
    """Everything that the current filters show, not only the page of it."""

    @requires(READ)
    async def get(self) -> None:
        """Send it."""
        state = self._begin()
        directory = self.dependencies.directory
        await directory.wait_until_built(BUILDING_SECONDS)
        await directory.catch_up(CATCH_UP_SECONDS)
        entries = directory.export(state.selection(), state.sort)
        pieces = self._json(entries) if self._format == "json" else self._csv(entries)
        await self.send(pieces)

    @requires(READ)
    async def head(self) -> None:
        """Say what would be sent."""
        self._begin()

    def _begin(self) -> ListState:
        """Set the headers; return what is shown.

        :raises InvalidInputError: if the format is not possible
        """
        self._format = self.parameters.text("format") or "csv"
        if self._format not in _TYPES:
            raise InvalidInputError(N_("The format is csv or json."))
        self.set_header("Content-Type", _TYPES[self._format])
        name = f"mail-users-{datetime.now(UTC).date().isoformat()}.{self._format}"
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        return ListState.of(self.parameters.text)

    async def _csv(self, entries: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[bytes]:
        yield export_rows.head().encode()
        async for some in entries:
            yield await asyncio.to_thread(export_rows.csv_lines, some)

    async def _json(self, entries: AsyncIterator[Sequence[Entry]]) -> AsyncIterator[bytes]:
        begin = b"[\n"
        async for some in entries:
            yield begin + await asyncio.to_thread(self._json_lines, some)
            begin = b",\n"
        yield (b"" if begin == b",\n" else begin) + b"\n]\n"

    def _json_lines(self, entries: Sequence[Entry]) -> bytes:
        return b",\n".join(map(self._object, entries))

    def _object(self, entry: Entry) -> bytes:
        return orjson.dumps(entry_object(entry, self.dependencies.listing.mailbox(entry.email)))


ROUTES = [("/users/export", UsersExport)]

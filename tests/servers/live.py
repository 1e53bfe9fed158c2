"""A reader of the stream of changes that needs no event loop."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from tests import openapi
from tests.servers.panel import PanelProcess
from tests.support import BOSS, PASSWORD, basic


class Events:
    """A script that reads the stream."""

    def __init__(self, panel: PanelProcess, after: int | None = None) -> None:
        """Connect."""
        self.connection = http.client.HTTPConnection(urlsplit(panel.url).netloc, timeout=30)
        headers = {"Authorization": basic(BOSS, PASSWORD)}
        query = "" if after is None else f"?after={after}"
        self.connection.request("GET", f"/admin/users/events{query}", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        if panel.described:
            sent, answered = {"Authorization": "Basic"}, self.answer.getheaders()
            openapi.check("/admin/users/events", "/admin", "GET", sent, 200, answered, None)
        self.newest = 0

    def next(self) -> tuple[str, dict[str, list[str]]]:
        """Return the next event's name and data; an empty name where the stream has ended."""
        name = ""
        for line in self.answer:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "id":
                self.newest = int(value)
            elif field == "event":
                name = value
            elif field == "data":
                return name, json.loads(value)
        return "", {}

    def close(self) -> None:
        """Go away."""
        self.connection.close()

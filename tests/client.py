"""A client over HTTP, whose answers are compared with the description of the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application

from tests import openapi

APPLICATIONS: dict[str, Application] = {}
"""What listens in this process, by address: what it answers is compared with the API's description."""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: HTTPHeaders
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def type(self) -> str:
        """The content type as it was sent."""
        return self.headers.get("Content-Type", "")

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Sends requests with some headers of its own."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    described: bool = True
    """Whether what is answered must be as the API is described: not where a test has the server fail."""

    def sending(self, **headers: str) -> Client:
        """Return a client that sends more headers; underscores stand for hyphens."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **more})

    async def get(self, path: str, /, **query: str) -> Answer:
        """Send a GET with a query string."""
        return await self.fetch("GET", path + ("?" + urlencode(query) if query else ""))

    async def post(self, path: str, /, **form: str) -> Answer:
        """Send a form."""
        return await self.send(path, urlencode(form), "application/x-www-form-urlencoded")

    async def post_json(self, path: str, content: Any) -> Answer:
        """Send JSON."""
        return await self.send(path, json.dumps(content), "application/json")

    async def send(self, path: str, body: str | bytes, content_type: str, method: str = "POST") -> Answer:
        """Send a body of some type."""
        return await self.sending(Content_Type=content_type).fetch(method, path, body)

    async def fetch(self, method: str, path: str, body: str | bytes | None = None) -> Answer:
        """Send any request; redirects are not followed."""
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        request = HTTPRequest(
            self.base_url + path,
            method=method,
            headers=dict(self.headers),
            body=body,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            request_timeout=60,
        )
        http = SimpleAsyncHTTPClient(force_instance=True)
        try:
            response = await http.fetch(request, raise_error=False)
        finally:
            http.close()
        if response.code == 599:
            raise response.error or HTTPClientError(599)
        app = APPLICATIONS.get(self.base_url)
        if app is not None and self.described:
            sent, body = response.headers.get_all(), response.body
            openapi.check_application(app, path, method, self.headers, response.code, sent, body)
        return Answer(response.code, response.headers, response.body)

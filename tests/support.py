"""What the tests share: a running box, and clients that talk to it over HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from mailusers_plugin import MailUsers, mount
from mailusers_plugin.auth.authenticator import API, COOKIE
from mailusers_plugin.host import COOKIE_NAME, DefaultHost
from mailusers_plugin.models import Account, Actor, Change
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.service import Service
from mailusers_plugin.store import accounts, audit, deliveries, outbox

T = TypeVar("T")

PASSWORD = "correct horse battery"
BOSS = "boss@example.com"
USER = "user@example.com"
CONSOLE = Actor(None, "cli")
"""Somebody who acts for no mail user."""
XSRF = "0123456789abcdef0123456789abcdef"

QUICK: dict[str, Any] = {
    "doveadm": ("there-is-no-doveadm",),
    "password_scheme": "SHA512-CRYPT",
    "usage_interval_seconds": 0,
    "commit_pause_seconds": 0,
}
"""Settings of a box that starts fast and leaves this machine's Dovecot alone."""


def basic(name: str, password: str) -> str:
    """Return an ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")


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
        return Answer(response.code, response.headers, response.body)


class HostRoute(RequestHandler):
    """A route of the host's own."""

    def get(self) -> None:
        """Say whose it is."""
        self.finish(f"the host's own {self.request.path}")

    def post(self) -> None:
        """Say whose it is."""
        self.get()

    def check_xsrf_cookie(self) -> None:
        """Take any form."""


@dataclass(frozen=True)
class Box:
    """A box that answers on a free port, and ways to look into it."""

    storage: Path
    app: Application
    handle: MailUsers
    base_url: str

    @property
    def runtime(self) -> Runtime:
        """The parts."""
        return self.handle.runtime

    @property
    def service(self) -> Service:
        """The use cases."""
        return self.runtime.service

    @property
    def api_key(self) -> str:
        """The system API key."""
        return self.runtime.settings.api_key_path.read_text(encoding="ascii").strip()

    @property
    def nobody(self) -> Client:
        """A client without credentials."""
        return Client(self.base_url)

    @property
    def api(self) -> Client:
        """A client with the system API key, which acts for no user."""
        return self.basic(self.api_key, "")

    def basic(self, name: str, password: str = PASSWORD) -> Client:
        """Return a client that sends a name and a password."""
        return self.nobody.sending(Authorization=basic(name, password))

    def cookie(self, key: str, xsrf: str | None = XSRF) -> Client:
        """Return a browser with a session, and with the page's token unless that is ``None``."""
        if xsrf is None:
            return self.nobody.sending(Cookie=f"{COOKIE_NAME}={key}")
        return self.nobody.sending(Cookie=f"{COOKIE_NAME}={key}; _xsrf={xsrf}", X_XSRFToken=xsrf)

    async def browser(self, email: str, xsrf: str | None = XSRF) -> Client:
        """Return a browser in which somebody is logged in."""
        return self.cookie(await self.session_key(email, COOKIE), xsrf)

    async def session_key(self, email: str, kind: str = API) -> str:
        """Begin a session."""
        return await self.runtime.authenticator().open_session(await self.service.account(email), kind)

    async def add(
        self, email: str, privileges: Sequence[str] = (), quota: str | None = None, password: str = PASSWORD
    ) -> Change:
        """Add a user from the console."""
        return await self.service.add(CONSOLE, email, password, privileges, quota)

    async def find(self, email: str) -> Account | None:
        """Return an account as it is stored."""
        return await self.runtime.database.read(accounts.find, email)

    async def emails(self) -> list[str]:
        """Return the active addresses."""
        return await self.service.addresses()

    async def events(self) -> list[dict[str, Any]]:
        """Return the audit trail, oldest first, once everything is delivered."""
        await self.delivered()
        return (await self.runtime.state.read(audit.newest, 1000))[::-1]

    async def delivered(self) -> None:
        """Wait until no event waits for its delivery."""
        rows = await self.runtime.state.read(deliveries.listing, unfinished_only=True, limit=1000)
        pending = {str(row["id"]) for row in rows if row["state"] == deliveries.PENDING}
        entries = await self.runtime.database.read(outbox.after, 0, 1000)
        assert await self.service.wait_for_hooks(Change((*pending, *(entry.id for entry in entries))), 30)

    @property
    def database(self) -> Path:
        """The accounts' file."""
        return self.runtime.settings.database_path

    @property
    def mailboxes(self) -> Path:
        """The folder of the domains' folders."""
        return self.runtime.settings.mailboxes

    def maildir(self, email: str) -> Path:
        """Return where an address's mail is."""
        local_part, _, domain = email.rpartition("@")
        return self.mailboxes / domain / local_part

    def make_mailbox(self, email: str, *messages: str) -> Path:
        """Put a mailbox on the disk."""
        return make_mailbox(self.mailboxes, email, *messages)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement as another program would, in a connection of its own."""
        return run_sql(self.database, statement, *parameters)

    def state_sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement on our own file, where sessions, deliveries, sizes and the audit trail are."""
        return run_sql(self.storage / "mailusers" / "state.sqlite", statement, *parameters)


def run_sql(database: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on a SQLite file, commit, and return the rows."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def make_mailbox(mailboxes: Path, email: str, *messages: str) -> Path:
    """Put a mailbox with some messages on the disk."""
    local_part, _, domain = email.rpartition("@")
    maildir = mailboxes / domain / local_part
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (maildir / "cur" / f"{number}.message").write_text(message)
    return maildir


class Boxes:
    """Opens boxes for one test and closes them at its end."""

    def __init__(self, folder: Path, blank: Path) -> None:
        """Take where the boxes are to be, and an empty one to copy, which is quicker than to make one."""
        self._folder = folder
        self._blank = blank
        self._stops: list[Callable[[], Any]] = []
        self._number = 0

    def storage(self) -> Path:
        """Return the folder of a new box."""
        self._number += 1
        storage = self._folder / f"box{self._number}"
        shutil.copytree(self._blank, storage)
        return storage

    async def open(self, storage: Path | None = None, **arguments: Any) -> Box:
        """Open a box and let it listen; the arguments are those of ``mount``."""
        storage = storage or self.storage()
        app = Application([(r"/host(?:/.*)?", HostRoute), (r"/admin/(?:other|users/more)", HostRoute)])
        handle = self.mount(app, storage_root=storage, **arguments)
        return Box(storage, app, handle, self.listen(app))

    def mount(self, app: Application, **arguments: Any) -> MailUsers:
        """Mount the plugin with quick settings; it is stopped at the end of the test."""
        handle = mount(app, **{**QUICK, **arguments})
        self._stops.append(handle.stop)
        return handle

    def listen(self, app: Application) -> str:
        """Let an application listen on a free port; return its address."""
        socket, port = bind_unused_port()
        server = HTTPServer(app)
        server.add_socket(socket)

        async def stop() -> None:
            server.stop()
            await server.close_all_connections()

        self._stops.append(stop)
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop everything, the last first."""
        while self._stops:
            await self._stops.pop()()


def default_host(box: Box) -> DefaultHost:
    """Return a host of the default kind over a box."""
    return DefaultHost(box.runtime.authenticator(), "/admin/mailusers/login")

"""What the tests share: a running box, and clients that talk to it over HTTP."""

from __future__ import annotations

import base64
import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from mailusers_plugin import MailUsers, mount
from mailusers_plugin.auth.authenticator import API, COOKIE
from mailusers_plugin.auth.session_cookie import COOKIE_NAME, SessionCookie
from mailusers_plugin.host import DefaultHost
from mailusers_plugin.models import Account, Actor, Change
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.service import Service
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import accounts, audit, deliveries, outbox
from mailusers_plugin.trail_models import Kept
from tests.client import APPLICATIONS, Answer, Client
from tests.trail_support import events_in

__all__ = ["Answer", "Client"]

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
    "refusal_seconds": 0,
}
"""Settings of a box that starts fast and leaves this machine's Dovecot alone."""

UNTHROTTLED: dict[str, Any] = {"throttle_pair": 0, "throttle_network": 0, "throttle_account": 0}
"""Settings of a box that lets anybody guess as often as he likes."""


def basic(name: str, password: str) -> str:
    """Return an ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")


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
    headers: Mapping[str, str] = field(default_factory=dict)

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
        return Client(self.base_url, self.headers)

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
        """Return the changes in the audit trail, oldest first, once everything is delivered."""
        await self.delivered()
        return events_in(await self.runtime.state.read(audit.newest, 1000))

    async def trail(self) -> list[Kept]:
        """Return the whole audit trail, oldest first."""
        return (await self.runtime.state.read(audit.newest, 1000))[::-1]

    async def delivered(self) -> None:
        """Wait until no event waits for its delivery."""
        # In this order, in which events go.
        entries = await self.runtime.database.read(outbox.after, 0, 1000)
        rows = await self.runtime.state.read(deliveries.listing, unfinished_only=True, limit=1000)
        pending = {str(row["id"]) for row in rows if row["state"] == deliveries.PENDING}
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
        if self.runtime.settings.database:
            return run_sql_on(self.runtime.settings.database, statement, *parameters)
        return run_sql(self.database, statement, *parameters)

    def insert_users(self, emails: Sequence[str]) -> None:
        """Insert users as another program would, many at once."""
        self.sql(
            f"INSERT INTO users (email, password) VALUES {', '.join(['(?, ?)'] * len(emails))}",  # noqa: S608
            *(value for email in emails for value in (email, "x")),
        )

    def state_sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement where sessions, deliveries, sizes and the audit trail are: on SQLite our own file."""
        if self.runtime.settings.database:
            return self.sql(statement, *parameters)
        return run_sql(self.storage / "mailusers" / "state.sqlite", statement, *parameters)


def stored_time(time: datetime) -> str:
    """Return a time as it is written to a database."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def read_time(value: Any) -> datetime:
    """Return a time as it was read from a database: a text on SQLite."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def run_sql(database: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on a SQLite file, commit, and return the rows."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def run_sql_on(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on a database of any engine, commit, and return the rows.

    :param statement: with question marks for the parameters, as SQLite takes it
    """
    with create_engine(url, poolclass=NullPool).begin() as connection:
        if connection.dialect.paramstyle != "qmark":
            statement = statement.replace("%", "%%").replace("?", "%s")
        found = connection.exec_driver_sql(statement, parameters or None)
        return [tuple(row) for row in found] if found.returns_rows else []


def make_mailbox(mailboxes: Path, email: str, *messages: str) -> Path:
    """Put a mailbox with some messages on the disk."""
    local_part, _, domain = email.rpartition("@")
    maildir = mailboxes / domain / local_part
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (maildir / "cur" / f"{number}.message").write_text(message)
    return maildir


class Databases(Protocol):
    """Gives each box a database."""

    def fresh(self) -> str:
        """Return the URL of one with the tables of a box without users; empty for the box's own files."""
        ...

    def release(self, url: str) -> None:
        """Take one back; nobody has it open any more."""
        ...


class Boxes:
    """Opens boxes for one test and closes them at its end."""

    def __init__(self, folder: Path, blank: Path, databases: Databases) -> None:
        """Take where the boxes are to be, and an empty one to copy, which is quicker than to make one.

        :param databases: gives each a database, if it is not the box's own file
        """
        self._folder = folder
        self._blank = blank
        self._databases = databases
        self._urls: dict[Path, str] = {}
        self._stops: list[Callable[[], Any]] = []
        self._number = 0

    def storage(self) -> Path:
        """Return the folder of a new box."""
        self._number += 1
        storage = self._folder / f"box{self._number}"
        shutil.copytree(self._blank, storage)
        self._urls[storage] = self._databases.fresh()
        return storage

    def settings(self, storage: Path) -> Settings:
        """Return the settings of a box, for opening it in another way."""
        return Settings(storage_root=storage, database=self._urls[storage], **QUICK)

    async def open(self, storage: Path | None = None, **arguments: Any) -> Box:
        """Open a box, start it and let it listen; the arguments are those of ``mount``."""
        storage = storage or self.storage()
        app = Application([(r"/host(?:/.*)?", HostRoute), (r"/admin/(?:other|users/more)", HostRoute)])
        handle = self.mount(app, storage_root=storage, **arguments)
        await handle.start()
        return Box(storage, app, handle, self.listen(app))

    def mount(self, app: Application, **arguments: Any) -> MailUsers:
        """Mount the plugin with quick settings; it is stopped at the end of the test."""
        url = self._urls.get(arguments["storage_root"])
        if url:
            arguments.setdefault("database", url)
        handle = mount(app, **{**QUICK, **arguments})
        self._stops.append(handle.stop)
        return handle

    def listen(self, app: Application, **arguments: Any) -> str:
        """Let an application listen on a free port; return its address. The arguments are those of the server."""
        socket, port = bind_unused_port()
        server = HTTPServer(app, **arguments)
        server.add_socket(socket)
        base_url = f"{'https' if 'ssl_options' in arguments else 'http'}://127.0.0.1:{port}"
        APPLICATIONS[base_url] = app

        async def stop() -> None:
            del APPLICATIONS[base_url]
            server.stop()
            await server.close_all_connections()

        self._stops.append(stop)
        return base_url

    def listen_behind_tls(self, box: Box) -> Box:
        """Let a box answer on another port as behind a proxy that speaks TLS and says so; return it as seen there."""
        url = self.listen(box.app, xheaders=True)
        return replace(box, base_url=url, headers={**box.headers, "X-Forwarded-Proto": "https"})

    async def close(self) -> None:
        """Stop everything, the last first, and give the databases back."""
        while self._stops:
            await self._stops.pop()()
        while self._urls:
            _, url = self._urls.popitem()
            if url:
                self._databases.release(url)


def default_host(box: Box) -> DefaultHost:
    """Return a host of the default kind over a box."""
    cookie = SessionCookie("/admin", lambda protocol: protocol == "https")
    return DefaultHost(box.runtime.authenticator(), "/admin/mailusers/login", cookie)

"""The reference host: a small real panel, built the way that other panels build theirs.

It finds its modules through the entry-point group ``adminpanel`` and asks each for its routes and its place in
the navigation. ``mailusers serve`` runs it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import pluggy
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from mailusers_plugin import plugin
from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.handlers.front import FrontServer
from mailusers_plugin.handlers.headers import PlainHandler
from mailusers_plugin.handlers.imports import MAX_ACCEPTED_BYTES
from mailusers_plugin.hooks import HOST_PROJECT, adminpanel
from mailusers_plugin.plugin import MailUsers
from mailusers_plugin.request_log import fields, harmless
from mailusers_plugin.service_manager import notify
from mailusers_plugin.settings import NAMES, Settings

_log = logging.getLogger("mailusers_plugin.access")

SWITCH_SECONDS: Final = 0.001
"""For ``sys.setswitchinterval``: the event loop comes to its turn after 1 ms instead of 5 where another thread computes
in Python. A request that looks two rows up waits for it up to five times."""
HSTS_SECONDS: Final = 365 * 24 * 3600
"""What ``hsts_seconds = -1`` means here."""
_MAX_PORT: Final = 65535
_MAX_BODY_BYTES: Final = 1024 * 1024
_DRAIN_SECONDS: Final = 30.0
_NAME: Final = "mailusers"


@dataclass(frozen=True, slots=True)
class Panel:
    """The panel and its users module.

    :ivar navigation: the modules' entries
    """

    app: Application
    mail_users: MailUsers
    navigation: tuple[Mapping[str, str], ...]


class _ToUsers(PlainHandler):
    """Leads from the panel's root to its one module."""

    def initialize(self, settings: Settings, url: str) -> None:  # type: ignore[override]
        """Take what the route's table hands over."""
        super().initialize(settings)
        self._url = url

    def get(self) -> None:
        """Lead there."""
        self.redirect(self._url)

    head = get


class _NotFound(PlainHandler):
    """Answers what is nobody's."""

    def check_xsrf_cookie(self) -> None:
        """Ask for nothing: there is nothing."""

    def prepare(self) -> None:
        """Answer whatever verb it is."""
        raise HTTPError(HTTPStatus.NOT_FOUND)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say so in plain text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{HTTPStatus(status_code).phrase}.")


def make_panel(settings: Settings) -> Panel:
    """Build the application; must be called where its event loop runs.

    :raises ConfigurationError: if a setting, a hook or a module of the panel is wrong
    :raises UnavailableError: if the database is away
    """
    modules = pluggy.PluginManager(HOST_PROJECT)
    modules.add_hookspecs(adminpanel)
    modules.load_setuptools_entrypoints(HOST_PROJECT)
    if not modules.has_plugin(_NAME):
        # A checkout that is not installed has no entry points.
        modules.register(plugin, _NAME)
    if settings.hsts_seconds < 0:
        settings = replace(settings, hsts_seconds=HSTS_SECONDS)
    app = Application(
        log_function=log_request,
        default_handler_class=_NotFound,
        default_handler_args={"settings": settings},
    )
    values = {name: getattr(settings, name) for name in NAMES}
    handles = modules.hook.adminpanel_register_handlers(app=app, host=None, settings=values)
    mail_users = next(handle for handle in handles if isinstance(handle, MailUsers))
    entries = tuple(modules.hook.adminpanel_navigation(app=app))
    app.settings["panel_navigation"] = entries
    to_users = {"settings": settings, "url": mail_users.url}
    prefix = re.escape(settings.prefix)
    app.add_handlers(".*", [(rf"(?:{prefix})?/?$", _ToUsers, to_users)])
    return Panel(app, mail_users, entries)


def log_request(handler: RequestHandler) -> None:
    """Log an answered request, without its query: the one-time token is in there."""
    request, path = handler.request, harmless(handler.request.path)
    identity = getattr(handler, "identity", None)
    milliseconds = 1000 * request.request_time()
    level = logging.INFO if handler.get_status() < 500 else logging.ERROR
    _log.log(
        level,
        "%d %s %s (%s) %.1f ms",
        handler.get_status(),
        request.method,
        path,
        request.remote_ip,
        milliseconds,
        extra=fields(
            method=request.method,
            path=path,
            status=handler.get_status(),
            duration_ms=round(milliseconds, 1),
            ip=request.remote_ip,
            user=None if identity is None else identity.name,
            via=None if identity is None else identity.via,
        ),
    )


class Server:
    """The panel on a port."""

    def __init__(self, settings: Settings) -> None:
        """Take the port and build the panel; must be called where the event loop runs. Nothing is answered yet.

        :raises ConfigurationError: if the port cannot be had, or as :func:`make_panel`
        """
        host, _, port = settings.listen.rpartition(":")
        # The resolver would take a greater number for another port, by its lower 16 bits.
        if not host or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
            raise ConfigurationError(
                f"listen must be HOST:PORT, the port at most {_MAX_PORT}, not {settings.listen!r}."
            )
        try:
            self._sockets = bind_sockets(int(port), host.strip("[]"))
        except OSError as error:
            raise ConfigurationError(
                f"Cannot listen on {settings.listen}: {error.strerror}. Choose another with --listen."
            ) from None
        self.origin = settings.public_url or f"http://{host}:{self._sockets[0].getsockname()[1]}"
        try:
            self.panel = make_panel(settings)
        except BaseException:
            for socket in self._sockets:
                socket.close()
            raise
        upload = f"{settings.prefix}/users/import"
        # Without xheaders: Tornado would believe them from anybody, and X-Real-Ip, which no proxy here removes.
        self._http = FrontServer(
            self.panel.app,
            max_body_bytes=lambda path: MAX_ACCEPTED_BYTES if path == upload else _MAX_BODY_BYTES,
        )

    async def start(self) -> str | None:
        """Begin to answer.

        :returns: the one-time link where there is no administrator yet; until it was used nothing else answers
        """
        mail_users = self.panel.mail_users
        await mail_users.start()
        link = None
        if not await mail_users.runtime.service.has_administrator():
            prefix = mail_users.runtime.settings.prefix
            link = f"{self.origin}{prefix}/mailusers/setup?token={mail_users.first_run.begin()}"
        self._http.add_sockets(self._sockets)
        return link

    async def stop(self) -> None:
        """Stop accepting, finish what runs, leave the outbox in order, close the box."""
        self._http.stop()
        await self.panel.mail_users.finish_requests(_DRAIN_SECONDS)
        await self._http.close_all_connections()
        await self.panel.mail_users.stop()


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the panel until SIGTERM or SIGINT.

    :param say: prints a line on the console
    :raises ConfigurationError: if the panel cannot start
    :raises UnavailableError: if the database is away
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(settings)
    say(f"Box: {settings.storage_root}")
    link = await server.start()
    if link is None:
        say(f"Users page: {server.origin}{server.panel.mail_users.url}")
    else:
        say("There is no administrator yet. Open this link once to make the first one:")
        say(f"  {link}")
    notify("READY=1")
    await stop.wait()
    notify("STOPPING=1")
    say("Stopping: finishing what runs.")
    await server.stop()


def run(
    settings: Settings, say: Callable[[str], None], prepare: Callable[[Settings], Any] | None = None
) -> None:
    """Run :func:`serve` in an event loop of its own.

    :param prepare: called first; makes the demonstration box
    """
    if prepare is not None:
        prepare(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(serve(settings, say))

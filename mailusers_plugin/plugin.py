"""The entry point: puts the Users page and the API into a Tornado application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
from tornado.web import Application

from mailusers_plugin.auth.session_cookie import SessionCookie
from mailusers_plugin.client_address import Proxies
from mailusers_plugin.errors import ConfigurationError, MailUsersError
from mailusers_plugin.first_run import FirstRun
from mailusers_plugin.handlers.base import Dependencies
from mailusers_plugin.handlers.requests import Requests
from mailusers_plugin.handlers.routes import routes
from mailusers_plugin.handlers.session import LoginDependencies
from mailusers_plugin.handlers.streams import Streams
from mailusers_plugin.handlers.templates import Templates
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.hooks import host_hookimpl
from mailusers_plugin.host import DefaultHost, Host
from mailusers_plugin.languages import Languages
from mailusers_plugin.metrics import Metrics
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings

_log = logging.getLogger("mailusers_plugin")
_HANDLES = "mailusers_plugin"
"""Key in the application's settings under which its handles are kept; nothing of ours is looked up there."""


class MailUsers:
    """What :func:`mount` returns: the plugin in one application.

    :ivar pm: the plugin manager; ``pm.register(module_or_object)`` adds an implementation of the hooks
    """

    def __init__(self, runtime: Runtime, first_run: FirstRun, requests: Requests, streams: Streams) -> None:
        """Take what was put together."""
        self._runtime = runtime
        self._requests = requests
        self._streams = streams
        self._starting: asyncio.Task[None] | None = None
        self.first_run = first_run

    @property
    def pm(self) -> HookManager:
        """The plugin manager."""
        return self._runtime.manager

    @property
    def runtime(self) -> Runtime:
        """The parts, for the panel and for tests."""
        return self._runtime

    @property
    def url(self) -> str:
        """The path of the Users page, for the host's navigation."""
        return f"{self._runtime.settings.prefix}/users"

    async def start(self) -> None:
        """Begin to deliver events and to read sizes.

        ``mount`` does this itself where an event loop runs already; else the first request does. A host that
        builds its application before its loop runs awaits this, so that what a crash left undelivered does not
        wait for somebody to look at the page.

        :raises UnavailableError: if the database is away; the next request tries again
        """
        await self._runtime.start()

    async def finish_requests(self, timeout_seconds: float) -> bool:
        """Wait until no request of ours runs, after the server has stopped accepting; streams end at once.

        :returns: whether it came to that in time
        """
        self._streams.end()
        return await self._requests.finished(timeout_seconds)

    async def stop(self) -> None:
        """Let what runs end and close the box. The application must not be used afterwards."""
        self._streams.end()
        if self._starting is not None:
            await self._starting
        await self._runtime.stop()

    def start_soon(self) -> None:
        """Begin in the running event loop, if there is one."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        # The task is kept, so that it is not collected while it runs.
        self._starting = loop.create_task(self._start_or_log())

    async def _start_or_log(self) -> None:
        try:
            await self._runtime.start()
        except MailUsersError as error:
            _log.warning("The background work begins with the next request: %s", error)


def mount(
    app: Application,
    host: Host | None = None,
    prefix: str | None = None,
    *,
    hooks: Iterable[object] = (),
    template_loader: jinja2.BaseLoader | None = None,
    **settings: Any,
) -> MailUsers:
    """Put the plugin into an application, before or after it listens.

    :param app: any Tornado application; its own routes stay
    :param host: who calls and what they may; mail users with the ``admin`` privilege by default
    :param prefix: path in front of every route, ``/admin`` by default; may be empty
    :param hooks: modules or objects with implementations, beside those of installed packages
    :param template_loader: the host's own templates, with the one that ``base_template`` names
    :param settings: any of :class:`mailusers_plugin.settings.Settings`, by keyword
    :returns: a handle for starting, stopping and registering hooks
    :raises ConfigurationError: if a setting or a hook is wrong, or the box cannot be used
    :raises UnavailableError: if the database is away
    """
    values = Settings.load(prefix=prefix, **settings)
    languages = Languages.load(values.languages)
    runtime = Runtime(values, hooks)
    first_run = FirstRun()
    login = None
    if host is None:
        try:
            authenticator = runtime.authenticator()
        except ConfigurationError:
            runtime.close()
            raise
        cookie = SessionCookie(values.prefix, values.is_https)
        host = DefaultHost(authenticator, f"{values.prefix}/mailusers/login", cookie)
        login = LoginDependencies(authenticator, first_run, cookie)
    requests = Requests()
    streams = Streams(runtime.directory.changes)
    handle = MailUsers(runtime, first_run, requests, streams)
    dependencies = Dependencies(
        service=runtime.service,
        listing=runtime.listing,
        directory=runtime.directory,
        host=host,
        settings=runtime.settings,
        templates=Templates(template_loader, min_password=values.password_min_length),
        languages=languages,
        first_run=first_run,
        start=runtime.start,
        requests=requests,
        streams=streams,
        strength=runtime.strength,
        statistician=runtime.statistician,
        usage=runtime.usage,
        imports=runtime.imports,
        proxies=Proxies(runtime.settings.trusted_proxies),
        tokens=runtime.tokens(of_host=login is None),
        throttle=runtime.throttle,
        trail=runtime.trail,
        state=runtime.state,
        idempotency=runtime.idempotency,
        has_own_login=login is not None,
        measures=runtime.measures,
        health=runtime.health,
        metrics=Metrics(runtime.measures, runtime.passwords, runtime.dispatcher, runtime.directory),
    )
    app.add_handlers(".*", routes(dependencies, login))
    app.settings.setdefault(_HANDLES, []).append(handle)
    handle.start_soon()
    return handle


@host_hookimpl
def adminpanel_register_handlers(
    app: Application, host: Host | None, settings: Mapping[str, Any]
) -> MailUsers:
    """Mount the plugin into a panel that found it by its entry point."""
    return mount(app, host, **settings)


@host_hookimpl
def adminpanel_navigation(app: Application) -> Mapping[str, str]:
    """Return the panel's navigation entry."""
    handles: list[MailUsers] = app.settings.get(_HANDLES, [])
    return {"label": "Users", "url": handles[-1].url if handles else "", "permission": "users:read"}

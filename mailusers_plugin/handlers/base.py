"""What all handlers share: who may call, how errors are answered, which headers go out."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar, Final, TypeVar

from tornado.web import HTTPError, RequestHandler

from mailusers_plugin.auth.basic import HEADER_INVALID
from mailusers_plugin.auth.failures import log_failure
from mailusers_plugin.auth.throttle import Throttle
from mailusers_plugin.auth.token_keys import key_in
from mailusers_plugin.auth.tokens import Tokens
from mailusers_plugin.client_address import Proxies
from mailusers_plugin.directory import Directory
from mailusers_plugin.errors import (
    ForgeryError,
    LoginRefusedError,
    MailUsersError,
    NotPermittedError,
    ScopeError,
    UnavailableError,
)
from mailusers_plugin.first_run import FirstRun
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.answers import AnsweringHandler
from mailusers_plugin.handlers.origin import SAFE, check_origin
from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.handlers.proxies import believe_proxies
from mailusers_plugin.handlers.request_id import id_of
from mailusers_plugin.handlers.requests import Requests
from mailusers_plugin.handlers.streams import Streams
from mailusers_plugin.handlers.templates import Templates
from mailusers_plugin.health import Health
from mailusers_plugin.host import Host
from mailusers_plugin.idempotency import Idempotency
from mailusers_plugin.imports import Imports
from mailusers_plugin.languages import Languages
from mailusers_plugin.listing import Listing
from mailusers_plugin.measures import Measures
from mailusers_plugin.metrics import Metrics
from mailusers_plugin.models import Actor, Change, Claim, Identity, Terms
from mailusers_plugin.password_strength import StrengthMeter
from mailusers_plugin.permissions import ADMINISTER, PUBLIC, enough, in_scopes
from mailusers_plugin.refresh import UsageRefresher
from mailusers_plugin.request_log import current, harmless
from mailusers_plugin.service import Service
from mailusers_plugin.settings import Settings
from mailusers_plugin.statistics import Statistician
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_
from mailusers_plugin.trail import Trail

_log = logging.getLogger("mailusers_plugin.http")

_VERBS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_COUNTED: Final = frozenset(verb.upper() for verb in _VERBS)
_XSRF_COOKIE: Final = "__Host-mailusers_xsrf"
_XSRF_SETTINGS: Final = ("xsrf_cookies", "xsrf_cookie_name")
"""Where a panel has one of these, its own forms depend on Tornado's cookie."""
_MAX_WAIT_SECONDS: Final = 60
_WAIT: Final = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)

F = TypeVar("F", bound=Callable[..., Awaitable[None]])


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the handlers work with; each application has its own."""

    service: Service
    listing: Listing
    directory: Directory
    host: Host
    settings: Settings
    templates: Templates
    languages: Languages
    first_run: FirstRun
    start: Callable[[], Awaitable[None]]
    requests: Requests
    streams: Streams
    strength: StrengthMeter
    statistician: Statistician
    usage: UsageRefresher
    imports: Imports
    proxies: Proxies
    tokens: Tokens
    throttle: Throttle
    trail: Trail
    state: Database
    idempotency: Idempotency
    has_own_login: bool
    measures: Measures
    health: Health
    metrics: Metrics


def requires(permission: str = "") -> Callable[[F], F]:
    """Let a verb be called only by somebody who has the permission that the table in permissions.py names for it.

    :param permission: the same once more, for whoever reads the handler; where the table says something else the route
        cannot be made. Left out where handlers of several routes share the method
    """

    def decorate(method: F) -> F:
        @functools.wraps(method)
        async def checked(self: BaseHandler, *args: str, **kwargs: str) -> None:
            self.look_ahead()
            await self.authorize(self.needed())
            await method(self, *args, **kwargs)

        checked.mailusers_permission = permission  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def public(method: F) -> F:
    """Say that a verb may be called by anybody."""
    method.mailusers_permission = PUBLIC  # type: ignore[attr-defined]
    return method


class BaseHandler(AnsweringHandler):
    """Base of all handlers. A verb without :func:`requires` or :func:`public` does not get past its definition."""

    default_content_type: ClassVar[str] = "text/plain; charset=utf-8"
    answers_during_set_up: ClassVar[bool] = False
    route: ClassVar[str] = ""
    """The pattern that leads here, without the prefix; set by the table of the routes."""
    permissions: ClassVar[Mapping[str, str]] = {}
    """What each verb needs: the route's line of the table, set when the route is made. None answers without."""
    identity: Identity | None = None
    claim: Claim | None = None
    """Where the request has an ``Idempotency-Key``."""
    request_id = ""
    """By which the request is found in the log; also in the answer's header and in the events."""

    def __init_subclass__(cls) -> None:
        """Refuse a class with a verb that does not say who may call it."""
        super().__init_subclass__()
        for verb in _VERBS:
            method = cls.__dict__.get(verb)
            if method is not None and not hasattr(method, "mailusers_permission"):
                raise TypeError(f"{cls.__name__}.{verb} says neither whom it requires nor that it is public.")

    def initialize(self, dependencies: Dependencies) -> None:
        """Take what the route's table hands over."""
        self.dependencies = dependencies
        self.service = dependencies.service
        self._parameters: Parameters | None = None
        # The peer is asked for before another address takes its place.
        trusted = dependencies.proxies.trusts(self.request.remote_ip or "")
        believe_proxies(self.request, dependencies.proxies)
        self.request_id = id_of(self.request, trusted=trusted)
        self.set_header("X-Request-Id", self.request_id)
        self._settings: dict[str, Any] | None = None
        self.guard(dependencies.settings)

    def set_default_headers(self) -> None:
        """Set what every answer has."""
        super().set_default_headers()
        self.set_header("Content-Type", self.default_content_type)
        self.set_header("Cache-Control", "no-store")
        if self.request_id:
            # Again, after an error has taken the headers away.
            self.set_header("X-Request-Id", self.request_id)

    def look_ahead(self) -> None:
        """Begin to read what the verb will want, while it is found out who calls; by default nothing.

        It must change nothing and raise nothing.
        """

    @property
    def realm(self) -> str:
        """Of the Basic challenge."""
        return self.dependencies.settings.realm

    @property
    def is_https(self) -> bool:
        """Whether the request came by TLS, for all that a browser knows."""
        return self.dependencies.settings.is_https(self.request.protocol)

    @property
    def settings(self) -> dict[str, Any]:
        """The application's settings; what Tornado reads in them of the token's cookie is as this request allows.

        Over TLS nobody else can plant such a cookie, unless the panel's own forms need Tornado's under its name.
        """
        if self._settings is None:
            given = self.application.settings
            kwargs = given.get("xsrf_cookie_kwargs", {"httponly": True, "samesite": "Lax"})
            own: dict[str, Any] = {"xsrf_cookie_kwargs": dict(kwargs)}
            if self.is_https and not any(given.get(name) for name in _XSRF_SETTINGS):
                own = {
                    "xsrf_cookie_name": _XSRF_COOKIE,
                    "xsrf_cookie_kwargs": {"httponly": True, "samesite": "Lax", "secure": True, "path": "/"},
                }
            self._settings = {**given, **own}
        return self._settings

    def set_etag_header(self) -> None:
        """Leave it out: nothing of this is to be kept, and what has a tag sets its own."""

    def check_etag_header(self) -> bool:
        """Tell whether the caller has what is tagged; asked at each answer, so that who has nothing costs nothing."""
        return "If-None-Match" in self.request.headers and super().check_etag_header()

    def check_xsrf_cookie(self) -> None:
        """Do nothing yet: Tornado asks before it is known how the caller is authenticated."""

    async def prepare(self) -> None:
        """Make sure that events are being delivered, and answer nothing before the box has an administrator.

        :raises ForeignOriginError: if another site made a browser send it
        :raises UnavailableError: if the set-up is still to be done
        """
        # Of this request's task, and so of all that it logs, in threads that it waits for too.
        current.set(self.request_id)
        self.dependencies.requests.begin(self)
        check_origin(self.request, self.dependencies.settings)
        await self.dependencies.start()
        first_run = self.dependencies.first_run
        if first_run.open and not self.answers_during_set_up:
            if not await self.service.has_administrator():
                raise UnavailableError(
                    N_(
                        "This box has no administrator yet. Open the set-up link that the server printed on its "
                        "console."
                    )
                )
            # Somebody added one on the command line.
            first_run.finish()

    def on_finish(self) -> None:
        """Say that the request is done, and count it."""
        self.dependencies.requests.end(self)
        request = self.request
        # Any other word is the caller's own, and could be another one each time.
        method = request.method if request.method in _COUNTED else "other"
        self.dependencies.measures.request(self.route, method, self.get_status(), request.request_time())

    async def authorize(self, permission: str) -> None:
        """Refuse the request unless its sender is known, may do this, and meant to.

        :raises LoginRefusedError: if nobody is known
        :raises NotPermittedError: if the host does not allow it
        :raises ForgeryError: if it came by cookie and without our page's token
        """
        identity = await self.permitted(permission)
        if identity.via not in ("basic", "token"):
            self.check_forgery()
        # Nothing is changed by the others.
        changes = self.request.method not in SAFE
        administers = changes and await self.allows(identity, ADMINISTER)
        self.identity = replace(identity, administers=administers, ip=self.client_ip)
        if identity.via in ("basic", "token"):
            # There is no log-in before it, so requests count as one as long as they come.
            await noting.logged_in(self, identity.name, identity.via, "request")

    @property
    def client_ip(self) -> str:
        """The address that the request came from."""
        return str(self.request.remote_ip)

    async def permitted(self, permission: str) -> Identity:
        """Return who sends the request, which is not enough for a verb: see :meth:`authorize`.

        :raises LoginRefusedError: if nobody is known
        :raises ScopeError: if an API token has no scope for it
        :raises NotPermittedError: if the host does not allow it
        """
        try:
            identity = await self._identify()
            if identity is None:
                raise LoginRefusedError(HEADER_INVALID)
            if not await self.allows(identity, permission):
                if identity.scopes is not None and not in_scopes(permission, identity.scopes):
                    raise ScopeError(permission)
                raise NotPermittedError(N_("You are not an administrator."))
        except (LoginRefusedError, NotPermittedError) as error:
            await noting.refused(self, error)
            raise
        return identity

    async def _identify(self) -> Identity | None:
        key = key_in(self.request.headers.get("Authorization", ""))
        if key is not None:
            # Also where the host has a log-in of its own, which does not know them.
            ip = self.request.remote_ip
            try:
                return await self.dependencies.tokens.identify(key, ip or "")
            except LoginRefusedError:
                log_failure(ip)
                await self.dependencies.throttle.refuse_key(ip, sha256(key.encode()).digest())
                raise
        identity = self.dependencies.host.identify(self)
        # Asked in this order, for what may be awaited takes longer to tell.
        if not isinstance(identity, Identity) and inspect.isawaitable(identity):
            identity = await identity
        return identity

    async def allows(self, identity: Identity, permission: str) -> bool:
        """Tell whether somebody may do something: by the scopes of the token, if it was one, and as the host says."""
        if identity.scopes is not None and not in_scopes(permission, identity.scopes):
            return False
        for asked in enough(permission):
            allowed = self.dependencies.host.may(identity, asked)
            if not isinstance(allowed, bool) and inspect.isawaitable(allowed):
                allowed = await allowed
            if allowed is True:
                return True
        return False

    def needed(self) -> str:
        """Return the permission that the request needs."""
        return self.permissions[self.request.method or ""]

    def check_forgery(self) -> None:
        """Refuse an unsafe verb whose sender does not have our page's token.

        :raises ForgeryError: if the token is missing or wrong
        """
        if self.request.method in SAFE:
            return
        try:
            super().check_xsrf_cookie()
        except HTTPError:
            raise ForgeryError(
                N_("This form is out of date. Load the page again and repeat what you did.")
            ) from None

    @property
    def actor(self) -> Actor:
        """The caller, who is known once the verb runs, with what the request demands.

        :raises LoginRefusedError: before that
        """
        if self.identity is None:
            raise LoginRefusedError(HEADER_INVALID)
        return self.identity.on_terms(Terms(self.request_id, self.claim, self.wanted_versions()))

    def wanted_versions(self) -> tuple[str, ...] | None:
        """Return the versions of which a user must be one to be changed; ``None`` where any will do."""
        return None

    @property
    def parameters(self) -> Parameters:
        """The request's parameters."""
        if self._parameters is None:
            self._parameters = Parameters.of(self.request)
        return self._parameters

    async def wait_if_preferred(self, change: Change) -> None:
        """Wait for the hooks where the caller asks for it with ``Prefer: wait=N`` (RFC 7240, section 4.3)."""
        match = _WAIT.search(self.request.headers.get("Prefer", ""))
        if match:
            seconds = min(int(match[1]), _MAX_WAIT_SECONDS)
            self.set_header("Preference-Applied", f"wait={seconds}")
            await self.service.wait_for_hooks(change, seconds)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what we did not raise on purpose, without the query; the rest is the caller's to know."""
        if isinstance(value, MailUsersError):
            return
        path = harmless(self.request.path)
        if isinstance(value, HTTPError):
            _log.warning("%s %s: %s", self.request.method, path, value)
        else:
            _log.error("%s %s failed", self.request.method, path, exc_info=(typ, value, tb))

    @classmethod
    def allowed_verbs(cls) -> list[str]:
        """Return the verbs that this path answers (RFC 9110, section 10.2.1)."""
        return [verb.upper() for verb in _VERBS if getattr(cls, verb) is not getattr(RequestHandler, verb)]

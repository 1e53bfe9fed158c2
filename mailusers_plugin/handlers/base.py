"""What all handlers share: who may call, how errors are answered, which headers go out."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final, TypeVar

import jinja2
import orjson
from tornado.web import HTTPError, RequestHandler

from mailusers_plugin.auth.basic import HEADER_INVALID
from mailusers_plugin.errors import (
    HTTP_STATUS,
    ForgeryError,
    LoginRefusedError,
    MailUsersError,
    NotPermittedError,
    StorageError,
    UnavailableError,
)
from mailusers_plugin.first_run import FirstRun
from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.handlers.requests import Requests
from mailusers_plugin.host import Host
from mailusers_plugin.listing import Listing
from mailusers_plugin.models import Change, Identity
from mailusers_plugin.service import Service
from mailusers_plugin.settings import Settings

_log = logging.getLogger("mailusers_plugin.http")

READ: Final = "users:read"
WRITE: Final = "users:write"
PURGE: Final = "users:purge"

_VERBS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_MAX_WAIT_SECONDS: Final = 60
_WAIT: Final = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)

F = TypeVar("F", bound=Callable[..., Awaitable[None]])


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the handlers work with; each application has its own."""

    service: Service
    listing: Listing
    host: Host
    settings: Settings
    templates: jinja2.Environment
    first_run: FirstRun
    start: Callable[[], Awaitable[None]]
    requests: Requests
    has_own_login: bool


def requires(permission: str) -> Callable[[F], F]:
    """Let a verb be called only by somebody who has a permission.

    :param permission: what :meth:`mailusers_plugin.host.Host.may` is asked for
    """

    def decorate(method: F) -> F:
        @functools.wraps(method)
        async def checked(self: BaseHandler, *args: str, **kwargs: str) -> None:
            await self.authorize(permission)
            await method(self, *args, **kwargs)

        checked.mailusers_permission = permission  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def public(method: F) -> F:
    """Say that a verb may be called by anybody."""
    method.mailusers_permission = None  # type: ignore[attr-defined]
    return method


class BaseHandler(RequestHandler):
    """Base of all handlers. A verb without :func:`requires` or :func:`public` does not get past its definition."""

    default_content_type: ClassVar[str] = "text/plain; charset=utf-8"
    answers_during_set_up: ClassVar[bool] = False
    identity: Identity | None = None

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

    def set_default_headers(self) -> None:
        """Set what every answer has."""
        self.set_header("Content-Type", self.default_content_type)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "same-origin")

    def compute_etag(self) -> str | None:
        """Leave it out: nothing of this is to be kept."""
        return None

    def check_xsrf_cookie(self) -> None:
        """Do nothing yet: Tornado asks before it is known how the caller is authenticated."""

    async def prepare(self) -> None:
        """Make sure that events are being delivered, and answer nothing before the box has an administrator.

        :raises UnavailableError: if the set-up is still to be done
        """
        self.dependencies.requests.begin(self)
        await self.dependencies.start()
        first_run = self.dependencies.first_run
        if first_run.open and not self.answers_during_set_up:
            if not await self.service.has_administrator():
                raise UnavailableError(
                    "This box has no administrator yet. Open the set-up link that the server printed on its console."
                )
            # Somebody added one on the command line.
            first_run.finish()

    def on_finish(self) -> None:
        """Say that the request is done."""
        self.dependencies.requests.end(self)

    async def authorize(self, permission: str) -> None:
        """Refuse the request unless its sender is known, may do this, and meant to.

        :raises LoginRefusedError: if nobody is known
        :raises NotPermittedError: if the host does not allow it
        :raises ForgeryError: if it came by cookie and without our page's token
        """
        host = self.dependencies.host
        identity = host.identify(self)
        if inspect.isawaitable(identity):
            identity = await identity
        if identity is None:
            raise LoginRefusedError(HEADER_INVALID)
        allowed = host.may(identity, permission)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if allowed is not True:
            raise NotPermittedError("You are not an administrator.")
        self.check_origin()
        if identity.via not in ("basic", "token"):
            self.check_forgery()
        self.identity = identity

    def check_origin(self) -> None:
        """Refuse an unsafe verb that another site made a browser send.

        A browser that once asked for a Basic password sends it along with other sites' forms too, where no token is
        asked for. It says where a request comes from (https://www.w3.org/TR/fetch-metadata/); scripts say nothing.

        :raises ForgeryError: if it came from another site
        """
        origin = self.request.headers.get("Sec-Fetch-Site", "none")
        if self.request.method not in _SAFE and origin not in ("none", "same-origin"):
            raise ForgeryError("Another site sent this form. Load the page itself and repeat what you did.")

    def check_forgery(self) -> None:
        """Refuse an unsafe verb whose sender does not have our page's token.

        :raises ForgeryError: if the token is missing or wrong
        """
        if self.request.method in _SAFE:
            return
        try:
            super().check_xsrf_cookie()
        except HTTPError:
            raise ForgeryError(
                "This form is out of date. Load the page again and repeat what you did."
            ) from None

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

    def answer_text(self, text: str) -> None:
        """Answer with plain text."""
        self.finish(text)

    def answer_json(self, value: Any) -> None:
        """Answer with JSON; clients compare the content type, so it has no charset."""
        self.set_header("Content-Type", "application/json")
        self.finish(orjson.dumps(value) + b"\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error: ours by the table in errors.py, Tornado's by its status."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, MailUsersError):
            self._answer_error(error)
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.allowed_verbs()))
        self._say(status_code, HTTPStatus(status_code).phrase + ".", plain=self._wants_text())

    def _answer_error(self, error: MailUsersError) -> None:
        status = HTTP_STATUS[error.code]
        self.set_status(status)
        if isinstance(error, (LoginRefusedError, NotPermittedError)):
            self.refuse(error.message)
            return
        if isinstance(error, (UnavailableError, StorageError)):
            self.set_header("Retry-After", str(getattr(error, "retry_after_seconds", 30)))
            _log.warning("%s %s: %s", self.request.method, self.request.path, error)
        self._say(status, error.message, plain=self._wants_text())

    def refuse(self, reason: str) -> None:
        """Answer a caller who is not known or may not do this."""
        if self.request.headers.get("X-Requested-With") == "XMLHttpRequest":
            # A browser would put its own log-in box over the page's.
            status = HTTPStatus.FORBIDDEN
        else:
            status = HTTPStatus.UNAUTHORIZED
            self.set_header("WWW-Authenticate", f'Basic realm="{self.dependencies.settings.realm}"')
            self.set_header("X-Reason", reason)
        plain = self.request.headers.get("Accept", "") in ("", "*/*")
        self._say(status, reason, plain=plain, end="\n")

    def _say(self, status: int, reason: str, *, plain: bool, end: str = "") -> None:
        self.set_status(status)
        if plain:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(reason + end)
        else:
            self.answer_json({"status": "error", "reason": reason})

    def _wants_text(self) -> bool:
        return "application/json" not in self.request.headers.get("Accept", "")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what we did not raise on purpose; the rest is the caller's to know."""
        if not isinstance(value, MailUsersError):
            super().log_exception(typ, value, tb)

    @classmethod
    def allowed_verbs(cls) -> list[str]:
        """Return the verbs that this path answers (RFC 9110, section 10.2.1)."""
        return [verb.upper() for verb in _VERBS if getattr(cls, verb) is not getattr(RequestHandler, verb)]

"""Logging in and out with the default host: the API's way, the browser's way, and the very first time."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, Final

from mailusers_plugin.auth.authenticator import API, COOKIE, MISSING_TOTP, Authenticator
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import LoginRefusedError, MailUsersError, UnavailableError
from mailusers_plugin.first_run import FirstRun
from mailusers_plugin.handlers.base import BaseHandler, Dependencies, public
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.host import COOKIE_NAME
from mailusers_plugin.models import ADMIN, Account, Actor

_log = logging.getLogger("mailusers_plugin.auth")

_NO_SECOND_FACTOR: Final = (
    "This account has a second factor, which cannot be given here yet. Use another administrator's account."
)
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")
"""A path on this server. A browser takes ``//host`` and ``/\\host`` for another one."""


@dataclass(frozen=True, slots=True)
class LoginDependencies:
    """What these handlers need besides the others'."""

    authenticator: Authenticator
    first_run: FirstRun


class _SessionMixin(BaseHandler):
    """What logging in and out share."""

    def initialize(self, dependencies: Dependencies, login: LoginDependencies) -> None:  # type: ignore[override]
        """Take what the route's table hands over."""
        super().initialize(dependencies)
        self.login = login

    def log_failure(self) -> None:
        """Leave a line for programs that watch for guessing."""
        _log.warning("Failed login attempt from ip %s", self.request.remote_ip)

    async def begin_session(self, account: Account) -> None:
        """Give the browser a new session; the one that it had ends, so that nobody can plant one."""
        await self.end_cookie_session()
        key = await self.login.authenticator.open_session(account, COOKIE)
        self.set_cookie(
            COOKIE_NAME,
            key,
            path=self.dependencies.settings.prefix or "/",
            httponly=True,
            secure=self.request.protocol == "https",
            samesite="Lax",
        )

    async def end_cookie_session(self) -> None:
        """End the browser's session."""
        key = self.get_cookie(COOKIE_NAME)
        if key:
            await self.login.authenticator.end_session(key)
            self.clear_cookie(COOKIE_NAME, path=self.dependencies.settings.prefix or "/")


class LoginAPI(_SessionMixin):
    """``POST /login``: a session key for an address and a password."""

    @public
    async def post(self) -> None:
        """Answer with 200 whatever comes of it, as the clients expect."""
        try:
            email, password = parse_basic(self.request.headers.get("Authorization", ""))
            account = await self.login.authenticator.by_password(email, password)
        except LoginRefusedError as error:
            if error.message == MISSING_TOTP:
                status = MISSING_TOTP
            else:
                status = "invalid"
                self.log_failure()
            self.answer_json({"status": status, "reason": error.message})
            return
        key = await self.login.authenticator.open_session(account, API)
        self.answer_json(
            {"status": "ok", "email": account.email, "privileges": account.privileges, "api_key": key}
        )


class LogoutAPI(_SessionMixin):
    """``POST /logout``: ends the session that it is called with."""

    @public
    async def post(self) -> None:
        """Answer the same whether there was a session or not."""
        header = self.request.headers.get("Authorization")
        if header is not None:
            try:
                await self.login.authenticator.end_session_of_header(header)
            except LoginRefusedError:
                self.log_failure()
        elif self.get_cookie(COOKIE_NAME):
            self.check_forgery()
            await self.end_cookie_session()
        self.answer_json({"status": "ok"})


class _FormPage(_SessionMixin, PageHandler):
    """A page with one form, for somebody who is not logged in yet."""

    def way_back(self) -> str:
        """Return the local path to go to afterwards; anything else becomes the Users page."""
        wanted = self.parameters.text("next")
        return wanted if _LOCAL_PATH.fullmatch(wanted) else self.users_url()

    def show(self, template: str, **values: Any) -> None:
        """Show the form."""
        self.render_page(template, **{"error": "", "email": "", "next": self.way_back(), **values})


class LoginPage(_FormPage):
    """The log-in page."""

    @public
    async def get(self) -> None:
        """Show the form."""
        self.show("login.html")

    head = get

    @public
    async def post(self) -> None:
        """Log in, or say why not."""
        self.check_forgery()
        given = self.parameters
        try:
            account = await self.login.authenticator.by_password(
                given.text("email").strip(), given.text("password")
            )
            if ADMIN not in account.privileges:
                raise LoginRefusedError("You are not an administrator.")
        except (LoginRefusedError, UnavailableError) as error:
            self.log_failure()
            self.set_status(400)
            reason = _NO_SECOND_FACTOR if error.message == MISSING_TOTP else error.message
            self.show("login.html", error=reason, email=given.text("email"))
            return
        await self.begin_session(account)
        self.redirect(self.way_back(), status=303)


class LogoutPage(_FormPage):
    """Where the log-out button leads."""

    @public
    async def post(self) -> None:
        """End the session and show the log-in page."""
        self.check_forgery()
        await self.end_cookie_session()
        self.redirect(self.url("/mailusers/login"), status=303)


class SetupPage(_FormPage):
    """Asks for the first administrator; reached by the one-time link on the console."""

    answers_during_set_up = True

    @public
    async def get(self) -> None:
        """Show the form to whoever has the link."""
        self._check_link()
        self.show("setup.html", token=self.parameters.text("token"))

    head = get

    @public
    async def post(self) -> None:
        """Add the first administrator and log in."""
        self.check_forgery()
        self._check_link()
        given = self.parameters
        email, password = given.text("email").strip(), given.text("password")
        try:
            actor = Actor(None, "setup")
            await self.service.add(actor, email, password, (ADMIN,), first_administrator=True)
            account = await self.service.account(email)
        except MailUsersError as error:
            self.set_status(400)
            self.show("setup.html", error=error.message, email=email, token=given.text("token"))
            return
        self.login.first_run.finish()
        await self.begin_session(account)
        self.redirect(self.users_url(), status=303)

    def _check_link(self) -> None:
        if not self.login.first_run.allows(self.parameters.text("token")):
            raise LoginRefusedError(
                "That set-up link is not valid any more. The server prints a new one when it starts."
            )


API_ROUTES = [("/login", LoginAPI), ("/logout", LogoutAPI)]
PAGE_ROUTES = [
    ("/mailusers/login", LoginPage),
    ("/mailusers/logout", LogoutPage),
    ("/mailusers/setup", SetupPage),
]

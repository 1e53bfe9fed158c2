"""Logging in and out with the default host: the API's way, the browser's way, and the very first time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from mailusers_plugin.auth.authenticator import API, COOKIE, Authenticator, mark_login
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.auth.failures import log_failure
from mailusers_plugin.auth.half_logins import HalfLoginOverError
from mailusers_plugin.auth.second_factor import INVALID_TOTP, MISSING_TOTP
from mailusers_plugin.auth.session_cookie import COOKIE_NAME, SessionCookie
from mailusers_plugin.errors import (
    ForgeryError,
    LoginRefusedError,
    MailUsersError,
    ThrottledError,
    UnavailableError,
)
from mailusers_plugin.first_run import FirstRun
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.base import BaseHandler, Dependencies, public
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.models import ADMIN, Account, Actor, Terms
from mailusers_plugin.settings_browser import PAGE
from mailusers_plugin.texts import N_

_CODE_TEXTS: Final = {
    MISSING_TOTP: N_("Enter the code that your app shows."),
    INVALID_TOTP: N_("That code is wrong, or it was used already. Wait until the app shows a new one."),
}


@dataclass(frozen=True, slots=True)
class LoginDependencies:
    """What these handlers need besides the others'."""

    authenticator: Authenticator
    first_run: FirstRun
    cookie: SessionCookie


class SessionMixin(BaseHandler):
    """What logging in and out share."""

    def initialize(self, dependencies: Dependencies, login: LoginDependencies) -> None:  # type: ignore[override]
        """Take what the route's table hands over."""
        super().initialize(dependencies)
        self.login = login

    def log_failure(self) -> None:
        """Leave a line for programs that watch for guessing."""
        log_failure(self.request.remote_ip)

    async def open_session(self, account: Account, kind: str) -> str:
        """Begin a session for whoever sends this request."""
        agent = self.request.headers.get("User-Agent", "")
        return await self.login.authenticator.open_session(
            account, kind, ip=self.request.remote_ip, agent=agent
        )

    async def begin_session(self, account: Account) -> None:
        """Give the browser a new session; the one that it had ends, so that nobody can plant one."""
        await self.end_cookie_session()
        key = await self.open_session(account, COOKIE)
        await noting.logged_in(self, account.email, "cookie", "page")
        cookie, protocol = self.login.cookie, self.request.protocol
        self.set_cookie(cookie.name(protocol), key, **cookie.attributes(protocol))

    @property
    def cookie_key(self) -> str:
        """The session key that the browser sent, empty where there is none."""
        return self.get_cookie(self.login.cookie.name(self.request.protocol)) or ""

    async def end_cookie_session(self) -> None:
        """End the browser's session."""
        cookie, protocol = self.login.cookie, self.request.protocol
        if self.cookie_key:
            whose = await self.login.authenticator.end_session(self.cookie_key)
            await noting.logged_out(self, whose, "cookie")
            self.clear_cookie(cookie.name(protocol), **cookie.attributes(protocol))
        if cookie.name(protocol) != COOKIE_NAME and self.get_cookie(COOKIE_NAME):
            # One of before there was TLS, or planted: it counts for nothing, and goes.
            self.clear_cookie(COOKIE_NAME, path=self.dependencies.settings.prefix or "/")

    def forget_pages(self) -> None:
        """Let the browser forget the pages that it still has, so that "back" shows none of them.

        Not its cookies and what else it stores: they are of other parts of the panel too.
        """
        self.set_header("Clear-Site-Data", '"cache"')


class LoginAPI(SessionMixin):
    """``POST /login``: a session key for an address and a password."""

    @public
    async def post(self) -> None:
        """Answer with 200 whatever comes of it, as the clients expect."""
        try:
            email, password = parse_basic(self.request.headers.get("Authorization", ""))
            code = self.request.headers.get("X-Auth-Token", "")
            account = await self.login.authenticator.by_password(
                email, password, code, ip=self.request.remote_ip
            )
        except (LoginRefusedError, ThrottledError) as error:
            self.say_when_to_retry(error)
            if error.message == MISSING_TOTP:
                status = MISSING_TOTP
            else:
                status = "invalid"
                self.log_failure()
                await noting.refused(self, error)
            self.answer_json({"status": status, "reason": error.message})
            return
        key = await self.open_session(account, API)
        await noting.logged_in(self, account.email, "basic", "api")
        self.answer_json(
            {"status": "ok", "email": account.email, "privileges": account.privileges, "api_key": key}
        )


class LogoutAPI(SessionMixin):
    """``POST /logout``: ends the session that it is called with."""

    @public
    async def post(self) -> None:
        """Answer the same whether there was a session or not."""
        header = self.request.headers.get("Authorization")
        if header is not None:
            try:
                email = await self.login.authenticator.end_session_of_header(header)
                await noting.logged_out(self, email, "basic")
            except LoginRefusedError as error:
                self.log_failure()
                await noting.refused(self, error)
        elif self.cookie_key:
            self.check_forgery()
            await self.end_cookie_session()
            self.forget_pages()
        self.answer_json({"status": "ok"})


class _FormPage(SessionMixin, PageHandler):
    """A page with one form, for somebody who is not logged in yet."""

    def show(self, template: str, **values: Any) -> None:
        """Show the form."""
        self.render_page(
            template, **{"error": "", "email": "", "half": "", "next": self.way_back(), **values}
        )


class LoginPage(_FormPage):
    """The log-in page."""

    @public
    async def get(self) -> None:
        """Show the form, as a dialog where a script asks for it."""
        self.show("_login_dialog.html" if self.is_partial else "login.html")

    head = get

    @public
    async def post(self) -> None:
        """Log in, or say why not."""
        given = self.parameters
        try:
            self.check_forgery()
        except ForgeryError as error:
            if not self.is_partial:
                raise
            # The dialog stays, and has a token that is good now.
            self.set_status_of(error)
            error_text = self.gettext("This form was out of date. Send it once more.")
            self._show_again(error_text, given.text("email"), given.text("half"))
            return
        half = given.text("half")
        try:
            account = await (self._second_step(half) if half else self._first_step())
        except (LoginRefusedError, UnavailableError) as error:
            is_guess = isinstance(error, (LoginRefusedError, ThrottledError))
            if is_guess and error.message != MISSING_TOTP and not isinstance(error, HalfLoginOverError):
                self.log_failure()
                await noting.refused(self, error, given.text("email").strip())
            if isinstance(error, LoginRefusedError):
                self.set_status(400)
            else:
                self.set_status_of(error)
            reason = _CODE_TEXTS.get(error.message)
            text = self.gettext(reason) if reason else self.error_text(error)
            is_over = isinstance(error, HalfLoginOverError)
            self._show_again(text, given.text("email"), "" if is_over else half)
            return
        if not half and account.factors_mark:
            # Told to whoever has the password: that, too, is Mail-in-a-Box's contract.
            half = await self.login.authenticator.half_logins.begin(account.email, mark_login(account))
            self._show_again("", account.email, half)
            return
        await self.begin_session(account)
        if self.is_partial:
            self.set_header("HX-Retarget", "#mu-login")
            self.set_header("HX-Reswap", "delete")
            self.set_header("HX-Trigger", json.dumps({"mailusers:logged-in": {"target": "body"}}))
            self.render_partial("_logged_in.html")
            return
        self.redirect(self.way_back(), status=303)

    async def _first_step(self) -> Account:
        given = self.parameters
        email, password = given.text("email").strip(), given.text("password")
        return _administrator(
            await self.login.authenticator.check_password(email, password, ip=self.request.remote_ip)
        )

    async def _second_step(self, half: str) -> Account:
        code = self.parameters.text("recovery").strip() or self.parameters.text("code")
        account = await self.login.authenticator.finish_half_login(half, code, ip=self.request.remote_ip)
        return _administrator(account)

    def _show_again(self, error: str, email: str, half: str) -> None:
        """Show the form, as a dialog where a script asks for it.

        :param half: the key of a log-in that lacks the code, empty where the password is asked for
        """
        if self.is_partial:
            self.set_header("HX-Retarget", "#mu-login")
        template = "_login_dialog.html" if self.is_partial else "login.html"
        self.show(template, error=error, email=email, half=half)


def _administrator(account: Account) -> Account:
    if ADMIN not in account.privileges:
        raise LoginRefusedError(N_("You are not an administrator."))
    return account


class LogoutPage(_FormPage):
    """Where the log-out button leads."""

    @public
    async def post(self) -> None:
        """End the session and show the log-in page."""
        self.check_forgery()
        await self.end_cookie_session()
        self.forget_pages()
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
            actor = Actor(None, "setup", ip=self.client_ip, terms=Terms(self.request_id))
            await self.service.add(actor, email, password, (ADMIN,), first_administrator=True, place=PAGE)
            account = await self.service.account(email)
        except MailUsersError as error:
            self.set_status_of(error)
            self.show("setup.html", error=self.error_text(error), email=email, token=given.text("token"))
            return
        self.login.first_run.finish()
        await self.begin_session(account)
        self.redirect(self.users_url(), status=303)

    def _check_link(self) -> None:
        if not self.login.first_run.allows(self.parameters.text("token")):
            raise LoginRefusedError(
                N_("That set-up link is not valid any more. The server prints a new one when it starts.")
            )


API_ROUTES = [("/login", LoginAPI), ("/logout", LogoutAPI)]
PAGE_ROUTES = [
    ("/mailusers/login", LoginPage),
    ("/mailusers/logout", LogoutPage),
    ("/mailusers/setup", SetupPage),
]

"""What the pages share: templates, addresses of other pages, where to log in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jinja2

from mailusers_plugin.auth.basic import HEADER_INVALID
from mailusers_plugin.errors import HTTP_STATUS, LoginRefusedError, MailUsersError
from mailusers_plugin.handlers.page_errors import LOCAL_PATH, answer_part, login_url
from mailusers_plugin.handlers.page_messages import done_message
from mailusers_plugin.handlers.page_rows import quota_of
from mailusers_plugin.handlers.reader import ReaderHandler
from mailusers_plugin.handlers.static import static_path
from mailusers_plugin.models import Entry, Identity
from mailusers_plugin.permissions import AUDIT, PUBLIC, TOKENS, WRITE


class PageHandler(ReaderHandler):
    """Base of the handlers that answer with HTML."""

    default_content_type: ClassVar[str] = "text/html; charset=utf-8"
    may_tokens = False
    may_write = False
    sees_trail = False
    """Whether the caller may read the audit trail, so that no page leads there in vain."""

    async def authorize(self, permission: str) -> None:
        """Refuse the request as :meth:`BaseHandler.authorize` does; then it is known what a page may offer."""
        await super().authorize(permission)
        self.may_tokens = await self.may(TOKENS)
        self.may_write = await self.may(WRITE)
        self.sees_trail = await self.may(AUDIT)

    def url(self, path: str) -> str:
        """Return the path of a route of ours.

        :param path: behind the prefix
        """
        return self.dependencies.settings.prefix + path

    def users_url(self) -> str:
        """Return the path of the Users page."""
        return self.url("/users")

    def here(self) -> str:
        """Return the path of this page for coming back, that of the Users page where this one was only sent to."""
        shown = self.request.method == "GET" and self.request.uri
        return shown or self.users_url()

    def way_back(self) -> str:
        """Return the local path to go to afterwards, given as ``next``; anything else becomes the Users page."""
        wanted = self.parameters.text("next")
        return wanted if LOCAL_PATH.fullmatch(wanted) else self.users_url()

    @property
    def caller(self) -> Identity:
        """Who sends the request, who is known once the verb runs.

        :raises LoginRefusedError: before that
        """
        if self.identity is None:
            raise LoginRefusedError(HEADER_INVALID)
        return self.identity

    async def may(self, permission: str) -> bool:
        """Tell whether the caller may do something, so that nothing is offered in vain."""
        return self.identity is not None and await self.allows(self.identity, permission)

    @property
    def is_partial(self) -> bool:
        """Tell whether a script on the page asks, and so wants a part of it only."""
        return self.request.headers.get("HX-Request") == "true"

    @property
    def is_background(self) -> bool:
        """Tell whether a script asks by itself, while the reader may be typing: no answer may take the focus away."""
        return self.is_partial and self.request.headers.get("Mailusers-Background") == "true"

    def aside(self, error: MailUsersError | None, message: str) -> dict[str, Any]:
        """Return what is said where a script asked by itself and something was wrong.

        :param error: ``None`` where it is none of ours
        :param message: what it says, in the reader's language
        """
        is_over = isinstance(error, LoginRefusedError)
        if is_over:
            message = self.gettext(
                "Your session has ended, so that this page is not kept up to date any more."
            )
        return {"message": message, "with_login": is_over}

    def set_default_headers(self) -> None:
        """Set what every answer has; one address has the whole page and parts of it."""
        super().set_default_headers()
        self.set_header("Vary", "HX-Request")

    def done_text(self, code: str, email: str, entry: Entry | None) -> str:
        """Return what to say after an action, in the reader's language, empty where it cannot be true.

        :param code: one of :data:`mailusers_plugin.handlers.page_messages.MESSAGES`
        :param email: of the user that it was done to
        :param entry: its line as it is now
        """
        text = done_message(code, email, entry)
        quota = quota_of(entry.quota) if entry else None
        shown = "" if quota is None else quota.text or self.language.filesize(quota.limit)
        if quota and quota.limit == 0:
            shown = self.gettext("unlimited")
        return self.gettext(text, email=email, quota=shown) if text else ""

    def render_partial(self, template: str, **values: Any) -> None:
        """Answer a script with a part of the page.

        :param template: its name below ``mailusers/``; it does not extend the base template
        :param values: what it shows
        """
        self.render_page(template, **values)

    def render_page(self, template: str, **values: Any) -> None:
        """Answer with a template.

        :param template: its name below ``mailusers/``
        :param values: what it shows
        """
        self.finish(self._page(template).render(**self._common_values(), **values))

    async def render_page_aside(self, template: str, values: Callable[[], Mapping[str, Any]]) -> None:
        """Answer with a template that is long enough to be put together outside the event loop.

        :param template: its name below ``mailusers/``
        :param values: returns what it shows; called outside the event loop too
        """
        page, common = self._page(template), self._common_values()
        self.finish(await asyncio.to_thread(lambda: page.render(**common, **values())))

    def _page(self, template: str) -> jinja2.Template:
        self.set_page_headers(self.dependencies.settings)
        self.set_language_headers()
        # Templates autoescape; a host's own loader may bring its base template in between.
        return self.dependencies.templates.get(f"mailusers/{template}", self.language)

    def _common_values(self) -> dict[str, Any]:
        settings = self.dependencies.settings
        by_cookie = self.identity is not None and self.identity.via == "cookie"
        can_log_out = by_cookie and self.dependencies.has_own_login
        return {
            "base_template": settings.base_template,
            "prefix": settings.prefix,
            "url": self.url,
            "static": lambda name: self.url(static_path(name)),
            "identity": self.identity,
            "sees_trail": self.sees_trail,
            "logout_url": self.url("/mailusers/logout") if can_log_out else "",
            "languages": () if self.has_fixed_language else self.dependencies.languages.all,
            "here": self.here(),
            "has_own_login": self.dependencies.has_own_login,
            "login_url": lambda: login_url(self),
            "xsrf_token": self._token(),
            "handler": self,
            "request": self.request,
        }

    def _token(self) -> str:
        """Return the token for forms; a script writes it into those that are on the page already.

        There is none in the refusal of what a script asked by itself: several of these come at a time, and with each
        the browser would get another token.
        """
        if self.is_background and self.get_status() >= 400:
            return ""
        token = self.xsrf_token.decode("ascii")
        if self.is_partial:
            self.set_header("X-XSRFToken", token)
        return token

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send a browser that is not logged in to the log-in page; show other errors as a page."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        by_hand = "Authorization" in self.request.headers
        if self.is_partial and not by_hand:
            answer_part(self, error if isinstance(error, MailUsersError) else None, status_code)
            return
        if isinstance(error, LoginRefusedError) and not by_hand and self._can_log_in():
            self.redirect(login_url(self), status=303)
            return
        if "text/html" not in self.request.headers.get("Accept", ""):
            super().write_error(status_code, **kwargs)
            return
        status = HTTP_STATUS[error.code] if isinstance(error, MailUsersError) else status_code
        message = self.error_text(error) if isinstance(error, MailUsersError) else self.status_text(status)
        self.set_status(403 if status == 401 else status)
        self.say_when_to_retry(error)
        self.set_header("Content-Type", self.default_content_type)
        if status == 405:
            self.set_header("Allow", ", ".join(self.allowed_verbs()))
        leads_elsewhere = self.request.path != self.users_url()
        self.render_page("error.html", message=message, status=status, leads_elsewhere=leads_elsewhere)

    def _can_log_in(self) -> bool:
        is_public = self.permissions.get(self.request.method or "") == PUBLIC
        return self.request.path != self.dependencies.host.login_url and not is_public

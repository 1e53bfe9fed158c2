"""What the pages share: templates, addresses of other pages, where to log in."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import jinja2

from mailusers_plugin.auth.basic import HEADER_INVALID
from mailusers_plugin.errors import HTTP_STATUS, LoginRefusedError, MailUsersError
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.handlers.static import static_path
from mailusers_plugin.models import Identity


class PageHandler(BaseHandler):
    """Base of the handlers that answer with HTML."""

    default_content_type: ClassVar[str] = "text/html; charset=utf-8"

    def url(self, path: str) -> str:
        """Return the path of a route of ours.

        :param path: behind the prefix
        """
        return self.dependencies.settings.prefix + path

    def users_url(self) -> str:
        """Return the path of the Users page."""
        return self.url("/users")

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
        if self.identity is None:
            return False
        allowed = self.dependencies.host.may(self.identity, permission)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        return allowed is True

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
        self.set_header("Content-Security-Policy", self.dependencies.settings.content_security_policy)
        # Templates autoescape; a host's own loader may bring its base template in between.
        return self.dependencies.templates.get_template(f"mailusers/{template}")

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
            "logout_url": self.url("/mailusers/logout") if can_log_out else "",
            "xsrf_token": self.xsrf_token.decode("ascii"),
            "handler": self,
            "request": self.request,
        }

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send a browser that is not logged in to the log-in page; show other errors as a page."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        by_hand = "Authorization" in self.request.headers
        if isinstance(error, LoginRefusedError) and not by_hand and self._can_log_in():
            login_url = self.dependencies.host.login_url
            joint = "&" if "?" in login_url else "?"
            way_back = self.request.uri if self.request.method == "GET" else self.users_url()
            self.redirect(f"{login_url}{joint}next={quote(way_back or '', safe='')}", status=303)
            return
        if "text/html" not in self.request.headers.get("Accept", ""):
            super().write_error(status_code, **kwargs)
            return
        status = HTTP_STATUS[error.code] if isinstance(error, MailUsersError) else status_code
        message = error.message if isinstance(error, MailUsersError) else f"{self._reason}."
        self.set_status(403 if status == 401 else status)
        self.set_header("Content-Type", self.default_content_type)
        if status == 405:
            self.set_header("Allow", ", ".join(self.allowed_verbs()))
        self.render_page("error.html", message=message, status=status)

    def _can_log_in(self) -> bool:
        return (
            self.request.path != self.dependencies.host.login_url and "/mailusers/" not in self.request.path
        )

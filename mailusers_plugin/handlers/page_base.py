"""What the pages share: templates, addresses of other pages, where to log in."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from mailusers_plugin.errors import HTTP_STATUS, LoginRefusedError, MailUsersError
from mailusers_plugin.handlers.base import BaseHandler


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

    def render_page(self, template: str, **values: Any) -> None:
        """Answer with a template.

        :param template: its name below ``mailusers/``
        :param values: what it shows
        """
        settings = self.dependencies.settings
        # Templates autoescape; a host's own loader may bring its base template in between.
        page = self.dependencies.templates.get_template(f"mailusers/{template}")
        self.set_header("Content-Security-Policy", settings.content_security_policy)
        self.finish(
            page.render(
                base_template=settings.base_template,
                prefix=settings.prefix,
                url=self.url,
                static=lambda name: self.url(f"/mailusers/static/{name}"),
                identity=self.identity,
                xsrf_token=self.xsrf_token.decode("ascii"),
                handler=self,
                request=self.request,
                **values,
            )
        )

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
        return self.request.path != self.dependencies.host.login_url and "/mailusers/" not in self.request.path

"""What the plugin needs of the panel that it is installed into, and the host that it brings itself."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from mailusers_plugin.auth.authenticator import Authenticator
from mailusers_plugin.auth.failures import log_failure
from mailusers_plugin.auth.second_factor import MISSING_TOTP
from mailusers_plugin.auth.session_cookie import SessionCookie
from mailusers_plugin.errors import LoginRefusedError, ThrottledError
from mailusers_plugin.models import ADMIN, Identity

if TYPE_CHECKING:
    from tornado.web import RequestHandler

__all__ = ["DefaultHost", "Host", "Identity"]


class Host(Protocol):
    """Who calls, what they may do, where they log in. Whatever is not allowed here is refused.

    A host that knows its readers' languages has one more method, which is asked for by name and may be missing:
    ``locale(handler) -> str | None``, or an awaitable of it. It returns a tag such as ``de`` or ``pt_BR``, ``None``
    where it does not know.
    """

    @property
    def login_url(self) -> str:
        """Where the page sends a browser that is not logged in; ``?next=`` and the way back are added."""
        ...

    def identify(self, handler: RequestHandler) -> Identity | Awaitable[Identity | None] | None:
        """Say who sends a request.

        :param handler: the request is ``handler.request``; ``handler.get_signed_cookie`` and the like work
        :returns: ``None`` for nobody
        :raises mailusers_plugin.errors.LoginRefusedError: to give a reason for refusing
        """
        ...

    def may(self, identity: Identity, permission: str) -> bool | Awaitable[bool]:
        """Say whether somebody may do something.

        :param identity: from :meth:`identify`
        :param permission: ``users:read``, ``users:write``, ``users:purge`` or ``events:read``
        """
        ...


class DefaultHost:
    """Mail users with the ``admin`` privilege, by password, session key, cookie or system API key."""

    def __init__(self, authenticator: Authenticator, login_url: str, cookie: SessionCookie) -> None:
        """Take what checks the credentials.

        :param login_url: of the log-in page
        :param cookie: in which a browser keeps its session
        """
        self.authenticator = authenticator
        self.login_url = login_url
        self.cookie = cookie

    async def identify(self, handler: RequestHandler) -> Identity | None:
        """Identify by the ``Authorization`` header where there is one, else by the cookie.

        A header that is wrong is refused even where a cookie is right: the header says who wants to act.

        :raises LoginRefusedError: with the contract's reason
        :raises ThrottledError: if too many log-ins have failed
        """
        header = handler.request.headers.get("Authorization")
        if header is not None:
            ip = handler.request.remote_ip
            code = handler.request.headers.get("X-Auth-Token", "")
            try:
                return await self.authenticator.by_header(header, code, ip=ip)
            except (LoginRefusedError, ThrottledError) as error:
                if error.message != MISSING_TOTP:
                    log_failure(ip)
                raise
        key = handler.get_cookie(self.cookie.name(handler.request.protocol))
        return await self.authenticator.by_cookie(key) if key else None

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow everything to administrators and nothing to others."""
        return ADMIN in identity.privileges

"""What the plugin needs of the panel that it is installed into, and the host that it brings itself."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from mailusers_plugin.auth.authenticator import Authenticator
from mailusers_plugin.models import ADMIN, Identity

if TYPE_CHECKING:
    from tornado.web import RequestHandler

__all__ = ["DefaultHost", "Host", "Identity"]

COOKIE_NAME = "mailusers_session"


class Host(Protocol):
    """Who calls, what they may do, where they log in. Whatever is not allowed here is refused."""

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
        :param permission: ``users:read``, ``users:write`` or ``users:purge``
        """
        ...


class DefaultHost:
    """Mail users with the ``admin`` privilege, by password, session key, cookie or system API key."""

    def __init__(self, authenticator: Authenticator, login_url: str) -> None:
        """Take what checks the credentials.

        :param login_url: of the log-in page
        """
        self.authenticator = authenticator
        self.login_url = login_url

    async def identify(self, handler: RequestHandler) -> Identity | None:
        """Identify by the ``Authorization`` header where there is one, else by the cookie.

        A header that is wrong is refused even where a cookie is right: the header says who wants to act.

        :raises LoginRefusedError: with the contract's reason
        """
        header = handler.request.headers.get("Authorization")
        if header is not None:
            return await self.authenticator.by_header(header)
        key = handler.get_cookie(COOKIE_NAME)
        return await self.authenticator.by_cookie(key) if key else None

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow everything to administrators and nothing to others."""
        return ADMIN in identity.privileges

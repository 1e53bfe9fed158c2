"""The browser's session cookie: under which name it is given and taken, and with which attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

COOKIE_NAME: Final = "mailusers_session"
"""Its name over plain http, which is for this machine."""


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The cookie of one box.

    Over TLS its name begins with ``__Host-``: a browser takes such a cookie only by TLS, from the very host and for all
    of its paths, so that neither a sibling of the domain nor somebody in the network can plant one
    (https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html#name-the-__host-prefix). The path then keeps
    boxes below two prefixes of one host apart no more, so the name does. Over plain http browsers refuse such a name.

    :ivar prefix: the setting
    :ivar is_https: tells whether a request with a protocol came by TLS
    """

    prefix: str
    is_https: Callable[[str], bool]

    def name(self, protocol: str) -> str:
        """Return the name under which the cookie is given and taken, and no other.

        :param protocol: of the request, as the server saw it
        """
        if not self.is_https(protocol):
            return COOKIE_NAME
        place = self.prefix.removeprefix("/")
        return f"__Host-{COOKIE_NAME}" + (f".{quote(place, safe='')}" if place else "")

    def path(self, protocol: str) -> str:
        """Return its path; parameters as of :meth:`name`."""
        return "/" if self.is_https(protocol) else self.prefix or "/"

    def attributes(self, protocol: str) -> dict[str, Any]:
        """Return its attributes; parameters as of :meth:`name`."""
        secure = self.is_https(protocol)
        return {"path": self.path(protocol), "httponly": True, "secure": secure, "samesite": "Lax"}

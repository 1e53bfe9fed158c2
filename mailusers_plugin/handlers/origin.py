"""Where a request that changes something comes from: the page itself, a program, or another site.

The token of the forms says that our page made a request. This is the second lock, for every unsafe verb, logged in or
not, and by whatever credential: the browser itself says what a page cannot make it say otherwise.

1. ``Sec-Fetch-Site`` (https://www.w3.org/TR/fetch-metadata/), which browsers send to https and to this machine:
   anything but ``same-origin`` and ``none``, which is the reader's own doing, is refused.
2. ``Origin``: must be ours. Where the browser says ``same-origin`` and ``public_url`` is not set it is not compared: a
   proxy may have changed host and scheme, and the browser has compared them already.
3. ``Referer``, where a browser sent neither: must be ours if it is there.

Nothing of these is a program, such as ``curl``.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Final
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from mailusers_plugin.errors import ForeignOriginError
from mailusers_plugin.settings import Settings

_log = logging.getLogger("mailusers_plugin.http")

SAFE: Final = ("GET", "HEAD", "OPTIONS")
_PORTS: Final = {"http": 80, "https": 443}

Place = tuple[str, str, int]


def check_origin(request: HTTPServerRequest, settings: Settings) -> None:
    """Refuse an unsafe verb that another site made a browser send.

    :raises ForeignOriginError: if it came from another site
    """
    if request.method in SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site not in (None, "none", "same-origin"):
        raise ForeignOriginError
    if site == "same-origin" and (origin in (None, "null") or not settings.public_url):
        return
    claimed = request.headers.get("Referer") if origin is None and site is None else origin
    if claimed is None:
        return
    if _place(claimed) not in _own(request, settings):
        _log.warning(
            "A request of a browser was refused, for it came from %a and the panel takes itself for %a. Where they "
            "are the same, set public_url.",
            claimed[:200],
            settings.public_url or f"{request.protocol}://{request.host}"[:200],
        )
        raise ForeignOriginError


def _own(request: HTTPServerRequest, settings: Settings) -> set[Place | None]:
    """Return where our pages can come from; an https page may have come through a proxy that hides it."""
    names = {f"{scheme}://{request.host}" for scheme in (request.protocol, "https")}
    if settings.public_url:
        # By that name, or past the proxy from this machine; no other name that somebody lets lead here.
        names = {name for name in names if _is_number(name)} | {settings.public_url}
    return {place for name in names if (place := _place(name)) is not None}


def _place(url: str) -> Place | None:
    """Return scheme, host and port of an address, ``None`` where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _is_number(url: str) -> bool:
    place = _place(url)
    if place is None:
        return False
    if place[1] == "localhost":
        return True
    try:
        ipaddress.ip_address(place[1])
    except ValueError:
        return False
    return True

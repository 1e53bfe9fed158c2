"""What proxies say of a request: whose it is, and whether it came over TLS."""

from __future__ import annotations

import logging
from typing import Final

from tornado.httputil import HTTPServerRequest

from mailusers_plugin.client_address import Proxies

_log = logging.getLogger("mailusers_plugin.http")
_SCHEMES: Final = ("http", "https")


def believe_proxies(request: HTTPServerRequest, proxies: Proxies) -> None:
    """Write the client's address and scheme into a request, where a proxy that is believed has sent it.

    Doing so twice changes nothing. Where the panel's server was made with ``xheaders=True`` Tornado has done the same
    in its own way before, and the address that it found is taken for the peer's here.

    :param proxies: those that are believed
    """
    peer = request.remote_ip or ""
    forwarded_for = request.headers.get("X-Forwarded-For", "")
    if not proxies.trusts(peer):
        if forwarded_for and proxies.is_news(peer):
            # Without a word every caller behind it would be throttled together.
            _log.warning(
                "A request from %s had X-Forwarded-For, which is not believed. If that is your proxy, set "
                "trusted_proxies.",
                ascii(peer)[1:-1],
            )
        return
    request.remote_ip = proxies.client(peer, forwarded_for)
    scheme = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    if scheme in _SCHEMES:
        request.protocol = scheme

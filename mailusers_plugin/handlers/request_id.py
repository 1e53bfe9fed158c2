"""The id of a request: the proxy's, where there is one that is to be believed, else our own."""

from __future__ import annotations

from tornado.httputil import HTTPServerRequest

from mailusers_plugin.request_log import new_id, well_formed

HEADER = "X-Request-Id"


def id_of(request: HTTPServerRequest, *, trusted: bool) -> str:
    """Return the id that a request has from a proxy, or a new one.

    :param trusted: whether whoever sends it may choose
    """
    given = well_formed(request.headers.get(HEADER)) if trusted else None
    return given or new_id()

"""The ``Authorization`` header."""

from __future__ import annotations

import base64
import binascii

from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.texts import N_

HEADER_INVALID = N_("Authorization header invalid.")
REFUSED = N_("Incorrect email address or password.")
"""Also for an unknown or archived user."""


def parse_basic(header: str) -> tuple[str, str]:
    """Return user name and password of a Basic header, in UTF-8 (RFC 7617).

    :param header: the header's value
    :raises LoginRefusedError: if it is missing, of another kind, or damaged
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise LoginRefusedError(HEADER_INVALID)
    try:
        name, separator, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise LoginRefusedError(HEADER_INVALID) from None
    if not name or not separator:
        raise LoginRefusedError(HEADER_INVALID)
    return name, password

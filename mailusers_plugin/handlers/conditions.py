"""What a request makes a change depend on: ``If-Match`` (RFC 9110, section 13.1.1)."""

from __future__ import annotations

import re
from typing import Final

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_
from mailusers_plugin.user_versions import ANY

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


def if_match(header: str | None) -> tuple[str, ...] | None:
    """Return the versions that a header names, ``None`` where there is none.

    A weak tag matches nothing, as that section wants it.

    :raises InvalidInputError: if it is not a list of tags
    """
    if header is None:
        return None
    if header.strip() == ANY:
        return (ANY,)
    found: list[str] = []
    position = 0
    while position < max(len(header), 1):
        match = _TAG.match(header, position)
        if match is None:
            raise InvalidInputError(
                N_("If-Match must be * or the ETag of a user as it was sent, with its quotation marks.")
            )
        if match[1] is None:
            found.append(match[2])
        position = match.end()
    return tuple(found)

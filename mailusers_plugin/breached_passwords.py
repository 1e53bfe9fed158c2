"""Asks a service whether a password is known from data breaches, without telling it the password.

The range API of Pwned Passwords (https://haveibeenpwned.com/API/v3#PwnedPasswords), or a mirror of it: it gets the
first five of the forty digits of the password's SHA-1, answers with all that begin so, and what is looked for is
compared here (k-anonymity). With ``Add-Padding`` the answers are all about equally long, so that their length tells
nothing either.
"""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Final

from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.texts import N_

_log = logging.getLogger("mailusers_plugin")

_PREFIX_DIGITS: Final = 5
_MAX_BYTES: Final = 1024 * 1024
"""An answer has some 40 KB: 800 to 1000 lines of 35 digits and a number."""
_LINE: Final = re.compile(rb"([0-9A-F]{35}):([0-9]{1,12})", re.IGNORECASE)
_RETRY_SECONDS: Final = 30


class BreachedPasswords:
    """Asks one service, and nobody else: redirects are not followed."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """Take where it is.

        :param url: what the digits are put behind
        :param timeout_seconds: how long an answer may take, all in all
        """
        self._url = url
        self._timeout_seconds = timeout_seconds

    async def knows(self, password: str) -> bool:
        """Tell whether a password is known.

        :raises UnavailableError: if the service does not answer, or not in its way
        """
        digest = (
            hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()
        )
        prefix, rest = digest[:_PREFIX_DIGITS], digest[_PREFIX_DIGITS:].encode("ascii")
        found = False
        for line in (await self._ask(prefix)).splitlines():
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise self._away("a line of its answer is none of this service")
            # A count of nought is padding.
            found = found or (match[1].upper() == rest and int(match[2]) > 0)
        return found

    async def _ask(self, prefix: str) -> bytes:
        request = HTTPRequest(
            self._url + prefix,
            headers={"Add-Padding": "true", "User-Agent": "mailusers_plugin", "Accept": "text/plain"},
            connect_timeout=self._timeout_seconds,
            # From the beginning to the end of the answer.
            request_timeout=self._timeout_seconds,
            follow_redirects=False,
            # Of something small that becomes large there would be no end.
            decompress_response=False,
        )
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=_MAX_BYTES)
        try:
            response = await client.fetch(request)
        except Exception as error:
            # Of all that a network can do wrong.
            raise self._away(str(error)) from None
        finally:
            client.close()
        if response.code != 200 or not response.body:
            raise self._away(f"it answered {response.code} and {len(response.body)} bytes")
        return response.body

    @staticmethod
    def _away(reason: str) -> UnavailableError:
        _log.warning("The service that knows breached passwords could not be asked: %a", reason[:200])
        return UnavailableError(
            N_(
                "Whether this password is known from a data breach cannot be asked at the moment. Try again later."
            ),
            _RETRY_SECONDS,
        )

"""The one-time link with which a new box gets its first administrator."""

from __future__ import annotations

import hmac
import secrets


class FirstRun:
    """Open while there is no administrator, if the panel opened it; closed for ever afterwards.

    The token lives in memory only: a restart makes a new one.
    """

    def __init__(self) -> None:
        """Begin closed."""
        self._token: str | None = None

    @property
    def open(self) -> bool:
        """Tell whether the set-up is still to be done."""
        return self._token is not None

    def begin(self) -> str:
        """Open it.

        :returns: the token for the link
        """
        self._token = self._token or secrets.token_urlsafe(24)
        return self._token

    def allows(self, token: str) -> bool:
        """Tell whether a token is the one that was printed."""
        return self._token is not None and hmac.compare_digest(self._token.encode(), token.encode())

    def finish(self) -> None:
        """Close it."""
        self._token = None

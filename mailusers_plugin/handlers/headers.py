"""What browsers are told with every answer, whatever it is: an error, a part of a page, a file, a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tornado.web import RequestHandler

from mailusers_plugin.settings import Settings

_UNUSED: Final = (
    *(
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
    ),
    *("payment", "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking"),
)
"""What no page of ours does with a browser. What browsers do not know yet, or no more, they would complain of."""

EVERYWHERE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    # A page brings a policy of its own; nothing else may do anything where a browser shows it.
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", ", ".join(f"{name}=()" for name in _UNUSED)),
)
"""By https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html."""


def transport_headers(settings: Settings, protocol: str) -> Iterator[tuple[str, str]]:
    """Yield what is said of the way by which an answer goes.

    :param protocol: of the request, as the server saw it
    """
    if settings.hsts_seconds >= 0 and settings.is_https(protocol):
        # Nothing of the domain's other hosts: they are not ours to decide about.
        yield "Strict-Transport-Security", f"max-age={settings.hsts_seconds}"


def page_headers(settings: Settings) -> Iterator[tuple[str, str | None]]:
    """Yield what is said with a page: its policy, and who may frame it; ``None`` for what is not said with it.

    A policy that names ``frame-ancestors`` itself is left as it is.
    """
    policy, ancestors = settings.content_security_policy, settings.frame_ancestors.strip()
    named = [
        part.split() for part in policy.split(";") if part.strip().lower().startswith("frame-ancestors ")
    ]
    if named:
        ancestors = " ".join(named[0][1:])
    else:
        policy = f"{policy.rstrip().rstrip(';')}; frame-ancestors {ancestors}"
    yield "Content-Security-Policy", policy
    # It knows no list; where there is one, browsers go by the policy.
    yield "X-Frame-Options", {"'none'": "DENY", "'self'": "SAMEORIGIN"}.get(ancestors.lower())


class GuardedHandler(RequestHandler):
    """Base of the handlers of this package: sends these headers, also with its errors."""

    _transport: tuple[tuple[str, str], ...] = ()

    def guard(self, settings: Settings) -> None:
        """Take the settings, which Tornado hands over only after it has asked for the headers."""
        self._transport = tuple(transport_headers(settings, self.request.protocol))
        for name, value in self._transport:
            self.set_header(name, value)

    def set_default_headers(self) -> None:
        """Set what every answer has."""
        # Without set_header, which looks through every value for line breaks: with these it took three times as long.
        headers = self._headers
        for name, value in EVERYWHERE:
            headers[name] = value
        for name, value in self._transport:
            headers[name] = value

    def set_page_headers(self, settings: Settings) -> None:
        """Set what a page has in place of that."""
        for name, value in page_headers(settings):
            if value is None:
                self.clear_header(name)
            else:
                self.set_header(name, value)


class PlainHandler(GuardedHandler):
    """For what needs nothing of the box."""

    def initialize(self, settings: Settings) -> None:
        """Take what the route's table hands over."""
        self.guard(settings)

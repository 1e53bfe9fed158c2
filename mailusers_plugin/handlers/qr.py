"""What somebody scans to set up a second factor: the QR code, drawn here, and the secret in words."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass
from typing import Final

import segno
from markupsafe import Markup

from mailusers_plugin.auth import one_time_codes

_QUIET_ZONE: Final = 4
"""Modules of white around it (ISO/IEC 18004, section 6.3.8), without which some apps do not find it."""


@dataclass(frozen=True, slots=True)
class Provision:
    """A secret that is offered.

    :ivar secret: in base32
    :ivar uri: ``otpauth://…``, for an app on the same device
    """

    secret: str
    uri: str

    @property
    def groups(self) -> str:
        """The secret in groups of four, for typing."""
        return " ".join(self.secret[start : start + 4] for start in range(0, len(self.secret), 4))

    async def svg(self) -> Markup:
        """Return the QR code for the page: dark on white, whatever the page's colours, for apps read no other."""
        return Markup(await asyncio.to_thread(self._svg))  # noqa: S704 (drawn by segno; holds no text)  # nosec B704

    def _svg(self) -> str:
        # Without styles, which the page's policy forbids.
        code = segno.make(self.uri, micro=False, error="m")
        return code.svg_inline(border=_QUIET_ZONE, dark="#000", light="#fff", omitsize=True)

    async def png_base64(self) -> str:
        """Return the QR code as a picture, as Mail-in-a-Box's API does."""
        return await asyncio.to_thread(self._png_base64)

    def _png_base64(self) -> str:
        picture = io.BytesIO()
        segno.make(self.uri, micro=False, error="m").save(picture, kind="png", scale=6, border=_QUIET_ZONE)
        return base64.b64encode(picture.getvalue()).decode("ascii")


def provision(email: str, host: str, secret: str = "") -> Provision:
    """Offer a secret.

    :param host: the box, as an app shows it
    :param secret: one that was offered before, a new one where it is empty
    """
    secret = secret or one_time_codes.new_secret()
    return Provision(secret, one_time_codes.provisioning_uri(secret, email, host.replace(":", " ")))

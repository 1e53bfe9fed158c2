"""What a new user types into a mail program."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import cache

from mailusers_plugin.settings import Settings


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where mail is read and sent; the user name is the address.

    :ivar host: name of the server
    :ivar imap_port: IMAP with TLS
    :ivar smtp_port: submission with TLS
    """

    host: str
    imap_port: int
    smtp_port: int


async def mail_settings(settings: Settings) -> MailSettings:
    """Return them from the settings; the machine's own name where none is set."""
    # That name may be asked of the network, which may take long.
    host = settings.mail_host or await asyncio.to_thread(_own_name)
    return MailSettings(host, settings.imap_port, settings.smtp_port)


@cache
def _own_name() -> str:
    return socket.getfqdn()

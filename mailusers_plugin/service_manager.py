"""Tells systemd how far the server is: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state, if a service manager waits for it.

    :param state: such as ``READY=1`` or ``STOPPING=1``
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket begins with NUL.
        address = "\0" + address[1:]
    # A server does not fail because its manager went away.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)

"""Free loopback ports, and waiting until a server listens on one."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"

# Below the kernel's ephemeral range (32768 and up), so that no outgoing connection of another test
# takes the port between our check and the server's bind.
_PORT_RANGE = range(20_000, 32_000)

# Ports handed out by this process: a server that starts late must still find its own.
_given: set[int] = set()

# Seeded by the system, not by pytest-randomly or a test's random.seed(): two xdist workers with the same
# seed would ask for the same ports.
_random = random.SystemRandom()


class ServerStartError(RuntimeError):
    """A server did not come up; the message ends with the tail of its log."""


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on and that was not given out before."""
    for _ in range(1000):
        port = _random.choice(_PORT_RANGE)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Servers bind with SO_REUSEADDR too; without it a port in TIME_WAIT would look taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError(f"no free port between {_PORT_RANGE.start} and {_PORT_RANGE.stop}")


def is_listening(port: int) -> bool:
    """Say whether something accepts connections on the loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def wait_for_port(
    name: str,
    port: int,
    *,
    is_alive: Callable[[], bool],
    log_text: Callable[[], str],
    timeout_seconds: float = 20,
) -> None:
    """Wait until ``port`` accepts connections; else raise ServerStartError with the log's tail."""
    deadline = time.monotonic() + timeout_seconds
    while not is_listening(port):
        alive = is_alive()
        if alive and time.monotonic() < deadline:
            time.sleep(0.02)
            continue
        reason = f"no answer on port {port} after {timeout_seconds:g} s" if alive else "its process ended"
        raise ServerStartError(f"{name} did not start: {reason}\n{tail(log_text())}")


def tail(text: str, lines: int = 30) -> str:
    """Return the last lines of a log, or a note that it is empty."""
    return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"

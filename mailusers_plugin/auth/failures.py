"""The line that every failed log-in leaves in the log, for programs that ban who guesses.

Its text is the one that Mail-in-a-Box's own filter for fail2ban waits for
(``conf/fail2ban/filter.d/miab-management-daemon.conf``), so that an adopted box goes on banning. Nothing in it is the
caller's to choose: the address is written by :mod:`mailusers_plugin.client_address` in its canonical form, and what was
sent is not in it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from mailusers_plugin.client_address import UNKNOWN, parse

LOGGER: Final = "mailusers_plugin.auth"
MESSAGE: Final = "Mail-in-a-Box Management Daemon: Failed login attempt from ip"

_log = logging.getLogger(LOGGER)


def log_failure(ip: str | None) -> None:
    """Leave the line.

    :param ip: the client's address
    """
    _log.warning("%s %s - timestamp %.3f", MESSAGE, parse(ip or "") or UNKNOWN, time.time())

"""What fail2ban must be told to ban those who guess passwords at the panel: a filter, and a jail that uses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.mailserver.fragments import Fragment

FOLDER: Final = Path("/etc/fail2ban")
UNIT: Final = "mailusers.service"
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.@-]+\.service", re.ASCII)
_LOG_FILE: Final = re.compile(r"/[\w./@:+-]+", re.ASCII)

_FILTER: Final = r"""# Log-ins that fail at mailusers_plugin. Nothing in such a line is the caller's to choose, and it
# is matched from its beginning to its end: so nobody has others banned by what he sends.

[Definition]

_failure = Mail-in-a-Box Management Daemon: Failed login attempt from ip <ADDR> - timestamp \d+\.\d+
_host = (?:\S+ [\w@.-]+\[\d+\]: )?
_time = (?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} )?
_request = (?: \[[\w.:-]+\])?
_json = "level": "WARNING", "logger": "mailusers_plugin\.auth", "message": "%(_failure)s"

failregex = ^\s*%(_host)s\s*%(_time)s\s*WARNING%(_request)s mailusers_plugin\.auth%(_request)s: %(_failure)s$
            ^\s*%(_host)s\{"time": "[^"]*", %(_json)s

ignoreregex =
"""
_JAIL: Final = """[mailusers]
enabled  = true
filter   = mailusers
port     = http,https
{source}
# As Mail-in-a-Box's own: 20 failures in 30 seconds. The panel itself slows down who is slower than that.
maxretry = 20
findtime = 30
"""


def fail2ban_fragments(
    *, folder: Path = FOLDER, units: Sequence[str] = (UNIT,), log_file: Path | None = None
) -> list[Fragment]:
    """Return the filter and the jail.

    :param folder: of fail2ban's configuration
    :param units: systemd's units of the panel, whose journal is read
    :param log_file: that the panel's output goes to, which is read instead
    :raises ConfigurationError: if a name cannot stand in such a file
    """
    if log_file is None:
        for unit in units:
            if not _UNIT.fullmatch(unit):
                raise ConfigurationError(
                    f"{unit!r} is no name of a unit, such as {UNIT} or mailusers@10222.service."
                )
        match = " + ".join(f"_SYSTEMD_UNIT={unit}" for unit in units)
        source = f"backend  = systemd\njournalmatch = {match}"
    else:
        if not _LOG_FILE.fullmatch(str(log_file)):
            raise ConfigurationError(f"{str(log_file)!r} is no path that fail2ban reads as it stands.")
        source = f"logpath  = {log_file}"
    return [
        Fragment(folder / "filter.d" / "mailusers.conf", _FILTER),
        Fragment(folder / "jail.d" / "mailusers.conf", _JAIL.format(source=source)),
    ]

"""Postfix's side of the accounts: how it looks users up, whether that can go wrong, and how to mend it.

Facts and measurements are in ``docs/storage.md``, chapter "Beside Postfix".
"""

from __future__ import annotations

import re
import shutil

# Programs are started as lists of arguments, never through a shell.
import subprocess  # nosec B404
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.texts import N_

_LOOKUPS: Final = (
    "virtual_mailbox_domains",
    "virtual_mailbox_maps",
    "virtual_alias_maps",
    "smtpd_sender_login_maps",
)
"""Parameters in which a Mail-in-a-Box names its maps; all are in the default ``proxy_read_maps``."""
_CONFINED: Final = ("smtpd", "cleanup", "trivial-rewrite")
"""Daemons that use these maps, and that Debian's master.cf confines to the queue directory."""
_TIMEOUT_SECONDS: Final = 20
THROTTLE: Final = "1s"
"""``service_throttle_time``: how long a daemon stays away after a look-up has failed. The default is 60 s."""


class PostfixError(MailUsersError):
    """A command of Postfix failed."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class PostfixState:
    """What matters of Postfix's configuration.

    :ivar direct_maps: parameters with maps on our file that do not go through proxymap
    :ivar proxied_maps: parameters with maps on our file that do
    :ivar confined: services that use maps and are confined
    :ivar throttle: ``service_throttle_time``
    """

    direct_maps: tuple[str, ...]
    proxied_maps: tuple[str, ...]
    confined: tuple[str, ...]
    throttle: str

    @property
    def reads_us(self) -> bool:
        """Tell whether Postfix looks users up in our file at all."""
        return bool(self.direct_maps or self.proxied_maps)

    @property
    def is_patient(self) -> bool:
        """Tell whether a look-up that falls into a commit is tried again without anybody noticing."""
        return not self.direct_maps and self.throttle in (THROTTLE, "1")


class Postfix:
    """One Postfix on this machine."""

    def __init__(self, config_dir: str = "") -> None:
        """Remember which.

        :param config_dir: Postfix's configuration directory; empty for its default
        """
        self._config_dir = config_dir
        self._options = ("-c", config_dir) if config_dir else ()

    def is_set_up(self) -> bool:
        """Tell whether there is one, with a configuration: Debian can install it without. Blocks.

        :raises PostfixError: if postconf fails
        """
        if shutil.which("postconf") is None:
            return False
        folder = self._config_dir or self._run("postconf", "-dh", "config_directory").strip()
        return (Path(folder) / "main.cf").is_file()

    def inspect(self, database: Path) -> PostfixState:
        """Read the configuration. Blocks.

        :param database: the accounts' file
        :raises PostfixError: if postconf fails
        """
        direct: list[str] = []
        proxied: list[str] = []
        for parameter in _LOOKUPS:
            for proxy, file in _sqlite_maps(self._value(parameter)):
                if _reads(file, database):
                    (proxied if proxy else direct).append(parameter)
        return PostfixState(
            tuple(dict.fromkeys(direct)),
            tuple(dict.fromkeys(proxied)),
            self._confined(),
            self._value("service_throttle_time"),
        )

    def mend(self, database: Path) -> None:
        """Put our maps behind proxymap and shorten the throttle, then have Postfix read that. Blocks.

        :param database: the accounts' file
        :raises PostfixError: if a command fails
        """
        changes = [f"service_throttle_time = {THROTTLE}"]
        for parameter in self.inspect(database).direct_maps:
            value = re.sub(r"(?<![\w:])sqlite:", "proxy:sqlite:", self._value(parameter))
            changes.append(f"{parameter} = {value}")
        self._run("postconf", *self._options, "-e", *changes)
        self._run("postfix", *self._options, "reload")

    def _value(self, parameter: str) -> str:
        return self._run("postconf", *self._options, "-hx", parameter).strip()

    def _confined(self) -> tuple[str, ...]:
        default = "n" if not self._value("compatibility_level").startswith("0") else "y"
        found = []
        for line in self._run("postconf", *self._options, "-M").splitlines():
            fields = line.split()
            if len(fields) >= 8 and fields[7] in _CONFINED and (fields[4].replace("-", default)) == "y":
                found.append(fields[0])
        return tuple(found)

    def _run(self, *command: str) -> str:
        try:
            result = subprocess.run(  # nosec B603
                command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostfixError(
                N_("%(command)s cannot be run: %(reason)s"), command=command[0], reason=str(error)
            ) from None
        if result.returncode:
            text = result.stderr.decode("utf-8", "replace").strip()[:500]
            raise PostfixError(
                N_("%(command)s ended with %(code)s: %(text)s"),
                command=command[0],
                code=str(result.returncode),
                text=text,
            )
        return result.stdout.decode("utf-8", "replace")


def _sqlite_maps(value: str) -> Sequence[tuple[bool, Path]]:
    """Return the sqlite maps in a parameter, and whether each goes through proxymap."""
    found = re.findall(r"(?<![\w:])(proxy:)?sqlite:([^\s,{}]+)", value)
    return [(bool(proxy), Path(file)) for proxy, file in found]


def _reads(file: Path, database: Path) -> bool:
    """Tell whether a map's file names our database; one that cannot be read is taken as if it did."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return True
    match = re.search(r"^\s*dbpath\s*=\s*(\S+)", text, re.MULTILINE)
    return match is not None and Path(match[1]).resolve() == database.resolve()

"""A private Postfix that looks up its recipients in ``users.sqlite`` the way a Mail-in-a-Box does."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import LOOPBACK, free_port, wait_for_port
from tests.servers.processes import end_group, group_members

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = /var, /dev/stdout, /tmp
multi_instance_name = postfix-{name}
multi_instance_enable = yes
myhostname = box.example.com
mydestination =
mynetworks =
inet_interfaces = {host}
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
alias_database =
local_recipient_maps =
# Nothing may leave the machine, not even a bounce.
default_transport = error:outbound disabled in test
relay_transport = error:outbound disabled in test
smtpd_relay_restrictions = reject_unauth_destination
{box_config}
{extra_config}
"""

_BOX = """\
virtual_transport = lmtp:inet:{host}:{lmtp_port}
virtual_mailbox_domains = {map_type}:{config}/virtual-mailbox-domains.cf
virtual_mailbox_maps = {map_type}:{config}/virtual-mailbox-maps.cf
virtual_alias_maps = {map_type}:{config}/virtual-alias-maps.cf
smtpd_recipient_restrictions = reject_unlisted_recipient, check_policy_service inet:{host}:{quota_status_port}
"""

_MASTER = """\
{host}:{smtp_port} inet n - {chroot} - - smtpd
pickup    unix  n - {chroot} 60   1 pickup
cleanup   unix  n - {chroot} -    0 cleanup
qmgr      unix  n - n        300  1 qmgr
rewrite   unix  - - {chroot} -    - trivial-rewrite
bounce    unix  - - {chroot} -    0 bounce
defer     unix  - - {chroot} -    0 bounce
trace     unix  - - {chroot} -    0 bounce
verify    unix  - - {chroot} -    1 verify
flush     unix  n - {chroot} 1000? 0 flush
proxymap  unix  - - n        -    - proxymap
proxywrite unix - - n        -    1 proxymap
smtp      unix  - - {chroot} -    - smtp
relay     unix  - - {chroot} -    - smtp
showq     unix  n - {chroot} -    - showq
error     unix  - - {chroot} -    - error
retry     unix  - - {chroot} -    - error
discard   unix  - - {chroot} -    - discard
lmtp      unix  - - {chroot} -    - lmtp
anvil     unix  - - {chroot} -    1 anvil
scache    unix  - - {chroot} -    1 scache
postlog   unix-dgram n - n   -    1 postlogd
"""

# The queries are those of a Mail-in-a-Box, word by word.
_MAPS = {
    "virtual-mailbox-domains.cf": (
        "SELECT 1 FROM users WHERE email LIKE '%%@%s' UNION SELECT 1 FROM aliases WHERE source LIKE '%%@%s' "
        "UNION SELECT 1 FROM auto_aliases WHERE source LIKE '%%@%s'"
    ),
    "virtual-mailbox-maps.cf": "SELECT 1 FROM users WHERE email='%s'",
    "virtual-alias-maps.cf": (
        "SELECT destination from (SELECT destination, 0 as priority FROM aliases WHERE source='%s' "
        "AND destination<>'' UNION SELECT email as destination, 1 as priority FROM users WHERE email='%s' "
        "UNION SELECT destination, 2 as priority FROM auto_aliases WHERE source='%s' AND destination<>'') "
        "ORDER BY priority LIMIT 1"
    ),
}


class Postfix:
    """One Postfix that takes mail on a loopback port and hands it to Dovecot's LMTP server.

    ``with Postfix(storage, lmtp_port=…, quota_status_port=…) as postfix:`` starts it and removes everything
    at the end; ``stop()`` and ``start()`` in between keep port, queue and configuration. With ``chroot`` the
    daemons are confined to the queue folder, as Debian's and Ubuntu's own master.cf does. The ``map_type``
    ``proxy:sqlite`` lets Postfix's proxymap service, which is never confined, do the look-ups.
    """

    def __init__(
        self,
        storage: Path,
        *,
        lmtp_port: int = 0,
        quota_status_port: int = 0,
        chroot: bool = False,
        map_type: str = "sqlite",
        extra_config: str = "",
        box_config: Callable[[Path], str] | None = None,
    ) -> None:
        """Write the configuration.

        :param box_config: gets the configuration's folder and returns what is said of the box in main.cf, in place of
            what a Mail-in-a-Box says of it; then no ports are needed
        """
        self.folder = Path(tempfile.mkdtemp(prefix="mailusers-postfix-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.config_dir = self.folder / "config"
        self.queue_dir = self.folder / "spool"
        self.smtp_port = free_port()
        self._log = self.folder / "mail.log"
        self._master_pid: int | None = None
        for name in ("config", "spool", "data"):
            (self.folder / name).mkdir(mode=0o755)
        shutil.chown(self.folder / "data", "postfix")
        values: dict[str, object] = {
            "folder": self.folder,
            "config": self.config_dir,
            "name": self.folder.name.rpartition("-")[2],
            "host": LOOPBACK,
            "smtp_port": self.smtp_port,
            "lmtp_port": lmtp_port,
            "quota_status_port": quota_status_port,
            "chroot": "y" if chroot else "n",
            "map_type": map_type,
            "extra_config": extra_config,
        }
        if box_config is None:
            for name, query in _MAPS.items():
                (self.config_dir / name).write_text(f"dbpath={storage}/mail/users.sqlite\nquery = {query}\n")
            values["box_config"] = _BOX.format(**values)
        else:
            values["box_config"] = box_config(self.config_dir)
        (self.config_dir / "main.cf").write_text(_MAIN.format(**values))
        (self.config_dir / "master.cf").write_text(_MASTER.format(**values))

    def start(self) -> None:
        """Start the server and wait until its port answers."""
        if self._master_pid is not None:
            raise RuntimeError("this Postfix runs already")
        self._postfix("start")
        self._master_pid = int((self.folder / "spool/pid/master.pid").read_text())
        try:
            wait_for_port("Postfix", self.smtp_port, is_alive=self.is_running, log_text=self.log_text)
        except BaseException:
            self.stop()
            raise

    def is_running(self) -> bool:
        """Say whether the master process or one of its children is there."""
        return self._master_pid is not None and bool(group_members(self._master_pid))

    def stop(self) -> None:
        """End the server and all its processes; nothing happens when it does not run."""
        if self._master_pid is None:
            return
        group, self._master_pid = self._master_pid, None
        # The master passes SIGTERM on to its process group, which it leads. "postfix stop" does the same,
        # and then sleeps whole seconds.
        end_group(group)

    def close(self) -> None:
        """Stop the server and remove its folder with the queue."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self) -> str:
        """Return everything that the server has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def flush(self) -> None:
        """Try every message in the queue again, now."""
        self._postfix("flush")

    def queue(self) -> str:
        """Return the queue, one JSON object a line as from ``postqueue -j``; empty when all is delivered."""
        command = ["postqueue", "-c", str(self.config_dir), "-j"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _postfix(self, action: str) -> None:
        command = ["postfix", "-c", str(self.config_dir), action]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"postfix {action} failed: {done.stdout}{done.stderr}\n{self.log_text()}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

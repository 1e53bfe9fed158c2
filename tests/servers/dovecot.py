"""A private Dovecot that serves a storage folder the way a Mail-in-a-Box does."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import LOOPBACK, free_port, wait_for_port
from tests.servers.processes import end_group

_CONFIG = """\
base_dir = {folder}/base
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = {host}
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
{auth_cache}
postmaster_address = postmaster@example.com
hostname = box.example.com
{box_config}
service imap-login {{
  inet_listener imap {{
    address = {host}
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {host}
    port = {lmtp_port}
  }}
}}
service quota-status {{
  inet_listener {{
    address = {host}
    port = {quota_status_port}
  }}
}}
# A real box answers a wrong password after 2 s, and slower each time; tests need not wait for that.
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{extra_config}
"""

_BOX = """\
first_valid_uid = 0
mail_privileged_group = mail
mail_location = maildir:{storage}/mail/mailboxes/%d/%n
mail_plugins = quota
passdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf.ext
}}
userdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf.ext
}}
namespace inbox {{
  inbox = yes
}}
plugin {{
  quota = maildir
  quota_grace = 10%%
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = "522 5.2.2 Mailbox is full"
}}
protocol imap {{
  mail_plugins = $mail_plugins imap_quota
}}
service quota-status {{
  executable = quota-status -p postfix
}}
"""

# The queries are those of a Mail-in-a-Box, word by word.
_SQL_CONFIG = """\
driver = sqlite
connect = {storage}/mail/users.sqlite
default_pass_scheme = SHA512-CRYPT
password_query = SELECT email as user, password FROM users WHERE email='%u';
user_query = SELECT email AS user, "mail" as uid, "mail" as gid, \
"{storage}/mail/mailboxes/%d/%n" as home, '*:bytes=' || quota AS quota_rule FROM users WHERE email='%u';
iterate_query = SELECT email AS user FROM users;
"""


class Dovecot:
    """One Dovecot with IMAP, LMTP and the quota-status service, in a folder and on ports of its own.

    ``with Dovecot(storage) as dovecot:`` starts it and removes everything at the end; ``stop()`` and
    ``start()`` in between keep the ports and the configuration. The storage must be reachable for the
    user ``mail``: pytest's ``tmp_path`` is not.
    """

    def __init__(
        self,
        storage: Path,
        *,
        auth_cache_size: str = "0",
        auth_cache_ttl: str = "1 hour",
        extra_config: str = "",
        box_config: Callable[[Path], str] | None = None,
    ) -> None:
        """Write the configuration.

        :param box_config: gets this server's folder and returns what is said of the box, in place of what a
            Mail-in-a-Box says of it
        """
        self.folder = Path(tempfile.mkdtemp(prefix="mailusers-dovecot-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.imap_port = free_port()
        self.lmtp_port = free_port()
        self.quota_status_port = free_port()
        self.config_path = self.folder / "dovecot.conf"
        self.doveadm = ["doveadm", "-c", str(self.config_path)]
        self._log = self.folder / "dovecot.log"
        self._process: subprocess.Popen[bytes] | None = None
        auth_cache = f"auth_cache_size = {auth_cache_size}\nauth_cache_ttl = {auth_cache_ttl}"
        if box_config is None:
            (self.folder / "dovecot-sql.conf.ext").write_text(_SQL_CONFIG.format(storage=storage))
            said = _BOX.format(folder=self.folder, storage=storage)
        else:
            said = box_config(self.folder)
        # Written before the start, so that doveadm can be tried against a server that is down.
        self.config_path.write_text(
            _CONFIG.format(
                folder=self.folder,
                host=LOOPBACK,
                box_config=said,
                auth_cache=auth_cache,
                imap_port=self.imap_port,
                lmtp_port=self.lmtp_port,
                quota_status_port=self.quota_status_port,
                extra_config=extra_config,
            )
        )

    def start(self) -> None:
        """Start the server and wait until all its ports answer."""
        if self._process is not None:
            raise RuntimeError("this Dovecot runs already")
        with self._log.open("ab") as log:
            # In the foreground and as leader of a process group: what belongs to it is known by the group.
            self._process = subprocess.Popen(
                ["dovecot", "-F", "-c", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            for port in (self.imap_port, self.lmtp_port, self.quota_status_port):
                wait_for_port("Dovecot", port, is_alive=self.is_running, log_text=self.log_text)
        except BaseException:
            self.stop()
            raise

    def is_running(self) -> bool:
        """Say whether the master process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the server and all its processes; nothing happens when it does not run."""
        if self._process is None:
            return
        process, self._process = self._process, None
        end_group(process.pid)
        process.wait()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self) -> str:
        """Return everything that the server has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

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

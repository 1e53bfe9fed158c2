"""What the measurements of requests share: a panel with a bare handler beside it, and the credentials for it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.benchmarks.box import ADMIN, ENVIRONMENT, PASSWORD, fill
from tests.benchmarks.server import BARE
from tests.benchmarks.traffic import Asked
from tests.servers.panel import PanelProcess
from tests.support import UNTHROTTLED, basic

QUOTA = f"/admin/mail/users/quota?email={ADMIN}"
PRIVILEGES = f"/admin/mail/users/privileges?email={ADMIN}"
LIST = "/admin/mail/users?format=json"


@dataclass(frozen=True)
class Measured:
    """A panel, and what is asked of it."""

    panel: PanelProcess
    key: str
    token: str

    @property
    def bare(self) -> Asked:
        """The handler that does nothing."""
        return Asked(self.panel.port, BARE)

    def with_session(self, path: str) -> Asked:
        """Ask with a session key."""
        return Asked(self.panel.port, path, basic(ADMIN, self.key))

    def with_token(self, path: str) -> Asked:
        """Ask with an API token that is bound to networks, as a careful owner makes it."""
        return Asked(self.panel.port, path, f"Bearer {self.token}")

    def with_key(self, path: str) -> Asked:
        """Ask with the system API key."""
        key = (self.panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
        return Asked(self.panel.port, path, basic(key, ""))

    def with_password(self, path: str) -> Asked:
        """Ask with an address and a password."""
        return Asked(self.panel.port, path, basic(ADMIN, PASSWORD))


@contextlib.contextmanager
def measured(
    users: int, *, core: int | None = None, database: str = "", throttled: bool = True
) -> Iterator[Measured]:
    """Run a panel over a box of some users.

    :param throttled: whether those who guess are slowed down
    :param core: on which it runs, ``None`` for any
    :param database: URL of an empty database, for accounts elsewhere than in SQLite; only the administrator is in there
    """
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as folder:
        storage = Path(folder) / "box"
        settings = Settings(storage_root=storage, doveadm=(), password_scheme="ARGON2ID", database=database)
        Runtime(settings).close()
        limits = {} if throttled else {f"MAILUSERS_{name.upper()}": "0" for name in UNTHROTTLED}
        environment = {**ENVIRONMENT, "MAILUSERS_DATABASE": database, **limits}
        program = ["tests.benchmarks.server", "{port}", str(storage)]
        if core is not None:
            program.append(str(core))
        panel = PanelProcess(storage, environment=environment, program=program)
        if not database:
            fill(settings.database_path, users)
        else:
            added = panel.command("user", "add", ADMIN, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
            assert added.returncode == 0, added.stderr
        made = panel.command(
            *("token", "create", "--owner", ADMIN, "--name", "benchmark", "--scope", "users:read"),
            *("--network", "10.0.0.0/8", "--network", "::1", "--network", "127.0.0.0/8"),
        )
        assert made.returncode == 0, made.stderr
        with panel:
            login = panel.request("POST", "/admin/login", {}, user=ADMIN, password=PASSWORD).json()
            yield Measured(panel, login["api_key"], made.stdout.strip())

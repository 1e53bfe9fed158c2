"""Runs the command line in this process, on a box of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from mailusers_plugin.cli import main

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Shell:
    """Somebody at the console of a box."""

    storage: Path

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        """Run ``mailusers`` with arguments; the box is named by the environment."""
        quick = {
            "MAILUSERS_STORAGE_ROOT": str(self.storage),
            "MAILUSERS_DOVEADM": "",
            "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
            "MAILUSERS_COMMIT_PAUSE_SECONDS": "0",
            **environment,
        }
        return CliRunner().invoke(main, arguments, input=stdin, env=quick)

    def add(self, email: str, *more: str) -> None:
        """Add a user."""
        result = self.run("user", "add", email, "--password-stdin", *more, stdin=PASSWORD + "\n")
        assert (result.exit_code, result.stdout) == (0, "mail user added\n")

    def json(self, *arguments: str) -> Any:
        """Run a command that prints JSON."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def users(self) -> dict[str, dict[str, Any]]:
        """Return all users by address."""
        return {user["email"]: user for domain in self.json("user", "list") for user in domain["users"]}

"""The command line as a process of its own, beside a panel or without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers.panel import ROOT


def mailusers(storage: Path, *arguments: str, password: str | None = None, **environment: str) -> str:
    """Run ``mailusers ARGUMENTS`` on a box and return what it prints; a failure is an AssertionError.

    Without a doveadm, so that whatever Dovecot is told was told by a panel.

    :param password: goes to standard input, with the option that reads it from there
    :param environment: more variables
    """
    command = [sys.executable, "-m", "mailusers_plugin", *arguments, "--storage-root", str(storage)]
    if password is not None:
        command.append("--password-stdin")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MAILUSERS_DOVEADM": "", **environment}
    done = subprocess.run(
        command,
        input=None if password is None else f"{password}\n",
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout

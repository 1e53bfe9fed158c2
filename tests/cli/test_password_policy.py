"""What the command line asks of new passwords: their length, and the rest where it is told to."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.support import PASSWORD, Shell

ANN = "ann@example.com"
COMMON = "Error: This is one of the most common passwords, which are tried first."
WEAK = "Error: This password is too easy to guess. "


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """The console of a box that is yet to be made."""
    return Shell(tmp_path / "box")


@pytest.mark.parametrize(
    ("options", "policy", "is_asked"),
    [
        ((), "page", False),
        ((), "page cli", True),
        (("--policy",), "", True),
        (("--policy",), "page cli", True),
        (("--no-policy",), "page cli", False),
    ],
)
def test_policy(shell: Shell, options: tuple[str, ...], policy: str, is_asked: bool) -> None:
    """More than the length is asked for where the setting or the option says so, in adding and in setting."""
    environment = {"MAILUSERS_PASSWORD_POLICY": policy}
    added = shell.run("user", "add", ANN, "--password-stdin", *options, stdin="password\n", **environment)
    assert added.exit_code == (1 if is_asked else 0), added.output
    assert added.stderr.startswith(COMMON) or not is_asked
    if is_asked:
        assert shell.users() == {}
        shell.add(ANN)
    arguments = ("user", "password", ANN, "--password-stdin", *options)
    changed = shell.run(*arguments, stdin="passw0rd2026\n", **environment)
    assert changed.exit_code == (1 if is_asked else 0), changed.output
    assert changed.stderr.startswith(WEAK) or not is_asked
    assert shell.run(*arguments, stdin="a sturdy gate of cork\n", **environment).exit_code == 0


def test_length(shell: Shell) -> None:
    """Another least length is asked for before the box is touched."""
    arguments = ("user", "add", ANN, "--password-stdin")
    refused = shell.run(*arguments, stdin="correct horse\n", MAILUSERS_PASSWORD_MIN_LENGTH="14")
    assert (refused.exit_code, refused.stderr) == (1, "Error: Passwords must be at least 14 characters.\n")
    assert not shell.storage.exists()
    assert shell.run(*arguments, stdin=PASSWORD, MAILUSERS_PASSWORD_MIN_LENGTH="14").exit_code == 0


def test_a_service_that_is_away(shell: Shell) -> None:
    """Where nobody answers, it is done without or refused, as is set; nothing of the password is said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/range/"
    arguments = ("user", "add", ANN, "--password-stdin", "--policy")
    environment = {"MAILUSERS_PASSWORD_BREACH_URL": url, "MAILUSERS_PASSWORD_BREACH_REQUIRED": "yes"}
    refused = shell.run(*arguments, stdin=PASSWORD, **environment)
    assert refused.exit_code == 75
    assert "known from a data breach cannot be asked at the moment" in refused.stderr
    assert PASSWORD not in refused.output
    environment["MAILUSERS_PASSWORD_BREACH_REQUIRED"] = "no"
    assert shell.run(*arguments, stdin=PASSWORD, **environment).exit_code == 0

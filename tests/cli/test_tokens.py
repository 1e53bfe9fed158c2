"""``mailusers token`` and ``mailusers api-key``: from the console, beside a panel that runs."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin.auth.token_keys import is_key
from tests.cli.support import Shell

BOSS, USER = "boss@example.com", "user@example.com"
CREATE = ("token", "create", "--owner", BOSS, "--name", "backup", "--scope", "users:read")


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A box with an administrator and a user."""
    shell.add(BOSS, "--admin")
    shell.add(USER)
    return shell


def test_life_of_a_token(filled: Shell) -> None:
    """A token is printed once and alone, listed without itself, and revoked."""
    made = filled.run(*CREATE, "--scope", "quota:write", "--network", "192.0.2.0/24", "--network", "::1")
    assert made.exit_code == 0, made.stderr
    key = made.stdout.removesuffix("\n")
    assert is_key(key)
    assert key not in made.stderr
    assert "is not shown again" in made.stderr
    [token] = filled.json("token", "list")
    assert made.stderr.startswith(token["id"])
    assert (token["owner"], token["name"], token["of_host"]) == (BOSS, "backup", False)
    assert token["scopes"] == ["users:read", "quota:write"]
    assert token["networks"] == ["192.0.2.0/24", "::1/128"]
    assert (token["used_at"], token["used_from"]) == (None, "")
    left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    line = filled.run("token", "list").stdout
    for part in (
        token["id"],
        BOSS,
        "users:read quota:write",
        "from 192.0.2.0/24, ::1/128",
        "not used yet",
        "backup",
    ):
        assert part in line
    assert key not in line
    assert filled.run("token", "revoke", token["id"]).stdout == "OK\n"
    assert filled.json("token", "list") == []
    again = filled.run("token", "revoke", token["id"])
    assert (again.exit_code, again.stderr) == (1, "Error: There is no such API token any more.\n")


def test_expiry(filled: Shell) -> None:
    """The default is a setting, and none only where that is asked for."""
    for more, days in (((), 30), (("--days", "7"), 7), (("--no-expiry",), None)):
        assert filled.run(*CREATE, *more, MAILUSERS_TOKEN_DAYS="30").exit_code == 0
        newest = filled.json("token", "list")[0]
        if days is None:
            assert newest["expires_at"] is None
        else:
            left = datetime.fromisoformat(newest["expires_at"]) - datetime.now(UTC)
            assert timedelta(days=days - 1) < left <= timedelta(days=days)
    assert "never expires" in filled.run("token", "list").stdout
    assert filled.run(*CREATE, "--days", "1", "--no-expiry").exit_code == 2
    wrong = filled.run(*CREATE, MAILUSERS_TOKEN_DAYS="0")
    assert (wrong.exit_code, wrong.stderr) == (1, "Error: token_days must be more than 0 and at most 3650.\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--owner", USER), "user@example.com is not an administrator."),
        (("--name", ""), "Give the token a name"),
        (("--days", "0"), "at most 3650 days"),
        (("--network", "192.0.2.1/24"), "is not a network"),
    ],
)
def test_refusals(filled: Shell, arguments: tuple[str, ...], text: str) -> None:
    """What is refused says why, and nothing is made."""
    result = filled.run(*CREATE, *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert text in result.stderr
    assert filled.json("token", "list") == []


def test_of_a_host(filled: Shell) -> None:
    """Somebody of a panel with a log-in of its own need not be a mail user."""
    assert filled.run(*CREATE[:3], "ada", *CREATE[4:]).exit_code == 1
    assert filled.run(*CREATE[:3], "ada", *CREATE[4:], "--of-host").exit_code == 0
    [token] = filled.json("token", "list")
    assert (token["owner"], token["of_host"]) == ("ada", True)
    assert filled.run("token", "create", "--owner", BOSS, "--name", "x", "--scope", "tokens").exit_code == 2


def test_rotate(filled: Shell) -> None:
    """A new key stands in the file, which is never printed; a link in its place is named."""
    path = filled.storage / "mailusers" / "api.key"
    result = filled.run("api-key", "rotate")
    assert result.exit_code == 0, result.stderr
    first = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    elsewhere = filled.storage / "elsewhere"
    elsewhere.write_text("precious")
    path.unlink()
    path.symlink_to(elsewhere)
    linked = filled.run("api-key", "rotate")
    assert f"{path} was a link to {elsewhere}." in linked.stderr
    assert elsewhere.read_text() == "precious"
    second = path.read_text().strip()
    assert first != second
    for key in (first, second):
        assert key not in result.output + linked.output
    path.parent.chmod(0o777)
    refused = filled.run("api-key", "rotate")
    assert (refused.exit_code, path.read_text().strip()) == (1, second)
    assert f"Run: chmod go-w {path.parent}" in refused.stderr


def test_rotate_where_there_is_no_box(shell: Shell) -> None:
    """A mistyped folder is an error and not a new box."""
    nowhere = Shell(shell.storage / "nowhere")
    result = nowhere.run("api-key", "rotate")
    assert result.exit_code == 1
    assert "Name another box with --storage-root" in result.stderr
    assert not nowhere.storage.exists()

"""``mailusers mfa``: for somebody who is locked out."""

from __future__ import annotations

import pytest

from tests.cli.support import Shell
from tests.factor_support import OTHER_SECRET, SECRET
from tests.support import run_sql

BOSS = "boss@example.com"


@pytest.fixture
def locked(shell: Shell) -> Shell:
    """A box whose administrator has two second factors."""
    shell.add(BOSS, "--admin")
    for secret, label in ((SECRET, "phone"), (OTHER_SECRET, "tablet\x1b[31m")):
        run_sql(
            shell.storage / "mail" / "users.sqlite",
            "INSERT INTO mfa (user_id, type, secret, label) VALUES (1, 'totp', ?, ?)",
            secret,
            label,
        )
    return shell


def test_status(locked: Shell) -> None:
    """It lists what there is, without secrets and without what a terminal would obey."""
    result = locked.run("mfa", "status", BOSS)
    assert result.stdout.splitlines() == [
        "     1  totp  phone",
        "     2  totp  tablet\\x1b[31m",
        "recovery codes left: 0",
    ]
    assert locked.json("mfa", "status", BOSS) == {
        "email": BOSS,
        "factors": [
            {"id": 1, "type": "totp", "label": "phone"},
            {"id": 2, "type": "totp", "label": "tablet\x1b[31m"},
        ],
        "recovery_codes": 0,
    }


def test_disable(locked: Shell) -> None:
    """One is removed by its id, then all; where there is nothing it says so and fails."""
    result = locked.run("mfa", "disable", BOSS, "--id", "7")
    assert (result.exit_code, result.stderr) == (1, f"Error: {BOSS} has no second factor 7.\n")
    assert locked.run("mfa", "disable", BOSS, "--id", "1").stdout == "second factor removed\n"
    assert [factor["id"] for factor in locked.json("mfa", "status", BOSS)["factors"]] == [2]
    assert locked.run("mfa", "disable", BOSS).exit_code == 0
    assert locked.run("mfa", "status", BOSS).stdout == "no second factor\n"
    result = locked.run("mfa", "disable", BOSS)
    assert (result.exit_code, result.stderr) == (1, f"Error: {BOSS} has no second factor.\n")


def test_recovery_codes(locked: Shell) -> None:
    """New codes are printed, one a line; without a second factor there are none to make."""
    codes = locked.run("mfa", "codes", BOSS).stdout.split()
    assert len(set(codes)) == 10
    assert locked.json("mfa", "status", BOSS)["recovery_codes"] == 10
    locked.run("mfa", "disable", BOSS)
    result = locked.run("mfa", "codes", BOSS)
    assert (result.exit_code, "without a second factor" in result.stderr) == (1, True)


@pytest.mark.parametrize("command", ["status", "disable", "codes"])
def test_unknown_user(locked: Shell, command: str) -> None:
    """Nobody by that address is an error."""
    result = locked.run("mfa", command, "nobody@example.com")
    assert (result.exit_code, result.stderr) == (1, "Error: That's not a user (nobody@example.com).\n")

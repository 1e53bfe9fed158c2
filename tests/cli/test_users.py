"""``mailusers user``: the use cases from the console."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mailusers_plugin.cli import users
from tests.cli.support import PASSWORD, Shell

BOSS, USER = "boss@example.com", "user@example.com"


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A box with an administrator and a user."""
    shell.add(BOSS, "--admin")
    shell.add(USER, "--quota", "1g")
    return shell


def test_add_and_list(filled: Shell) -> None:
    """What was added is listed, for people by domain with sizes, for scripts as the API has it."""
    assert filled.users()[USER]["quota"] == "1G"
    assert filled.users()[BOSS]["privileges"] == ["admin"]
    lines = filled.run("user", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [BOSS, USER]
    assert lines[0].split()[1:] == ["?", "unlimited", "admin"]
    assert lines[1].split()[1:] == ["?", "?", "1G"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("add", USER, "--password-stdin"), PASSWORD, "User already exists."),
        (("add", "Ann@example.com", "--password-stdin"), PASSWORD, "lowercase ASCII letters"),
        (("add", "ann@example.com", "--password-stdin"), "short", "at least eight characters"),
        (("add", "ann@example.com", "--password-stdin"), "", "No password provided."),
        (("add", "ann@example.com"), "", "Use --password-stdin."),
        (("add", "ann@example.com", "--quota", "1.5G", "--password-stdin"), PASSWORD, "decimal points"),
        (("remove", "nobody@example.com"), None, "That's not a user (nobody@example.com)."),
        (("remove", BOSS), None, "That is the last administrator."),
        (("remove-admin", BOSS), None, "That is the last administrator."),
        (("purge", USER, "--confirm", USER), None, "That account is not archived."),
        (("purge", USER), None, "Repeat the address with --confirm."),
        (("quota", "nobody@example.com"), None, "That's not a user (nobody@example.com)."),
        (("password", "nobody@example.com", "--password-stdin"), PASSWORD, "That's not a user"),
    ],
)
def test_refusals(filled: Shell, arguments: tuple[str, ...], stdin: str | None, message: str) -> None:
    """What is refused says why on standard error, ends with 1, and changes nothing."""
    before = filled.users()
    result = filled.run("user", *arguments, stdin=stdin)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert filled.users() == before


def test_life_of_a_user(filled: Shell) -> None:
    """Quota, privileges, password, archive, restore and purge do what they say."""
    assert filled.run("user", "quota", USER).stdout == "1G\n"
    assert filled.run("user", "quota", USER, "2g").stdout == "OK\n"
    assert filled.users()[USER]["quota"] == "2G"
    assert filled.run("user", "make-admin", USER).stdout == "OK\n"
    assert filled.users()[USER]["privileges"] == ["admin"]
    assert filled.run("user", "remove-admin", USER).stdout == "OK\n"
    assert filled.users()[USER]["privileges"] == []
    changed = filled.run("user", "password", USER, "--password-stdin", stdin="another fine password\n")
    assert changed.stdout == "OK\n"
    assert filled.run("user", "remove", USER).stdout == "mail user removed\n"
    assert filled.users()[USER]["status"] == "inactive"
    assert filled.users()[USER]["archived_by"]
    filled.add(USER)
    assert filled.users()[USER]["status"] == "active"
    filled.run("user", "remove", USER)
    assert filled.run("user", "purge", USER, "--confirm", "other@example.com").exit_code == 1
    assert filled.run("user", "purge", USER, "--confirm", USER).stdout == "mail user purged\n"
    assert USER not in filled.users()


def test_password_is_asked_for_twice_on_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --password-stdin a terminal is asked, twice, and shows nothing of what is typed."""

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(users, "sys", type("sys", (), {"stdin": Terminal()}))
    result = shell.run("user", "add", BOSS, "--admin", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert BOSS in shell.users()


def test_hostile_text_does_not_reach_the_terminal(filled: Shell) -> None:
    """Control characters that another program put into the database are shown, not obeyed."""
    file = filled.storage / "mail" / "users.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE users SET privileges = ? WHERE email = ?", ("\x1b[2Jroot", USER))
    output = filled.run("user", "list").stdout
    assert "\x1b" not in output
    assert "\\x1b[2Jroot" in output


def test_wrong_usage_ends_with_2(shell: Shell) -> None:
    """An option that does not exist ends with 2, as other programs do."""
    assert shell.run("user", "add", "--no-such-option").exit_code == 2
    assert shell.run("no-such-command").exit_code == 2


@pytest.mark.parametrize(
    "command", ["", "serve", "user", "user add", "user purge", "events", "doctor", "settings"]
)
def test_help_everywhere(shell: Shell, command: str) -> None:
    """Every command explains itself."""
    result = shell.run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_a_mistyped_folder_is_not_made_a_box(shell: Shell, tmp_path: Path) -> None:
    """Only what begins a box makes one; any other command says that there is none."""
    nowhere = tmp_path / "mistyped"
    for command in (
        ("user", "list"),
        ("user", "remove", USER),
        ("events", "list"),
        ("audit", "list"),
        ("doctor",),
    ):
        result = shell.run(*command, "--storage-root", str(nowhere))
        assert result.exit_code == 1
        assert str(nowhere) in result.output
        assert not nowhere.exists()

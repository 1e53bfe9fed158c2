"""``mailusers dovecot-config`` and ``postfix-config``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Shell

URL = "postgresql+psycopg://mailusers:{}@db.example.com/mail"
SECRET = "the-panels.own/password"
COMMANDS = ("dovecot-config", "postfix-config")


@pytest.mark.parametrize("command", COMMANDS)
def test_printed(tmp_path: Path, command: str) -> None:
    """Every file is printed with its path, owner and mode, for the settings' database, without any password."""
    shell = Shell(tmp_path / "no-box-is-needed")
    printed = shell.run(command, MAILUSERS_DATABASE=URL.format(SECRET))
    assert printed.exit_code == 0
    assert SECRET not in printed.output
    found = shell.run(command, "--json", MAILUSERS_DATABASE=URL.format(SECRET))
    assert found.exit_code == 0
    assert not (tmp_path / "no-box-is-needed").exists()
    for fragment in Shell(tmp_path / "box").json(command):
        what = "add to" if fragment["part"] else f"{fragment['owner']} {fragment['mode']}"
        assert what
        assert f"# ---- {fragment['path']} (" in printed.output


@pytest.mark.parametrize("command", COMMANDS)
def test_written(tmp_path: Path, command: str) -> None:
    """With --write the files are made with the password in them, and printed is only what is to be added by hand."""
    password = "abcdefgh12345678"
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(password)
    (tmp_path / "etc" / "conf.d").mkdir(parents=True)
    shell = Shell(tmp_path / "box")
    arguments = (command, "--folder", str(tmp_path / "etc"), "--password-file", str(file))
    refused = shell.run(*arguments, MAILUSERS_DATABASE=URL.format(SECRET))
    assert (refused.exit_code, "A password is never printed" in refused.output) == (1, True)
    written = shell.run(*arguments, "--write", MAILUSERS_DATABASE=URL.format(SECRET))
    assert written.exit_code == 0, written.output
    assert password not in written.output
    made = [path for path in (tmp_path / "etc").rglob("*") if path.is_file()]
    assert any(password in path.read_text() for path in made)
    assert not any(SECRET in path.read_text() for path in made)
    assert (
        "virtual_mailbox_domains" in written.stdout if command == "postfix-config" else written.stdout == ""
    )
    again = shell.run(*arguments, "--write", MAILUSERS_DATABASE=URL.format(SECRET))
    assert again.exit_code == 1
    assert "Move it away first." in again.output

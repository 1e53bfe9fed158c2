"""``mailusers user export`` and ``undo-import``."""

from __future__ import annotations

import csv
import io
import json
import shutil
import stat
from pathlib import Path

import pytest

from mailusers_plugin.cli import export_users
from mailusers_plugin.passwords import Passwords
from tests.cli.support import PASSWORD, Shell
from tests.support import run_sql

BOSS, ANN, ZOE = "boss@example.com", "-ann@example.com", "zoe@example.org"


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A box with an administrator and two users."""
    shell.add(BOSS, "--admin")
    shell.add("zoe@example.org", "--quota", "1G")
    insert = "INSERT INTO users (email, password, privileges, quota) VALUES (?, 'x', '', '500M')"
    run_sql(shell.storage / "mail" / "users.sqlite", insert, ANN)
    return shell


def test_csv(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """All active users are written, no formula and no secret among them, however few at once."""
    whole = filled.run("user", "export")
    monkeypatch.setattr(export_users, "_AT_ONCE", 1)
    assert filled.run("user", "export").stdout == whole.stdout
    rows = list(csv.DictReader(io.StringIO(whole.stdout.removeprefix("\ufeff"))))
    assert [(row["email"], row["quota"], row["privileges"]) for row in rows] == [
        (f"'{ANN}", "500M", ""),
        (BOSS, "0", "admin"),
        (ZOE, "1G", ""),
    ]
    assert "password" not in whole.stdout
    assert whole.stderr == "3 users were written.\n"


def test_json(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is an array of the API's user objects, also with hashes and in pieces."""
    found = json.loads(filled.run("user", "export", "--format", "json").stdout)
    listed = filled.users()
    assert [user["email"] for user in found] == sorted(listed)
    assert all(listed[user["email"]] == {**user, "privileges": user["privileges"]} for user in found)
    monkeypatch.setattr(export_users, "_AT_ONCE", 1)
    path = filled.storage / "users.json"
    done = filled.run("user", "export", "--format", "json", "--with-hashes", "--output", str(path))
    assert done.exit_code == 0
    hashes = {user["email"]: user["password_hash"] for user in json.loads(path.read_text())}
    assert hashes[ANN] == "x"
    assert Passwords("SHA512-CRYPT").verify_now(PASSWORD, hashes[ZOE]).matches


def test_files(filled: Shell, tmp_path: Path) -> None:
    """Hashes go only into a new file that nobody else can read."""
    path = tmp_path / "users.csv"
    refused = filled.run("user", "export", "--with-hashes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "say --output FILE" in refused.stderr
    assert filled.run("user", "export", "--with-hashes", "--output", str(path)).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    again = filled.run("user", "export", "--output", str(path))
    assert "is there already, and is not written over" in again.stderr
    assert path.read_bytes() == before
    assert "cannot be made" in filled.run("user", "export", "--output", str(tmp_path / "no" / "where")).stderr


def test_move_to_another_box(filled: Shell, tmp_path: Path, blank_box: Path) -> None:
    """What is exported with hashes is imported into another box, where everybody has the old password."""
    path = tmp_path / "users.csv"
    run_sql(filled.storage / "mail" / "users.sqlite", "DELETE FROM users WHERE email = ?", ANN)
    filled.run("user", "export", "--with-hashes", "--output", str(path))
    shutil.copytree(blank_box, tmp_path / "other")
    other = Shell(tmp_path / "other")
    moved = other.run("user", "import", str(path))
    assert (moved.exit_code, moved.stdout) == (0, "2 users added; 0 lines left out.\n"), moved.stderr
    query = "SELECT email, password, privileges, quota FROM users ORDER BY email"
    old, new = (run_sql(shell.storage / "mail" / "users.sqlite", query) for shell in (filled, other))
    assert old == new


def test_undo_import(filled: Shell, tmp_path: Path) -> None:
    """Those whom an import has added are archived, nobody else is, and it can be said twice."""
    file, result = tmp_path / "users.csv", tmp_path / "result.csv"
    file.write_text(f"anna@example.com\n{ZOE}\nbert@example.com\n")
    filled.run("user", "import", str(file), "--leave-out", "--result", str(result))
    assert (
        filled.run("user", "undo-import", str(result)).stderr
        == "Error: There is no terminal to ask. Say --yes.\n"
    )
    filled.run("user", "remove", "anna@example.com")
    done = filled.run("user", "undo-import", str(result), "--yes")
    assert (done.exit_code, done.stdout) == (
        0,
        "1 users archived; 1 were not there any more, 0 could not be archived.\n",
    )
    statuses = {email: user["status"] for email, user in filled.users().items()}
    assert statuses == {
        ANN: "active",
        BOSS: "active",
        ZOE: "active",
        "anna@example.com": "inactive",
        "bert@example.com": "inactive",
    }
    # And it can be imported once more, with the mailboxes that were made meanwhile.
    again = filled.run(
        "user", "import", str(file), "--leave-out", "--again", "--restore", "--result", f"{result}2"
    )
    assert "2 users added, 2 of them with the mailbox" in again.stdout


def test_undo_leaves_an_administrator(shell: Shell, tmp_path: Path) -> None:
    """Who cannot be archived is named, and the exit code says that not all were."""
    file, result = tmp_path / "users.csv", tmp_path / "result.csv"
    file.write_text("boss@example.com,,,admin\nanna@example.com,,,\n")
    shell.run("user", "import", str(file), "--result", str(result))
    done = shell.run("user", "undo-import", str(result), "--yes")
    assert done.exit_code == 1
    assert "boss@example.com: That is the last administrator." in done.stderr
    assert done.stdout == "1 users archived; 0 were not there any more, 1 could not be archived.\n"


@pytest.mark.parametrize("content", [b"address\nanna@example.com\n", b"", b"\xff\xfe", b'"line","address'])
def test_undo_of_something_else(shell: Shell, tmp_path: Path, content: bytes) -> None:
    """A file that is no result of an import archives nobody."""
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    refused = shell.run("user", "undo-import", str(path), "--yes")
    assert refused.exit_code == 1
    assert "not the result file of an import" in refused.stderr

"""``mailusers backup`` and ``restore``: a box comes back as it was, whole, or stays as it is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.cli.copying import content, fill, opened
from tests.cli.support import Shell
from tests.servers.panel import PanelProcess
from tests.support import BOSS, CONSOLE, PASSWORD, QUICK, USER

ADMINISTRATOR = ("user", "add", BOSS, "--admin", "--password-stdin")


def done(storage: Path, *words: str) -> str:
    """Run a command that must succeed."""
    result = Shell(storage).run(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(storage: Path, *words: str, code: int = 1) -> str:
    """Return why a command is refused."""
    result = Shell(storage).run(*words)
    assert result.exit_code == code, result.output
    return result.output


def add(storage: Path, *emails: str) -> None:
    """Add users, past the command line."""

    async def run() -> None:
        runtime = Runtime(Settings(storage_root=storage, **QUICK))
        for email in emails:
            await runtime.service.add(CONSOLE, email, PASSWORD)
        await runtime.stop()

    asyncio.run(run())


def addresses(storage: Path) -> list[str]:
    """Return the active users."""
    domains = json.loads(done(storage, "user", "list", "--json"))
    return [user["email"] for domain in domains for user in domain["users"] if user["status"] == "active"]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The folder of a box with one user."""
    add(tmp_path / "box", USER)
    return tmp_path / "box"


def test_there_and_back(tmp_path: Path) -> None:
    """Every row of every table comes back, whatever happened to the box; what it was before can be had as well."""
    box, file = tmp_path / "box", tmp_path / "box.backup"
    fill(box)
    before = content(box)
    assert all(before.values())
    said = done(box, "backup", str(file))
    assert "7 active and 7 archived users" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with opened(box) as store:
        store.accounts.write_now(lambda connection: connection.exec_driver_sql("DELETE FROM users").rowcount)
        store.state.write_now(
            lambda connection: connection.exec_driver_sql("DELETE FROM mailusers_event").rowcount
        )
    changed = content(box)
    assert changed != before
    said = done(box, "restore", str(file), "--replace")
    assert content(box) == before
    (kept,) = tmp_path.glob("box.backup.before-*")
    assert str(kept) in said
    done(box, "restore", str(kept), "--replace")
    assert content(box) == changed
    done(tmp_path / "new", "restore", str(file))
    assert content(tmp_path / "new") == before
    assert not list(tmp_path.glob(".*"))


def test_the_mail_servers_keep_what_they_have_open(tmp_path: Path, box: Path) -> None:
    """The file stays the same one, with its owner, its mode and its journal mode: whoever has it open reads on."""
    path, file = box / "mail" / "users.sqlite", tmp_path / "box.backup"
    for mode in ("delete", "wal"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        done(box, "backup", str(file))
        before = path.stat()
        with closing(sqlite3.connect(path)) as reader:
            assert reader.execute("SELECT email FROM users").fetchall() == [(USER,)]
            add(box, f"{mode}@example.com")
            done(box, "restore", str(file), "--replace")
            assert reader.execute("SELECT email FROM users").fetchall() == [(USER,)]
            assert reader.execute("PRAGMA journal_mode").fetchone() == (mode,)
        after = path.stat()
        assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)
        file.unlink()


def test_while_the_panel_runs(tmp_path: Path) -> None:
    """A backup beside changes is one state of the box: who is in it is in it with everything."""
    box = tmp_path / "box"
    Runtime(Settings(storage_root=box, **QUICK)).close()
    with PanelProcess(box) as panel:
        assert panel.command(*ADMINISTRATOR, stdin=f"{PASSWORD}\n").returncode == 0
        backups = []
        for number in range(30):
            assert panel.api("/add", email=f"u{number}@example.com", password=PASSWORD).status == 200
            if number % 10 == 5:
                backups.append(tmp_path / f"{number}.backup")
                result = panel.command("backup", str(backups[-1]))
                assert result.returncode == 0, result.stderr
        result = panel.command("restore", str(backups[0]), "--replace")
        assert (result.returncode, "Stop it" in result.stderr) == (75, True)
    for number, file in zip((5, 15, 25), backups, strict=True):
        folder = tmp_path / f"new{number}"
        done(folder, "restore", str(file))
        assert set(addresses(folder)) == {BOSS, *(f"u{n}@example.com" for n in range(number + 1))}
        with PanelProcess(folder) as again:
            # The key came along, and hooks are told of what they had not heard.
            assert again.request("GET", "/admin/mail/users/quota?email=u3@example.com").status == 401
            assert again.api(f"/quota?email=u{number}@example.com").status == 200


def test_what_is_refused(tmp_path: Path, box: Path) -> None:
    """Nothing is written over without being told to, and nothing is put back that is not whole."""
    file = tmp_path / "box.backup"
    done(box, "backup", str(file))
    assert "is there already" in refused(box, "backup", str(file))
    assert "There is no box" in refused(tmp_path / "none", "backup", str(tmp_path / "x"))
    assert "could not be written" in refused(box, "backup", str(tmp_path / "missing" / "x"))
    assert "Say --replace" in refused(box, "restore", str(file))
    before = content(box)
    whole = file.read_bytes()
    place = whole.index(b"SQLite format 3") + 5000
    for name, damaged in {
        "flipped": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
        "short": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"no backup at all",
    }.items():
        (tmp_path / name).write_bytes(damaged)
        said = refused(box, "restore", str(tmp_path / name), "--replace")
        assert "is not what was written" in said or "no backup of this command" in said
    assert content(box) == before
    assert not list(tmp_path.glob("*.before-*"))


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped-by-a-backup", "api.key/../../escaped"])
def test_a_hostile_backup(tmp_path: Path, box: Path, name: str) -> None:
    """Nothing in a file that somebody else made leads out of the folder that is made for it."""
    file, made = tmp_path / "box.backup", tmp_path / "made.backup"
    done(box, "backup", str(file))
    with tarfile.open(file) as source, tarfile.open(made, "w") as target:
        manifest = json.loads(source.extractfile("manifest.json").read())  # type: ignore[union-attr]
        manifest["sha256"][name] = "0" * 64
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        target.add(tmp_path / "manifest.json", "manifest.json")
        for member in source.getmembers()[1:]:
            target.addfile(member, source.extractfile(member))
        target.add(tmp_path / "manifest.json", name)
    assert "no backup of this command" in refused(tmp_path / "new", "restore", str(made))
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/tmp/escaped-by-a-backup").exists()


def test_a_box_that_is_locked(tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program keeps the accounts to itself, nothing is changed and that is said."""
    monkeypatch.setattr("mailusers_plugin.store.backups._PATIENCE_SECONDS", 0.3)
    file = tmp_path / "box.backup"
    done(box, "backup", str(file))
    add(box, "second@example.com")
    before = content(box)
    with closing(sqlite3.connect(box / "mail" / "users.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM users").fetchall()
        said = refused(box, "restore", str(file), "--replace", code=75)
        other.execute("ROLLBACK")
    assert "locked" in said
    assert content(box) == before

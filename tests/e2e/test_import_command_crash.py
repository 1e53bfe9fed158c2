"""The command's import, ended in the middle by SIGKILL and by Ctrl-C, and run again."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailusers_plugin.passwords import Passwords
from tests.servers.panel import ROOT
from tests.support import BOSS, run_sql

LINES = 120
BATCH = 10
GIVEN = "a password of the file"
FAULTY = 50
"""A line that is left out."""


class Import:
    """A file that is imported into a box, by as many calls of the command as it takes."""

    def __init__(self, folder: Path, blank: Path) -> None:
        self.box = folder / "box"
        self.result = folder / "result.csv"
        self.file = folder / "users.csv"
        # Every other line has a password of its own; to the others one is made up.
        lines = [f"user{n}@example.com,{GIVEN if n % 2 else ''}\n" for n in range(1, LINES + 1)]
        lines[FAULTY - 1] = "Faulty@example.com,\n"
        self.file.write_text("".join(lines))
        self.environment = {
            "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
            "MAILUSERS_COMMIT_PAUSE_SECONDS": "0",
            "MAILUSERS_DOVEADM": "",
        }
        shutil.copytree(blank, self.box)
        add = "INSERT INTO users (email, password, privileges) VALUES (?, 'nobody logs in', 'admin')"
        run_sql(self.box / "mail" / "users.sqlite", add, BOSS)

    def start(self, *arguments: str, python_path: Path | None = None) -> subprocess.Popen[str]:
        """Start the command."""
        options = ["--leave-out", "--result", str(self.result), "--batch", str(BATCH), *arguments]
        command = [sys.executable, "-m", "mailusers_plugin", "user", "import", str(self.file), *options]
        paths = f"{ROOT}{os.pathsep}{python_path}" if python_path else str(ROOT)
        return subprocess.Popen(
            [*command, "--storage-root", str(self.box)],
            env={**os.environ, **self.environment, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_further(self, process: subprocess.Popen[str], than: int) -> None:
        """Wait until more is written into the result, or the command has ended."""
        deadline = time.monotonic() + 30
        while process.poll() is None and self.size() <= than:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def size(self) -> int:
        """Return how much is in the result."""
        return self.result.stat().st_size if self.result.exists() else 0

    def stored(self) -> dict[str, str]:
        """Return the hashes of the users that are there."""
        return dict(run_sql(self.box / "mail" / "users.sqlite", "SELECT email, password FROM users"))

    def results(self, path: Path | None = None) -> list[dict[str, str]]:
        """Return the whole lines of the result."""
        text = (path or self.result).read_text(encoding="utf-8-sig")
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

    def check_nothing_is_lost(self) -> None:
        """See that every line of the result is true, and that each made password is in one of the two files."""
        stored = self.stored()
        known = {row["address"]: row["password"] for row in self.results()}
        for row in self.results():
            assert (row["address"] in stored) is (row["result"] == "added"), row
        pending = self.result.with_name("result.csv.pending")
        if pending.exists():
            known |= {row["address"]: row["password"] for row in self.results(pending)}
        for number in range(2, LINES + 1, 2):
            email = f"user{number}@example.com"
            assert email not in stored or known[email], email

    def check_done(self) -> None:
        """See that everybody is there once, with the right password, and that the hooks were told once."""
        passwords = Passwords("SHA512-CRYPT")
        stored = self.stored()
        rows = self.results()
        passwords.close()
        assert [int(row["line"]) for row in rows] == list(range(1, LINES + 1))
        assert rows.pop(FAULTY - 1)["result"] == "left out"
        assert stored.keys() - {BOSS} == {row["address"] for row in rows}
        for row in rows:
            assert row["result"] == "added"
            assert bool(row["password"]) is (int(row["line"]) % 2 == 0)
            assert passwords.verify_now(row["password"] or GIVEN, stored[row["address"]]).matches
        assert not self.result.with_name("result.csv.pending").exists()
        told = run_sql(
            self.box / "mailusers" / "state.sqlite",
            "SELECT email FROM mailusers_audit WHERE type = 'UserAdded'",
        )
        assert sorted(email for (email,) in told) == sorted(row["address"] for row in rows)


@pytest.fixture
def work(tmp_path: Path, blank_box: Path) -> Import:
    """A box with an administrator, and a file."""
    return Import(tmp_path, blank_box)


def test_killed_again_and_again(work: Import) -> None:
    """Killed at moments of chance it goes on each time; no user is lost or added twice, and no password is lost."""
    seed = int(os.environ.get("MAILUSERS_TEST_SEED", time.time_ns() % 100_000))
    chance = random.Random(seed)
    kills = 0
    while kills < 6:
        before = work.size()
        process = work.start()
        work.wait_until_further(process, before)
        time.sleep(chance.random() ** 2 * 0.15)
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, (seed, errors)
        kills += 1
        work.check_nothing_is_lost()
    process = work.start()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, (seed, kills, errors)
    assert kills >= 3, seed
    # Or, where it was killed while it told the hooks, that all had been added.
    assert f"{LINES - 1} users added" in output
    work.check_done()


@pytest.mark.parametrize(
    ("module", "function", "after"),
    [
        ("mailusers_plugin.cli.import_journal.Journals", "save", "begin"),
        ("mailusers_plugin.cli.import_result.ResultFile", "plan", "end"),
        ("mailusers_plugin.store.outbox", "append_all", "end"),
        ("mailusers_plugin.cli.import_result.ResultFile", "append", "torn"),
        ("mailusers_plugin.cli.import_result.ResultFile", "end", "begin"),
    ],
)
def test_killed_at_every_step(work: Import, tmp_path: Path, module: str, function: str, after: str) -> None:
    """Wherever between two steps it is killed, the next call goes on without loss."""
    holder, _, name = module.rpartition(".")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, importlib\n"
        f"try:\n    holder = getattr(importlib.import_module({holder!r}), {name!r})\n"
        f"except AttributeError:\n    holder = importlib.import_module({module!r})\n"
        f"real, calls = getattr(holder, {function!r}), []\n"
        "def killed(*arguments, **named):\n"
        "    calls.append(1)\n"
        f"    if len(calls) < {1 if function == 'end' else 4}:\n        return real(*arguments, **named)\n"
        f"    if {after!r} == 'torn':\n"
        '        os.pwrite(arguments[0]._file, b\'"41","user\', arguments[0].size)\n'
        f"    if {after!r} == 'end':\n        real(*arguments, **named)\n"
        "    os.kill(os.getpid(), 9)\n"
        f"setattr(holder, {function!r}, killed)\n"
    )
    process = work.start(python_path=site)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    work.check_nothing_is_lost()
    # Who is there already is no error of a line.
    checked, errors = work.start("--dry-run").communicate(timeout=60)
    assert "User already exists" not in checked
    assert checked, errors
    process = work.start()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert function == "end" or f"{LINES - 1} users added; 1 line left out" in output
    work.check_done()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_somebody(work: Import, number: signal.Signals) -> None:
    """Ctrl-C lets what is hashed be added, says how far it came and how to go on, and going on ends it."""
    process = work.start()
    work.wait_until_further(process, 100)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "Run the same command again to go on" in errors
    there = len(work.stored()) - 1
    assert 0 < there < LINES - 1
    assert f"{there} users were added so far" in errors
    # What is there is in the result, and nothing is under way.
    assert {row["address"] for row in work.results() if row["result"] == "added"} == work.stored().keys() - {
        BOSS
    }
    process = work.start()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "goes on behind line" in errors
    assert f"{LINES - 1} users added; 1 line left out" in output
    work.check_done()
    # Nothing happens when it is called once more.
    process = work.start()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("This file was imported by the import that began at ")

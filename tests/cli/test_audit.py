"""``mailusers audit``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.cli.support import Shell
from tests.support import BOSS, run_sql

TRIGGERS = ("update", "delete", "insert")


def tamper(shell: Shell, statement: str) -> None:
    """Run a statement on the trail after dropping what keeps it from being changed."""
    file = shell.storage / "mailusers" / "state.sqlite"
    for name in TRIGGERS:
        run_sql(file, f"DROP TRIGGER IF EXISTS mailusers_audit_no_{name}")
    run_sql(file, statement)


@pytest.fixture
def trail(shell: Shell) -> Shell:
    """A box with three entries."""
    shell.add(BOSS, "--admin")
    shell.run("user", "quota", BOSS, "1G")
    shell.run("user", "quota", BOSS, "2G", SUDO_USER="ann")
    return shell


def test_list(trail: Shell) -> None:
    """The trail says what changed, by whom, old and new, and never a secret; filters narrow it."""
    newest, middle, oldest = trail.json("audit", "list")
    assert (newest["type"], newest["actor"], newest["ip"]) == ("QuotaChanged", "ann", None)
    assert (middle["detail"]["old_quota"], middle["detail"]["new_quota"]) == ("0", "1G")
    assert (oldest["type"], oldest["via"], oldest["detail"]["privileges"]) == ("UserAdded", "cli", ["admin"])
    text = trail.run("audit", "list").output
    assert f"QuotaChanged {BOSS} by ann (cli) " in text
    assert "correct horse" not in text
    assert len(trail.json("audit", "list", "--actor", "ann")) == 1
    assert len(trail.json("audit", "list", "--type", "UserAdded", "--since", "2020-01-01")) == 1
    assert trail.json("audit", "list", "--until", "2020-01-01") == []
    refused = trail.run("audit", "list", "--since", "yesterday")
    assert refused.exit_code == 1
    assert "Give the time as a day" in refused.output


def test_verify(trail: Shell) -> None:
    """It says how many entries are right, and how the trail ends, as 'audit head' does."""
    head = trail.run("audit", "head").stdout.strip()
    assert head.startswith("3:")
    result = trail.run("audit", "verify")
    assert (result.exit_code, result.stdout) == (
        0,
        f"All 3 entries are as they were written.\nHead: {head}\n",
    )
    trail.run("user", "quota", BOSS, "3G")
    assert trail.run("audit", "verify", "--head", head).exit_code == 0
    found = trail.json("audit", "verify", "--head", head)
    assert (found["right"], found["checked"], found["guarded"], found["fault"]) == (True, 4, True, None)
    assert trail.run("audit", "verify", "--head", "what").exit_code == 1


def test_verify_finds_what_was_changed(trail: Shell) -> None:
    """The first entry that is wrong is named, the exit code says so, and so does the JSON."""
    tamper(trail, "UPDATE mailusers_audit SET actor = 'nobody' WHERE seq = 2")
    result = trail.run("audit", "verify")
    assert result.exit_code == 1
    assert "Error: The audit trail was tampered with at entry 2." in result.stderr
    assert "Warning: The database does not refuse to change entries" in result.stderr
    machine = trail.run("audit", "verify", "--json")
    assert machine.exit_code == 1
    assert json.loads(machine.stdout)["fault"]["seq"] == 2
    # Pruning would take the trace away.
    pruned = trail.run("audit", "prune", "--before", "2100-01-01", "--yes")
    assert pruned.exit_code == 1
    assert "Nothing was deleted" in pruned.stderr
    assert len(trail.json("audit", "list")) == 3


def test_verify_with_a_head(trail: Shell) -> None:
    """A trail that was cut off, with its end changed to match, is found by the head that was noted down."""
    head = trail.run("audit", "head").stdout.strip()
    tamper(trail, "DELETE FROM mailusers_audit WHERE seq = 3")
    file = trail.storage / "mailusers" / "state.sqlite"
    run_sql(file, "DROP TRIGGER mailusers_audit_chain_update")
    ((newest,),) = run_sql(file, "SELECT hash FROM mailusers_audit WHERE seq = 2")
    run_sql(file, "UPDATE mailusers_audit_chain SET head_seq = 2, head_hash = ?", newest)
    assert trail.run("audit", "verify").exit_code == 0
    result = trail.run("audit", "verify", "--head", head)
    assert result.exit_code == 1
    assert "at entry 3. It is missing: the trail was cut off" in result.stderr


def test_protect(trail: Shell) -> None:
    """Triggers that are missing are made again."""
    tamper(trail, "SELECT 1")
    assert trail.json("audit", "verify")["guarded"] is False
    assert trail.run("audit", "protect").exit_code == 0
    assert trail.json("audit", "verify")["guarded"] is True


def test_prune(trail: Shell) -> None:
    """Old entries go once that was said twice, an entry says so, and the rest stays right."""
    asked = trail.run("audit", "prune", "--before", "2100-01-01", stdin="n\n")
    assert asked.exit_code == 1
    assert "Delete 3 entries that are older than 2100-01-01 00:00 UTC for good?" in asked.output
    assert len(trail.json("audit", "list")) == 3
    done = trail.run("audit", "prune", "--before", "2100-01-01", "--yes", SUDO_USER="ann")
    assert done.stdout == "3 entries were deleted.\n"
    (left,) = trail.json("audit", "list")
    assert (left["type"], left["actor"], left["seq"]) == ("AuditPruned", "ann", 4)
    assert "Those up to 3 were pruned." in trail.run("audit", "verify").stdout
    assert (
        trail.run("audit", "prune", "--before", "2020-01-01", "--yes").stdout == "0 entries were deleted.\n"
    )


def test_export(trail: Shell, tmp_path: Path) -> None:
    """Entries are written as CSV and as lines of JSON, into a new file that only its owner can read."""
    lines = trail.run("audit", "export", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == trail.json("audit", "list")
    file = tmp_path / "trail.csv"
    result = trail.run("audit", "export", "--output", str(file), "--type", "QuotaChanged")
    assert result.stderr == "2 entries were written.\n"
    assert file.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    assert [row["email"] for row in rows] == [BOSS, BOSS]
    assert json.loads(rows[0]["detail"])["new_quota"] == "2G"

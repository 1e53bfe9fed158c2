"""The command's import beside a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.panel import PanelProcess
from tests.support import BOSS, PASSWORD

LINES = 40


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A panel with an administrator."""
    environment = {"MAILUSERS_DOVEADM": "", "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT"}
    made = PanelProcess(tmp_path / "box", environment=environment)
    add = ("user", "add", BOSS, "--admin", "--password-stdin")
    assert made.command(*add, stdin=f"{PASSWORD}\n").returncode == 0
    with made:
        yield made


def test_the_server_tells_the_hooks_and_shows_the_users(panel: PanelProcess, tmp_path: Path) -> None:
    """With --wait the server has told all hooks when the command ends; the list and log-ins know the users at once."""
    file = tmp_path / "users.csv"
    file.write_text("".join(f"user{number}@example.com,a password of {number}\n" for number in range(LINES)))
    done = panel.command("user", "import", str(file), "--batch", "7", "--wait")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"{LINES} users added; 0 lines left out.")
    assert "events list" not in done.stderr
    entries = panel.request(
        "GET", "/admin/mail/users?format=json&limit=100", user=BOSS, password=PASSWORD
    ).json()
    assert [len(domain["users"]) for domain in entries] == [LINES + 1]
    login = panel.request("POST", "/admin/login", {}, user="user7@example.com", password="a password of 7")
    assert login.json()["status"] == "ok"
    told = panel.command("audit", "list", "--limit", "100").stdout
    assert told.count(" UserAdded user") == LINES
    # The server did that: nothing is left, and nobody was told twice.
    assert panel.command("events", "list", "--json").stdout.strip() == "[]"

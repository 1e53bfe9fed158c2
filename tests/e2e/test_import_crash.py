"""A real server that is killed, or asked to end, in the middle of an import."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailusers_plugin.imports_run import Run
from tests.servers.panel import PanelProcess, Reply
from tests.support import BOSS, PASSWORD, QUICK

SLOW_MODULE = """
import asyncio
from mailusers_plugin import hookimpl

@hookimpl
async def mailusers_validate_add(request):
    if request.actor.via != "cli":
        await asyncio.sleep(0.2)
"""
LINES = 200


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A panel with an administrator, and a module that makes an import take some seconds."""
    site = tmp_path / "site"
    (site / "slow_module-1.dist-info").mkdir(parents=True)
    (site / "slow_module.py").write_text(SLOW_MODULE)
    (site / "slow_module-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: slow-module\nVersion: 1\n"
    )
    (site / "slow_module-1.dist-info" / "entry_points.txt").write_text("[mailusers]\nslow = slow_module\n")
    environment = {
        "MAILUSERS_DOVEADM": QUICK["doveadm"][0],
        "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
        "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
    }
    made = PanelProcess(tmp_path / "box", python_path=[site], environment=environment)
    assert (
        made.command("user", "add", BOSS, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n").returncode
        == 0
    )
    with made:
        yield made


def ask(panel: PanelProcess, method: str, path: str, form: dict[str, str] | None = None) -> Reply:
    """Send a request as the administrator."""
    headers = {"Accept": "text/html"}
    return panel.request(method, path, form, user=BOSS, password=PASSWORD, headers=headers, redirects=False)


def begin(panel: PanelProcess) -> str:
    """Upload a file and begin to import it; return the path of its page once passwords are being hashed."""
    text = "".join(f"user{number}@example.com,secret-of-{number}\n" for number in range(LINES))
    path = ask(panel, "POST", "/admin/users/import", {"text": text}).headers["Location"]
    assert ask(panel, "POST", path, {"action": "import"}).status == 303
    deadline = time.monotonic() + 20
    while not re.search(r"<progress max=\"200\" value=\"[1-9]", ask(panel, "GET", path).text):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path


def users(panel: PanelProcess) -> list[str]:
    """Return who is in the box, by another connection."""
    with closing(sqlite3.connect(panel.storage / "mail" / "users.sqlite")) as connection:
        return [email for (email,) in connection.execute("SELECT email FROM users")]


def files_with(panel: PanelProcess, text: bytes) -> list[str]:
    """Return the files of the box in which something stands."""
    return [path.name for path in panel.storage.rglob("*") if path.is_file() and text in path.read_bytes()]


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_server_ends_in_the_middle(panel: PanelProcess, end: str) -> None:
    """Nobody is there, no password is on the disk, and the next server says that nothing was imported."""
    path = begin(panel)
    getattr(panel, end)()
    assert users(panel) == [BOSS]
    assert files_with(panel, b"secret-of-") == []
    panel.start()
    page = ask(panel, "GET", path).text
    assert "The import was interrupted" in page
    assert "Nothing was imported. Upload the file again." in page
    assert users(panel) == [BOSS]
    events = panel.command("audit", "list").stdout
    assert "user1@example.com" not in events
    # And nothing is in the way of the next one.
    assert begin(panel) != path


def test_killed_between_commit_and_book_keeping(panel: PanelProcess, tmp_path: Path) -> None:
    """Killed after the users were added and before that was noted, the next server says that they were added."""
    assert callable(Run._succeed)
    hook = tmp_path / "site" / "slow_module.py"
    hook.write_text(
        "import os\nfrom mailusers_plugin.imports_run import Run\n"
        "async def die(*_):\n    os.kill(os.getpid(), 9)\nRun._succeed = die\n"
        "from mailusers_plugin import hookimpl\n@hookimpl\ndef mailusers_validate_add(request):\n    pass\n"
    )
    panel.stop()
    panel.start()
    text = "anna@example.com\nbert@example.com\nnonsense\n"
    path = ask(panel, "POST", "/admin/users/import", {"text": text}).headers["Location"]
    assert ask(panel, "POST", path, {"action": "leave-out"}).status == 303
    deadline = time.monotonic() + 20
    while len(users(panel)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    panel.kill()
    hook.write_text(SLOW_MODULE)
    panel.start()
    page = ask(panel, "GET", f"{path}?show=all").text
    assert "The passwords that it had made up are lost" in page
    assert re.search(r"<strong>2</strong>\s+users were added", page)
    assert re.search(r"<strong>1</strong>\s+line was left out", page)
    assert sorted(users(panel)) == ["anna@example.com", "bert@example.com", BOSS]
    assert ask(panel, "GET", f"{path}/result.csv").status == 404

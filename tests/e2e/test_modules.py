"""Modules of other packages: found by their entry point, and told of everything, whatever happens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.clients import wait_until
from tests.servers.panel import PanelProcess, install_package

PACKAGES = Path(__file__).parents[1] / "packages"
EMAIL = "new@example.com"
PASSWORD = "correct horse battery"
NO_DOVECOT = {"MAILUSERS_DOVEADM": ""}


@dataclass(frozen=True)
class Notes:
    """The file in which the module notes what it is told of."""

    file: Path

    def read(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def hold(self) -> None:
        """Make the module hang before it notes anything."""
        self.file.with_suffix(".hold").touch()

    def release(self) -> None:
        """Let it go on."""
        self.file.with_suffix(".hold").unlink()


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """An empty file."""
    return Notes(tmp_path / "notes.jsonl")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the little module's package is installed."""
    folder = tmp_path_factory.mktemp("notes")
    install_package(PACKAGES / "notes_module", folder)
    return folder / "site"


@pytest.fixture
def panel(tmp_path: Path, site: Path, notes: Notes) -> Iterator[PanelProcess]:
    """A panel, not started yet, in whose environment the module is installed."""
    environment = {**NO_DOVECOT, "NOTES_FILE": str(notes.file)}
    process = PanelProcess(tmp_path / "box", python_path=[site], environment=environment)
    yield process
    process.stop()


def first_administrator(panel: PanelProcess) -> None:
    """Use the link on the console, as the first visitor of a new box does."""
    path = panel.set_up_link()
    form = panel.request("GET", path)
    token = re.search(r'name="_xsrf" value="([^"]+)"', form.text)
    assert token is not None
    fields = {
        "email": "boss@example.com",
        "password": PASSWORD,
        "_xsrf": token[1],
        "token": path.rpartition("token=")[2],
    }
    cookie = form.headers["Set-Cookie"].partition(";")[0]
    url = f"{panel.prefix}/mailusers/setup"
    assert panel.request("POST", url, fields, headers={"Cookie": cookie}, redirects=False).status == 303


def test_a_module_is_told_of_each_event(panel: PanelProcess, notes: Notes) -> None:
    """A package found by its entry point is told of an added user, a changed quota, and an archived user."""
    with panel:
        first_administrator(panel)
        assert panel.api("/add", email=EMAIL, password=PASSWORD, quota="1G").text == "mail user added\n"
        assert panel.api("/quota", email=EMAIL, quota="2G").text == "OK"
        assert panel.api("/remove", email=EMAIL).text == "mail user removed\n"
    told = [(note["type"], note["email"]) for note in notes.read()]
    assert told == [
        ("UserAdded", "boss@example.com"),
        ("UserAdded", EMAIL),
        ("QuotaChanged", EMAIL),
        ("UserArchived", EMAIL),
    ]
    change = notes.read()[2]
    assert (change["old_quota_bytes"], change["new_quota_bytes"]) == (2**30, 2**31)


def test_a_killed_server_tells_after_its_restart(panel: PanelProcess, notes: Notes) -> None:
    """An event whose server was killed between commit and delivery is delivered after the restart, in order."""
    with panel:
        first_administrator(panel)
        wait_until(notes.read, message="the first event")
        notes.hold()
        assert panel.api("/add", 0, email=EMAIL, password=PASSWORD).text == "mail user added\n"
        assert panel.api("/quota", 0, email=EMAIL, quota="2G").text == "OK"
        panel.kill()
        assert len(notes.read()) == 1
        notes.release()
        panel.start()
        wait_until(lambda: len(notes.read()) == 3, message="the events of before the crash")
        assert [note["type"] for note in notes.read()[1:]] == ["UserAdded", "QuotaChanged"]
        assert EMAIL in panel.api("", 0).text


def test_a_server_finishes_what_runs_when_it_is_stopped(panel: PanelProcess, notes: Notes) -> None:
    """SIGTERM ends the server with exit code 0, and what it had not delivered is delivered by the next one."""
    with panel:
        first_administrator(panel)
        wait_until(notes.read, message="the first event")
        notes.hold()
        assert panel.api("/add", 0, email=EMAIL, password=PASSWORD).status == 200
        assert panel.stop() == 0
        notes.release()
        panel.start()
        wait_until(lambda: len(notes.read()) > 1, message="the event of before the restart")
        assert notes.read()[1]["email"] == EMAIL


def test_a_module_that_is_wrong_keeps_the_panel_from_starting(tmp_path: Path) -> None:
    """A misspelt hook is named when the panel starts, not missed when it should have been called."""
    source = tmp_path / "misspelt"
    source.mkdir()
    for name in ("pyproject.toml",):
        (source / name).write_text((PACKAGES / "notes_module" / name).read_text())
    (source / "setup.cfg").write_text(
        "[metadata]\nname = misspelt\nversion = 1\n[options]\npy_modules = misspelt\n"
        "[options.entry_points]\nmailusers =\n    misspelt = misspelt\n"
    )
    (source / "misspelt.py").write_text(
        "from mailusers_plugin import hookimpl\n@hookimpl\ndef mailusers_post_ad(event):\n    pass\n"
    )
    install_package(source, tmp_path / "installed")
    panel = PanelProcess(
        tmp_path / "box", python_path=[tmp_path / "installed" / "site"], environment=NO_DOVECOT
    )
    with pytest.raises(RuntimeError, match=r"misspelt.*mailusers_post_ad"):
        panel.start()

"""The console examples in docs/ are run, and print what they are said to."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mailusers_plugin.models import ADMIN, Actor
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.generate_docs import DOCS
from tests.servers.panel import ROOT, PanelProcess
from tests.test_docs import code

_MARK = "--mark--"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

# Fails for one address, so that it is not in the way of the other examples.
_MODULE = """\
from mailusers_plugin import hookimpl

@hookimpl
def mailusers_post_add(event):
    if event.email == "ann@example.com":
        raise ConnectionRefusedError("no CRM here")
"""


def session(text: str) -> list[tuple[str, str]]:
    """Return the commands of a file's console blocks, each with what it is said to print."""
    found: list[tuple[str, str]] = []
    for block in code(text, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = entry.splitlines()
            command = [lines.pop(0), *(lines.pop(0)[2:] for line in list(lines) if line.startswith("> "))]
            found.append(("\n".join(command), "\n".join(lines)))
    return found


def run(commands: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Run commands in one shell; return what each has printed."""
    script = [f'mailusers() {{ {shlex.quote(sys.executable)} -m mailusers_plugin "$@"; }}']
    for command in commands:
        script += [command, f"code=$?; echo {_MARK}; (exit $code)"]
    found = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        text=True,
        timeout=300,
    )
    return [part.strip("\n") for part in found.stdout.split(_MARK)][:-1]


def without_chance(text: str) -> str:
    """Replace what differs from run to run: times, ids, who runs the tests."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ [0-9a-f]{32}", "TIME ID", text)
    return re.sub(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)( \w+ \S+ by) \S+", r"TIME\2 NAME", text)


def check(expected: list[tuple[str, str]], folder: Path, environment: dict[str, str]) -> None:
    """Run commands and compare what each prints with what it is said to print."""
    printed = run([command for command, _ in expected], folder, environment)
    assert len(printed) == len(expected)
    for (command, said), found in zip(expected, printed, strict=True):
        assert without_chance(found) == without_chance(said), command


def install_crm(site: Path) -> None:
    """Put the module of the examples where Python finds it, as an installer does."""
    metadata = site / "crm-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "crm_module.py").write_text(_MODULE, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: crm\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[mailusers]\ncrm = crm_module\n", encoding="utf-8")


def test_of_the_commands(tmp_path: Path) -> None:
    """The examples of docs/cli.md are run, one after the other, on an empty box."""
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    text = text.replace("/srv/box", str(tmp_path / "box")).replace("/run/secrets", str(tmp_path))
    (tmp_path / "new-user").write_text("another good password\n", encoding="utf-8")
    install_crm(tmp_path / "site")
    expected = session(text)
    environment = {
        "PATH": PATH,
        "HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}",
        "LC_ALL": "C.UTF-8",
        "MAILUSERS_HOOK_ATTEMPTS": "1",
        "MAILUSERS_DOVEADM": "",
    }
    check(expected, tmp_path, environment)


def test_of_the_import(tmp_path: Path, blank_box: Path) -> None:
    """The examples of docs/import.md are run, one after the other, on a box with one administrator."""
    shutil.copytree(blank_box, tmp_path / "box")
    runtime = Runtime(Settings(storage_root=tmp_path / "box", doveadm=()))
    try:
        asyncio.run(
            runtime.service.add(Actor(None, "cli"), "boss@example.com", "correct horse battery", (ADMIN,))
        )
    finally:
        runtime.close()
    text = (DOCS / "import.md").read_text(encoding="utf-8").replace("/srv", str(tmp_path))
    expected = session(text)
    (file,) = (said for command, said in expected if command == "cat users.csv")
    (tmp_path / "users.csv").write_text(f"{file}\n", encoding="utf-8")
    environment = {
        "PATH": PATH,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
        "MAILUSERS_DOVEADM": "",
    }
    check(expected, tmp_path, environment)


def test_of_the_api(tmp_path: Path) -> None:
    """The examples of docs/api.md are run, one after the other, against a panel with one administrator."""
    quiet = {"MAILUSERS_DOVEADM": ""}
    runtime = Runtime(Settings(storage_root=tmp_path / "box", doveadm=()))
    try:
        asyncio.run(
            runtime.service.add(Actor(None, "cli"), "boss@example.com", "correct horse battery", (ADMIN,))
        )
    finally:
        runtime.close()
    with PanelProcess(tmp_path / "box", environment=quiet) as panel:
        text = (DOCS / "api.md").read_text(encoding="utf-8")
        text = text.replace("http://127.0.0.1:10222", panel.url).replace("/srv/box", str(panel.storage))
        check(session(text), tmp_path, {"PATH": PATH, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"})

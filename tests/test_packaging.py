"""What is built from this checkout holds everything, and runs where the checkout is not."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "mailusers_plugin": "mailusers_plugin",
    "hooks": "mailusers_plugin/hooks",
    "templates": "mailusers_plugin/templates",
}


def shipped() -> Iterator[tuple[str, str]]:
    """Every file of the package: its path in the checkout, and its path where it is installed."""
    for folder, installed in PARTS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            linked = folder == "mailusers_plugin" and inside.parts[0] in PARTS
            if path.is_file() and not linked and "__pycache__" not in inside.parts:
                yield f"{folder}/{inside.as_posix()}", f"{installed}/{inside.as_posix()}"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program away from the checkout's import path, and give what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it; a copy is built, so the checkout stays clean."""
    copy = tmp_path_factory.mktemp("copy") / "mailusers_plugin"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    copy.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PARTS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=out)
    return out


def test_wheel_holds_every_file(built: Path) -> None:
    """Each module, hook, template, static file and migration is in the wheel, under the package's name."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == {installed for _, installed in shipped()}


def test_sdist_holds_every_file(built: Path) -> None:
    """A wheel can be built from the sdist alone, and the licence goes with it."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name, _ in shipped()} | {"LICENSE", "README.md", "setup.cfg"} <= inside


def test_wheel_runs_away_from_the_checkout(built: Path, tmp_path: Path) -> None:
    """Installed with only what it declares, the command starts, and a host finds the plugin and the hooks."""
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)

    assert "serve" in run(tmp_path / "venv/bin/mailusers", "--help", cwd=tmp_path)
    program = """
from importlib.metadata import entry_points
import mailusers_plugin.hooks
(plugin,) = entry_points(group="adminpanel", name="mailusers")
assert plugin.load().mount
from mailusers_plugin.languages import Languages
assert Languages.load().find("de").gettext("Log in") == "Anmelden"
print(mailusers_plugin.hooks.__file__)
"""
    assert run(python, "-c", program, cwd=tmp_path).startswith(str(tmp_path))


def test_version_is_said_once() -> None:
    """The version that the build reads without importing is the one that the package tells."""
    import mailusers_plugin
    from mailusers_plugin import _version

    assert mailusers_plugin.__version__ == _version.__version__

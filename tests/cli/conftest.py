"""Fixtures for the command line's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.support import Shell


@pytest.fixture
def shell(tmp_path: Path, blank_box: Path) -> Shell:
    """The console of a box without users."""
    shutil.copytree(blank_box, tmp_path / "box")
    return Shell(tmp_path / "box")

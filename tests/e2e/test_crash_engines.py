"""The same as ``test_crash.py`` on PostgreSQL and MariaDB."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.crash.storm import Storm
from tests.servers.databases import mariadb, postgresql

KILLS = int(os.environ.get("MAILUSERS_TEST_KILLS", "8"))
SECONDS = float(os.environ.get("MAILUSERS_TEST_CRASH_SECONDS", "12"))


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_killed_again_and_again(engine: str, tmp_path: Path) -> None:
    """After each kill every acknowledged change is there with its event, no other one by halves; all hooks are told."""
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    with (postgresql if engine == "postgresql" else mariadb)() as url:
        outcome = Storm(tmp_path, url, seed).survive(KILLS, SECONDS)
    print(outcome)
    assert outcome.kills >= 2
    assert outcome.acknowledged > 0

"""A server that is killed again and again loses nothing that it has acknowledged, and does nothing by halves."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.crash.storm import Storm

KILLS = int(os.environ.get("MAILUSERS_TEST_KILLS", "20"))
SECONDS = float(os.environ.get("MAILUSERS_TEST_CRASH_SECONDS", "35"))
"""Whichever comes first; ``python -m tests.crash`` kills more often."""


def test_killed_again_and_again(tmp_path: Path) -> None:
    """After each kill every acknowledged change is there with its event, no other one by halves; all hooks are told."""
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    outcome = Storm(tmp_path, "", seed).survive(KILLS, SECONDS)
    print(outcome)
    assert outcome.kills >= 3
    assert outcome.acknowledged > 0

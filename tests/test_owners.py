"""Whether the process that has something in hand still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailusers_plugin import owners

GONE = 2**22 + 1
"""More than the kernel's highest process number."""


def named(pid: int, machine: str = owners.MACHINE, started: str = "") -> str:
    """Return an owner's name."""
    return f"here:{machine}:{pid}:{started}:00000000"


def test_a_process_that_has_ended() -> None:
    """A process of this machine that is not there any more is dead; of another machine that cannot be said."""
    assert owners.is_dead(named(GONE))
    assert not owners.is_dead(named(GONE, machine="another"))
    assert not owners.is_dead(named(1))


def test_a_number_that_was_given_again() -> None:
    """A process is dead where another one has got its number meanwhile."""
    begun = owners._started(1)
    assert not owners.is_dead(named(1, started=begun))
    assert owners.is_dead(named(1, started=begun + "1"))


def test_parts_of_this_process() -> None:
    """A part of this process lives from when it says so until it says that it ends."""
    owner = owners.new_owner()
    assert len(owner) <= 128
    assert owners.is_dead(owner)
    owners.enlist(owner)
    assert not owners.is_dead(owner)
    owners.retire(owner)
    assert owners.is_dead(owner)


def test_another_process_of_this_machine() -> None:
    """What another process calls itself is understood: it lives until it ends."""
    command = "from mailusers_plugin.owners import new_owner; print(new_owner(), flush=True); input()"
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert f":{process.pid}:" in owner
        assert not owners.is_dead(owner)
        process.communicate("\n", timeout=30)
    assert owners.is_dead(owner)


@pytest.mark.parametrize(
    "text", ["", "::", "host:1:00000000", f"here:{owners.MACHINE}:x::y", "a:b:c:d:e:f:g"]
)
def test_what_is_no_name(text: str) -> None:
    """What an older version has written, or nobody, is not taken for dead."""
    assert not owners.is_dead(text)


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system does not tell what machine it is, the host's name must do."""
    monkeypatch.setattr(owners, "_PROC", tmp_path)
    assert owners._machine() != owners.MACHINE
    assert owners._machine() == owners._machine()
    assert f":{os.getpid()}::" in owners.new_owner()

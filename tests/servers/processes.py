"""Processes by their group: what a server started, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers.clients import wait_until
from tests.servers.ports import wait_for_port


def group_members(group: int) -> list[int]:
    """Return the living processes of a process group.

    Zombies are left out: only their parent can remove them, and in a container that may be a slow init.
    """
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name of the program may contain spaces and parentheses; the fields come after the last one.
            state, _, process_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                members.append(int(entry.name))
    return members


def end_group(group: int, *, timeout_seconds: float = 10) -> None:
    """Ask the leader of a process group to end, wait for all members, and kill those that stay."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
    try:
        wait_until(lambda: not group_members(group), timeout_seconds=timeout_seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        wait_until(lambda: not group_members(group), timeout_seconds=timeout_seconds)


@contextlib.contextmanager
def listening(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server that listens on a port until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for_port(
            command[0],
            port,
            is_alive=lambda: process.poll() is None,
            log_text=lambda: log.read_text(errors="replace"),
        )
        yield
    finally:
        end_group(process.pid)
        process.wait(30)

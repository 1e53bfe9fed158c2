"""Names the processes that have something in hand, so that another one can tell when it is nobody's any more.

A name says on which machine the process runs, so that only there its number is looked up. A machine is known by the
number that its kernel makes up at each start, together with the process namespace, for two containers on one machine
have processes of the same numbers. Neither the host's name nor its machine id would do: copies of a machine or of a
container have the same.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from pathlib import Path

_PROC = Path("/proc")
_alive: set[str] = set()
"""Those of this process, so that one part does not take another's work for that of a dead process."""


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = (_PROC / "self/ns/pid").readlink()
    except OSError:
        # Not a Linux, or /proc is hidden.
        return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12]
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]


MACHINE = _machine()
"""What processes have in common that can see one another."""


def _started(pid: int) -> str:
    """Return when a process began, in ticks since the machine did; empty where that is not known."""
    try:
        # The program's name may hold spaces and parentheses; the fields come after the last one.
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return fields.split()[19]
    except (OSError, IndexError):
        return ""


def new_owner() -> str:
    """Return a name for a part of this process; :func:`enlist` says that it works."""
    pid = os.getpid()
    host = socket.gethostname()[:40].replace(":", "-")
    return f"{host}:{MACHINE}:{pid}:{_started(pid)}:{uuid.uuid4().hex[:8]}"


def enlist(owner: str) -> None:
    """Say that it works from now on."""
    _alive.add(owner)


def retire(owner: str) -> None:
    """Say that it works no more."""
    _alive.discard(owner)


def is_dead(owner: str) -> bool:
    """Tell whether an owner was a process of this machine that has ended; of other machines that is not known."""
    _, machine, number, started, _ = [*owner.split(":"), "", "", "", ""][:5]
    if machine != MACHINE or not number.isdigit():
        return False
    pid = int(number)
    if pid == os.getpid():
        return owner not in _alive
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    now = _started(pid)
    # Another process has got the number meanwhile.
    return bool(started and now and started != now)

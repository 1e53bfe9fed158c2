"""``mailusers serve``, which kills itself in the middle of a request: ``python -m tests.servers.dying FILE serve …``.

As soon as the file is there, the process dies at the point that it names, and takes the file away first, so that the
next process lives.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from mailusers_plugin.cli import main
from mailusers_plugin.handlers.once import OnceHandler
from mailusers_plugin.idempotency import Idempotency

CLAIMED: Final = "claimed"
"""The key is stored, the change has not begun."""
MADE: Final = "made"
"""The change is committed, the answer is neither stored nor sent."""
STORED: Final = "stored"
"""The answer is stored, not sent."""


def _die_before(owner: type, name: str, point: str, trigger: Path) -> None:
    original = getattr(owner, name)

    async def dying(*args: Any) -> Any:
        _die_at(point, trigger)
        return await original(*args)

    setattr(owner, name, dying)


def _die_at(point: str, trigger: Path) -> None:
    if trigger.exists() and trigger.read_text(encoding="ascii") == point:
        trigger.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _die_after(owner: type, name: str, point: str, trigger: Path) -> None:
    original = getattr(owner, name)

    async def dying(*args: Any) -> Any:
        result = await original(*args)
        _die_at(point, trigger)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    _die_before(OnceHandler, "made_once", CLAIMED, file)
    _die_before(Idempotency, "finish", MADE, file)
    _die_after(Idempotency, "finish", STORED, file)
    main(prog_name="mailusers")

"""A clock of its own for a process: libfaketime, of Debian's package of this name, stands before the system's calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

_NOTICED_SECONDS = 2.5
"""How long it takes at most: the library looks each second, by whole seconds."""


class Clock:
    """A clock that can be set while the process runs; what counts pauses and time-outs (monotonic) goes on as it is.

    Only ``time.sleep`` is refused by the library of Debian 12 (0.9.10): each call fails with ``EINVAL``.
    """

    def __init__(self, file: Path) -> None:
        """Take the file in which it stands how wrong the clock is; it is right at first."""
        self._file = file
        self._write(timedelta())

    def set(self, wrong_by: timedelta) -> None:
        """Set it, and wait until the process has noticed.

        :param wrong_by: how far it is ahead of the right time, negative where it is behind
        """
        self._write(wrong_by)
        time.sleep(_NOTICED_SECONDS)

    def _write(self, wrong_by: timedelta) -> None:
        written = self._file.with_suffix(".new")
        # Whole, as the process reads it at any time.
        written.write_text(f"{wrong_by.total_seconds():+.0f}\n")
        written.replace(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a process is started that is to have it."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # To look at each call (FAKETIME_NO_CACHE) keeps an event loop that waits for nothing busy all the time.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Files keep the system's times: whether one has changed is known by comparing them with each other.
            "NO_FAKE_STAT": "1",
        }


def _library() -> Path:
    """Return the library for programs with threads."""
    for library in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"):
        return library
    raise FileNotFoundError("libfaketime is not installed: apt-get install libfaketime")

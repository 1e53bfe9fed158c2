"""Where mailbox sizes come from: what every source has in common. Which one it is, the settings say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from mailusers_plugin.models import SizeBatch

_SLICE_SECONDS: Final = 0.005
"""So long is worked before a pause: Python's own switch interval, below which a pause gains nobody anything."""


class StoppedError(Exception):
    """The server stops: a pass ends here, and the next one goes on from its position."""


class Pace:
    """Spreads work over time, so that it takes no more than a share of it."""

    def __init__(self, share: float = 1.0) -> None:
        """Begin to count.

        :param share: the part of the time in which is worked, above 0; ``1.0`` for no pauses
        """
        self._pause_each_second = 1 / share - 1
        self._stopped = threading.Event()
        self._began = time.perf_counter()

    def begin(self) -> None:
        """Begin to count now, after time in which was not worked."""
        self._began = time.perf_counter()

    def rest(self) -> None:
        """Pause, if it is time to; called between two short pieces of work, in a thread.

        :raises StoppedError: if the server stops
        """
        worked = time.perf_counter() - self._began
        if worked < _SLICE_SECONDS and not self._stopped.is_set():
            return
        if self._stopped.wait(worked * self._pause_each_second):
            raise StoppedError
        self._began = time.perf_counter()

    def stop(self) -> None:
        """End the pause that is and let none begin."""
        self._stopped.set()


class Known(Protocol):
    """What is stored already. Both block."""

    def marks(self, emails: Sequence[str]) -> Mapping[str, int | None]:
        """Return the marks of those mailboxes whose size is known, by address; see :class:`Measured`."""
        ...

    def after(self, email: str) -> Sequence[str]:
        """Return the next addresses of which something is known, by address; none at the end.

        :param email: the last one before; empty for the first
        """
        ...


class UsageSource(Protocol):
    """Something that knows how full mailboxes are."""

    @property
    def name(self) -> str:
        """The source as the setting ``usage_source`` names it."""
        ...

    def read(self, position: str, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield sizes, in an order that stays, and what is gone. Called in a thread; may block.

        Memory does not grow with the number of mailboxes.

        :param position: the last batch's of a pass that was interrupted; empty for the beginning
        :raises StoppedError: by ``pace``, at any time
        :raises MailUsersError: if the source does not answer, with what to do
        """
        ...

    def look(self, emails: Sequence[str]) -> SizeBatch:
        """Return what is to be said of some mailboxes, at most a hundred, now; the position does not count. Blocks.

        :raises MailUsersError: if the source does not answer, with what to do
        """
        ...

    def stop(self) -> None:
        """Let what waits for another program end at once. Called in another thread."""
        ...

    def forget(self, email: str) -> None:
        """Forget what the source itself keeps of a mailbox that was deleted for good. Blocks."""
        ...

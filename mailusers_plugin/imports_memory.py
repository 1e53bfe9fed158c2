"""What only this process knows of imports: the files' content with its passwords, which never reaches the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.import_file import Parsed
from mailusers_plugin.import_models import Fault, JobState, Outcome, ResultLine, Row
from mailusers_plugin.models import Actor
from mailusers_plugin.texts import N_

MAX_HELD: Final = 8
"""Files at once. Each takes some 10 MB at the most."""
_RETRY_SECONDS: Final = 60


@dataclass(slots=True, repr=False, eq=False)
class Held:
    """One import.

    :ivar parsed: the file, ``None`` once it is not needed any more
    :ivar rows: its lines as they were checked
    :ivar prepared: how many passwords are hashed
    :ivar refused: lines that were left out although nothing is wrong with them, and why
    :ivar made: the passwords that were made up, by line
    :ivar adding: whether it is too late to cancel
    :ivar when_cancelled: what it is then
    :ivar result: what became of each line, once it is done
    """

    job_id: str
    actor: Actor
    parsed: Parsed | None
    rows: Sequence[Row]
    prepared: int = 0
    wanted: int = 0
    began: float = 0.0
    refused: Mapping[int, Fault] = field(default_factory=dict)
    made: dict[int, str] = field(default_factory=dict)
    adding: bool = False
    when_cancelled: JobState = JobState.CANCELLED
    result: Sequence[ResultLine] | None = None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is being imported."""
        return self.task is not None and not self.task.done()

    @property
    def seconds_left(self) -> float | None:
        """How long hashing will still take, ``None`` where that cannot be said yet."""
        if not self.is_running or not self.prepared or self.adding:
            return None
        return (time.monotonic() - self.began) / self.prepared * (self.wanted - self.prepared)

    def begin(self, wanted: int, refused: Mapping[int, Fault]) -> None:
        """Begin to count.

        :param wanted: how many users are to be added
        :param refused: lines that are left out although nothing is wrong with them, and why
        """
        self.refused = refused
        self.prepared, self.wanted, self.adding, self.made = 0, wanted, False, {}
        self.began = time.monotonic()

    def finish(self, outcomes: Mapping[int, Outcome], faults: Mapping[int, Fault]) -> None:
        """Keep what became of each line, and of the passwords those that were made up; once is enough."""
        if self.result is not None:
            # To write that down failed, and is tried again; the file is forgotten by now.
            return
        later = {**self.refused, **faults}
        self.result = [
            ResultLine(
                row.number,
                row.email,
                outcome,
                self.made.get(row.number, "") if outcome is not Outcome.LEFT_OUT else "",
                () if outcome is not Outcome.LEFT_OUT else _faults(row, later.get(row.number)),
            )
            for row in self.rows
            for outcome in (outcomes.get(row.number, Outcome.LEFT_OUT),)
        ]
        self.forget_file()

    def forget_file(self) -> None:
        """Forget the file."""
        self.parsed, self.rows, self.made = None, (), {}


def _faults(row: Row, later: Fault | None) -> tuple[Fault, ...]:
    return row.faults if later is None else (*row.faults, later)


class Memory:
    """All of them, each for a limited time after it was last looked at."""

    def __init__(self, keep_seconds: float) -> None:
        """Begin with none.

        :param keep_seconds: how long each is kept when nobody looks at it
        """
        self._keep_seconds = keep_seconds
        self._held: dict[str, Held] = {}

    def get(self, job_id: str) -> Held | None:
        """Return an import that is looked at; its time begins anew, but not that of a result."""
        held = self._held.get(job_id)
        if held is not None and held.result is None:
            self.keep(held)
        return held

    def peek(self, job_id: str) -> Held | None:
        """Return an import, without looking at it."""
        return self._held.get(job_id)

    def keep(self, held: Held) -> None:
        """Keep an import from now on for the time, and longer while it runs."""
        if held.timer is not None:
            held.timer.cancel()
        self._held[held.job_id] = held
        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(self._keep_seconds, self._expire, held)

    def renew(self, held: Held) -> None:
        """Count the time of an import anew, unless it was forgotten: it is done, and a result is not looked at."""
        if self._held.get(held.job_id) is held:
            self.keep(held)

    def make_room(self, actor: Actor) -> list[str]:
        """Forget what somebody has uploaded and not imported, for he uploads anew.

        :returns: which imports these were
        :raises UnavailableError: if others hold too many
        """
        replaced = [
            held.job_id
            for held in self._held.values()
            if held.actor == actor and held.parsed is not None and not held.is_running
        ]
        for job_id in replaced:
            self.forget(job_id)
        if sum(held.parsed is not None for held in self._held.values()) >= MAX_HELD:
            raise UnavailableError(
                N_("Too many files wait to be imported. Import or cancel one, or try again later."),
                _RETRY_SECONDS,
            )
        return replaced

    def forget(self, job_id: str) -> None:
        """Forget all of an import."""
        held = self._held.pop(job_id, None)
        if held is not None:
            held.forget_file()
            held.result = None
            if held.timer is not None:
                held.timer.cancel()

    def running(self) -> list[Held]:
        """Return those that are being imported."""
        return [held for held in self._held.values() if held.is_running]

    def forget_all(self) -> None:
        """Forget everything."""
        for job_id in list(self._held):
            self.forget(job_id)

    def _expire(self, held: Held) -> None:
        if held.is_running:
            self.keep(held)
        else:
            self.forget(held.job_id)

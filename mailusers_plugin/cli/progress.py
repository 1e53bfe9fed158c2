"""Shows how far something is: a bar on a terminal, else a line now and then. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol

import click

_LINE_SECONDS: Final = 10.0
_BARS_A_SECOND: Final = 4
_RATE_SECONDS: Final = 30.0
"""What the rate is taken from."""


class Progress(Protocol):
    """Something that goes on."""

    def show(self, done: int, total: int | None = None) -> None:
        """Say how much is done.

        :param total: where it has changed
        """

    def say(self, line: str) -> None:
        """Print a line beside it."""


@contextmanager
def progress(what: str, total: int, unit: str = "") -> Iterator[Progress]:
    """Show how far something is.

    :param what: is being done
    :param total: how much there is to be done
    :param unit: what is counted; without it only the part that is done is shown
    """
    if not sys.stderr.isatty():
        yield _Lines(what, total, unit)
        return
    # Takes some 50 ms to import, which no other command should spend.
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    class Bar:
        def __init__(self, bars: Bars) -> None:
            self._bars = bars
            self._task = bars.add_task(what, total=total, rate="")
            self._pace = _Pace()

        def show(self, done: int, total: int | None = None) -> None:
            rate = f"{self._pace.rate(done):.0f}/s" if unit else ""
            if total is None:
                self._bars.update(self._task, completed=done, rate=rate)
            else:
                self._bars.update(self._task, completed=done, rate=rate, total=total)

        def say(self, line: str) -> None:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    counts = "{task.completed:.0f} of {task.total:.0f} " + unit
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(counts) if unit else TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(
        *columns,
        console=Console(stderr=True),
        refresh_per_second=_BARS_A_SECOND,
        speed_estimate_period=_RATE_SECONDS,
    ) as bars:
        yield Bar(bars)


class _Pace:
    """How fast something goes on, of late."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def rate(self, done: int) -> float:
        """Return how many a second were done, of late; 0 at the beginning."""
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 1:
            self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[1][0] > _RATE_SECONDS:
            self._marks.pop(0)
        since, before = self._marks[0]
        return (done - before) / (now - since) if now > since else 0.0


class _Lines:
    """For what is read later, such as a log."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._pace = _Pace()
        self._said_at = time.monotonic()

    def show(self, done: int, total: int | None = None) -> None:
        self._total = self._total if total is None else total
        rate = self._pace.rate(done)
        if time.monotonic() - self._said_at < _LINE_SECONDS:
            return
        self._said_at = time.monotonic()
        left = ""
        if rate > 0:
            seconds = max(0.0, self._total - done) / rate
            left = f", {timedelta(seconds=round(seconds))} left"
        if self._unit:
            text = f"{done} of {self._total} {self._unit}, {rate:.0f}/s{left}"
        else:
            text = f"{done / max(1, self._total):.0%}{left}"
        self.say(f"{self._what}: {text}")

    def say(self, line: str) -> None:
        click.echo(line, err=True)

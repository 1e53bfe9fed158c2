"""What the pages of an import show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mailusers_plugin.import_models import BUSY_STATES, Fault, Job, JobState, Outcome, Row
from mailusers_plugin.imports import Imports, View
from mailusers_plugin.imports_memory import Held
from mailusers_plugin.models import ADMIN, Actor

PAGE_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A line of the file.

    :ivar email: empty where it is not kept
    :ivar outcome: what became of it, empty before
    """

    number: int
    email: str
    has_password: bool
    faults: Sequence[Fault]
    quota: str = ""
    privilege: str = ""
    archived: bool = False
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many lines of the file are what.

    :ivar faulty: with errors
    :ivar good: without, those with an archived mailbox among them
    :ivar archived: of the good ones, those whose addresses have an archived mailbox
    :ivar administrators: of the good ones, those that become administrators
    :ivar made: of the good ones, those for which passwords are made up
    """

    faulty: int
    good: int
    archived: int
    administrators: int
    made: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Numbers:
        """Count."""
        good = [row for row in rows if not row.faults]
        return cls(
            len(rows) - len(good),
            len(good),
            sum(row.archived for row in good),
            sum(ADMIN in row.privileges for row in good),
            sum(row.wants_password for row in good),
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """An import.

    :ivar is_mine: whether the reader has uploaded the file
    :ivar has_file: whether this process has its content
    :ivar has_result: whether the reader can have the result file
    :ivar elsewhere: whether the reader could have file or result from another process
    :ivar only: ``errors`` where only lines with errors are shown
    :ivar rows: one page of lines
    :ivar numbers: before it was imported
    :ivar outcomes: afterwards, how many lines were added, restored and left out
    """

    job: Job
    is_mine: bool
    has_file: bool
    has_result: bool
    only: str
    page: int
    pages: int
    rows: Sequence[ShownRow]
    numbers: Numbers | None = None
    added: int = 0
    restored: int = 0
    left_out: int = 0
    ignored: Sequence[str] = ()
    seconds_left: int | None = None
    elsewhere: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether it is being imported."""
        return self.job.state in BUSY_STATES

    @property
    def state(self) -> str:
        """How far it is."""
        return self.job.state.value


async def job_view(imports: Imports, view: View, reader: Actor, *, only: str, page: str) -> Shown:
    """Put together what is shown.

    :param only: as the address says, ``errors`` or ``all``; errors first where it says nothing
    :param page: as the address says, from 1
    """
    job, held = view.job, view.held
    number = int(page) if page.isascii() and page.isdecimal() and len(page) < 6 else 1
    if job.state is JobState.DONE:
        return await _after(imports, view, reader, only, number)
    if job.state is JobState.READY and held is not None and held.parsed is not None:
        return _before(job, held, reader, only, number)
    left = None if held is None or held.seconds_left is None else math.ceil(held.seconds_left)
    has_file = held is not None and held.parsed is not None
    is_mine = job.actor == reader
    elsewhere = is_mine and view.elsewhere
    return Shown(job, is_mine, has_file, False, "all", 1, 1, (), seconds_left=left, elsewhere=elsewhere)


def _before(job: Job, held: Held, reader: Actor, only: str, number: int) -> Shown:
    numbers = Numbers.of(held.rows)
    only = "errors" if numbers.faulty and only != "all" else "all"
    chosen = [row for row in held.rows if row.faults] if only == "errors" else held.rows
    page, pages, first = _place(len(chosen), number)
    is_mine = job.actor == reader
    # Where columns are mixed up a password may stand anywhere: nobody else is shown the lines.
    rows = [
        ShownRow(
            row.number,
            row.email,
            not row.wants_password,
            row.faults,
            row.quota,
            row.privilege,
            row.archived,
        )
        for row in (chosen[first : first + PAGE_ROWS] if is_mine else ())
    ]
    ignored = held.parsed.ignored if held.parsed is not None else ()
    return Shown(job, is_mine, True, False, only, page, pages, rows, numbers=numbers, ignored=ignored)


async def _after(imports: Imports, view: View, reader: Actor, only: str, number: int) -> Shown:
    job, held = view.job, view.held
    counts = await imports.counts(job.id)
    left_out = counts.get(Outcome.LEFT_OUT, 0)
    only = "errors" if left_out and only != "all" else "all"
    page, pages, first = _place(left_out if only == "errors" else sum(counts.values()), number)
    is_mine = job.actor == reader
    if held is not None and held.result is not None and is_mine:
        wanted = [line for line in held.result if only == "all" or line.outcome is Outcome.LEFT_OUT]
        rows = [
            ShownRow(line.number, line.email, not line.password, line.faults, outcome=line.outcome.value)
            for line in wanted[first : first + PAGE_ROWS]
        ]
    else:
        outcomes = (Outcome.LEFT_OUT,) if only == "errors" else ()
        rows = [
            ShownRow(
                kept.number,
                kept.email,
                not kept.made_password,
                (kept.fault,) if kept.fault is not None else (),
                outcome=kept.outcome.value,
            )
            for kept in await imports.rows(job.id, first, PAGE_ROWS, outcomes)
        ]
    return Shown(
        job,
        is_mine,
        False,
        is_mine and held is not None and held.result is not None,
        only,
        page,
        pages,
        rows,
        added=counts.get(Outcome.ADDED, 0),
        restored=counts.get(Outcome.RESTORED, 0),
        left_out=left_out,
        elsewhere=is_mine and view.elsewhere,
    )


def _place(lines: int, number: int) -> tuple[int, int, int]:
    """Return the page's number, how many there are, and which line is its first."""
    pages = max(1, math.ceil(lines / PAGE_ROWS))
    page = min(max(number, 1), pages)
    return page, pages, (page - 1) * PAGE_ROWS

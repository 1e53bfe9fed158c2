"""Coordinates of the pictures: scales, ticks with nice numbers, bars and curves. Pure functions; templates draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count, pairwise
from typing import Final

from mailusers_plugin.models import Sample

Point = tuple[float, float]
Value = Callable[[Sample], int]

_DAILY_UP_TO: Final = timedelta(days=120)
"""Beyond this a point stands for a week, since so many days could not be told apart."""
_MONTHS_FROM: Final = timedelta(days=62)
_DAY_STEPS: Final = (1, 2, 7, 14)
_MONTH_STEPS: Final = (1, 2, 3, 6)
_LEAST_BAR: Final = 0.5


@dataclass(frozen=True, slots=True)
class Frame:
    """Where in a picture the curves are, in its own units.

    :ivar width: of the whole picture
    :ivar height: of the whole picture
    :ivar left: room for the numbers
    :ivar right: room for half of the last day's label
    :ivar top: room above
    :ivar bottom: room for the days
    :ivar labels: so many days are named at the most
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    labels: int


WIDE: Final = Frame(560, 240, 52, 24, 12, 28, 8)
NARROW: Final = Frame(320, 220, 46, 22, 12, 28, 5)


@dataclass(frozen=True, slots=True)
class Tick:
    """A marked place on an axis.

    :ivar at: its coordinate
    :ivar value: what is there
    """

    at: float
    value: int


@dataclass(frozen=True, slots=True)
class DayTick:
    """A marked day.

    :ivar at: its coordinate
    :ivar day: which
    :ivar is_month: whether it stands for its month
    """

    at: float
    day: date
    is_month: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """How a number went, in pieces where days are missing.

    :ivar lines: points of each piece that has several, as ``points`` of a polyline
    :ivar dots: points that stand alone
    :ivar last: the newest point
    """

    lines: tuple[str, ...]
    dots: tuple[Point, ...]
    last: Point


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of growth.

    :ivar frame: its measures
    :ivar values: marked numbers, the lowest first
    :ivar days: marked days, the earliest first
    :ivar curves: one for each number that is shown
    """

    frame: Frame
    values: tuple[Tick, ...]
    days: tuple[DayTick, ...]
    curves: tuple[Curve, ...]


def size_ticks(maximum: int, wanted: int = 4) -> list[int]:
    """Return sizes from 0 to at least the largest, whose distance is a power of two.

    :param maximum: the largest size in bytes
    :param wanted: at most so many steps
    """
    return _ticks(maximum, next(step for step in (2**n for n in count()) if step * wanted >= maximum))


def count_ticks(maximum: int, wanted: int = 4) -> list[int]:
    """Return whole numbers from 0 to at least the largest, whose distance is 1, 2 or 5 times a power of ten.

    :param maximum: the largest number
    :param wanted: at most so many steps
    """
    steps = (digit * 10**n for n in count() for digit in (1, 2, 5))
    return _ticks(maximum, next(step for step in steps if step * wanted >= maximum))


def _ticks(maximum: int, step: int) -> list[int]:
    return [step * number for number in range(max(-(-maximum // step), 1) + 1)]


def bar(value: int, whole: int) -> float:
    """Return a bar's length in percent of the whole; what is not nothing can be seen."""
    if value <= 0 or whole <= 0:
        return 0.0
    return round(min(max(value / whole * 100, _LEAST_BAR), 100.0), 2)


def pieces(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples that are drawn, in pieces between which samples are missing.

    Of a long time one sample a week is left, the last, and where a piece begins; then only a whole week without any
    is a gap.

    :param samples: by day, the oldest first
    """
    if not samples:
        return []
    weekly = samples[-1].day - samples[0].day > _DAILY_UP_TO
    found = [[samples[0]]]
    for before, sample in pairwise(samples):
        if (sample.day - before.day).days > (7 if weekly else 1):
            found.append([sample])
        elif weekly and len(found[-1]) > 1 and _week(before) == _week(sample):
            found[-1][-1] = sample
        else:
            found[-1].append(sample)
    return found


def _week(sample: Sample) -> tuple[int, int]:
    return sample.day.isocalendar()[:2]


def gaps(parts: Sequence[Sequence[Sample]]) -> list[tuple[date, date]]:
    """Return the first and the last day of each time without samples.

    :param parts: from :func:`pieces`
    """
    one = timedelta(days=1)
    return [(before[-1].day + one, after[0].day - one) for before, after in pairwise(parts)]


def chart(
    parts: Sequence[Sequence[Sample]],
    values: Sequence[Value],
    ticks: Callable[[int], Sequence[int]],
    frame: Frame,
) -> Chart:
    """Draw some numbers of the samples.

    :param parts: from :func:`pieces`, of two days at the least
    :param values: each returns one of a sample's numbers
    :param ticks: :func:`size_ticks` or :func:`count_ticks`
    :param frame: the picture's measures
    """
    first, last = parts[0][0].day, parts[-1][-1].day
    marks = ticks(max(value(sample) for value in values for part in parts for sample in part))
    inner_width = frame.width - frame.left - frame.right
    inner_height = frame.height - frame.top - frame.bottom

    def x(day: date) -> float:
        return round(frame.left + (day - first).days / (last - first).days * inner_width, 1)

    def y(number: int) -> float:
        return round(frame.top + (1 - number / marks[-1]) * inner_height, 1)

    def curve(value: Value) -> Curve:
        places = [[(x(sample.day), y(value(sample))) for sample in part] for part in parts]
        return Curve(
            tuple(" ".join(f"{a:g},{b:g}" for a, b in part) for part in places if len(part) > 1),
            tuple(part[0] for part in places if len(part) == 1),
            places[-1][-1],
        )

    return Chart(
        frame,
        tuple(Tick(y(mark), mark) for mark in marks),
        tuple(DayTick(x(day), day, is_month) for day, is_month in _days(first, last, frame.labels)),
        tuple(curve(value) for value in values),
    )


def _days(first: date, last: date, labels: int) -> list[tuple[date, bool]]:
    """Return the days to name, evenly: firsts of months over a long time, else days."""
    if last - first > _MONTHS_FROM:
        months = _firsts(first, last)
        step = next((step for step in _MONTH_STEPS if len(months) <= labels * step), _MONTH_STEPS[-1])
        return [(day, True) for day in months if (day.month - 1) % step == 0]
    days = (last - first).days
    step = next((step for step in _DAY_STEPS if days < labels * step), _DAY_STEPS[-1])
    return [(last - timedelta(days=back), False) for back in range(days - days % step, -1, -step)]


def _firsts(first: date, last: date) -> list[date]:
    found = []
    year, month = first.year, first.month
    while (day := date(year, month, 1)) <= last:
        if day >= first:
            found.append(day)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found

"""The pictures' coordinates: nice numbers, whole pieces, nothing outside of the frame."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import pytest

from mailusers_plugin.handlers import pictures
from mailusers_plugin.handlers.pictures import NARROW, WIDE, Chart, Frame
from mailusers_plugin.models import Sample

END = date(2026, 3, 10)
GIB = 2**30


def samples(days_ago: Iterable[int]) -> list[Sample]:
    """Samples of some days before the last, which is day 0; each box is a little larger than the one before."""
    return [Sample(END - timedelta(days=ago), 1000 - ago, ago, (1000 - ago) * GIB, 0) for ago in days_ago]


def draw(days_ago: Iterable[int], frame: Frame = WIDE) -> Chart:
    """A picture of the box's size."""
    parts = pictures.pieces(samples(days_ago))
    return pictures.chart(parts, [lambda sample: sample.box_bytes], pictures.size_ticks, frame)


@pytest.mark.parametrize(
    ("maximum", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (5, [0, 2, 4, 6]),
        (3 * GIB, [0, GIB, 2 * GIB, 3 * GIB]),
        (3 * GIB + 1, [0, GIB, 2 * GIB, 3 * GIB, 4 * GIB]),
        (4 * GIB + 1, [0, 2 * GIB, 4 * GIB, 6 * GIB]),
        (700 * 2**20, [0, GIB // 4, GIB // 2, 3 * GIB // 4]),
        (2**63, [0, 2**61, 2**62, 3 * 2**61, 2**63]),
    ],
)
def test_sizes_are_marked_at_powers_of_two(maximum: int, expected: list[int]) -> None:
    """The largest is not above the highest mark, and there are neither too few nor too many."""
    assert pictures.size_ticks(maximum) == expected


@pytest.mark.parametrize(
    ("maximum", "expected"),
    [
        (0, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6, 8]),
        (13, [0, 5, 10, 15]),
        (40, [0, 10, 20, 30, 40]),
        (99_999, [0, 50_000, 100_000]),
    ],
)
def test_numbers_are_marked_as_people_count(maximum: int, expected: list[int]) -> None:
    """Distances are 1, 2 or 5 and so many noughts."""
    assert pictures.count_ticks(maximum) == expected


@pytest.mark.parametrize(
    ("value", "whole", "expected"),
    [(0, 100, 0), (0, 0, 0), (5, 0, 0), (1, 10**9, 0.5), (1, 3, 33.33), (100, 100, 100), (120, 100, 100)],
)
def test_a_bar_is_a_share_that_can_be_seen(value: int, whole: int, expected: float) -> None:
    """Nothing has no bar, a little has a short one, and none is longer than the whole."""
    assert pictures.bar(value, whole) == expected


def test_missing_days_are_gaps() -> None:
    """The curve is not drawn where nothing was recorded, and a day between two gaps is a dot."""
    parts = pictures.pieces(samples([9, 8, 5, 2, 1, 0]))
    assert [[sample.active for sample in part] for part in parts] == [[991, 992], [995], [998, 999, 1000]]
    assert pictures.gaps(parts) == [
        (END - timedelta(days=7), END - timedelta(days=6)),
        (END - timedelta(days=4), END - timedelta(days=3)),
    ]
    curve = draw([9, 8, 5, 2, 1, 0]).curves[0]
    assert len(curve.lines) == 2
    assert len(curve.dots) == 1
    assert curve.last == (WIDE.width - WIDE.right, curve.last[1])


def test_a_long_time_is_drawn_by_weeks() -> None:
    """Of each week the last day is left, the last day of all too; a weekend without samples is no gap."""
    year = range(364, -1, -1)
    whole = pictures.pieces(samples(year))
    assert len(whole) == 1
    assert 52 <= len(whole[0]) <= 54
    assert whole[0][-1].day == END
    assert {sample.day.isoweekday() for sample in whole[0][1:-1]} == {7}
    office = [ago for ago in year if (END - timedelta(days=ago)).isoweekday() < 6]
    assert len(pictures.pieces(samples(office))) == 1
    holiday = [ago for ago in year if not 100 <= ago < 110]
    assert pictures.gaps(pictures.pieces(samples(holiday))) == [
        (END - timedelta(days=109), END - timedelta(days=100))
    ]


@pytest.mark.parametrize("frame", [WIDE, NARROW])
@pytest.mark.parametrize("days", [1, 2, 6, 11, 40, 62, 63, 100, 121, 364])
def test_everything_is_inside_the_frame(frame: Frame, days: int) -> None:
    """Points, marks and labels stay inside, labels are few enough and even."""
    found = draw(range(days, -1, -1), frame)
    points = [tuple(map(float, point.split(","))) for line in found.curves[0].lines for point in line.split()]
    for x, y in points:
        assert frame.left <= x <= frame.width - frame.right
        assert frame.top <= y <= frame.height - frame.bottom
    assert points[0][0] == frame.left
    assert points[-1] == found.curves[0].last
    assert found.values[0].at == frame.height - frame.bottom
    assert found.values[-1].at == frame.top
    assert 1 <= len(found.days) <= frame.labels + 1
    assert all(frame.left <= tick.at <= frame.width - frame.right for tick in found.days)
    if days > 62:
        assert all(tick.is_month and tick.day.day == 1 for tick in found.days)
    else:
        assert found.days[-1].day == END
        assert len({(b.day - a.day) for a, b in zip(found.days, found.days[1:], strict=False)}) <= 1


def test_several_numbers_share_a_scale() -> None:
    """Active and archived users are drawn against the same marks."""
    parts = pictures.pieces(samples([2, 1, 0]))
    found = pictures.chart(
        parts, [lambda one: one.active, lambda one: one.archived], pictures.count_ticks, NARROW
    )
    assert [tick.value for tick in found.values] == [0, 500, 1000]
    active, archived = found.curves
    assert active.last[1] == NARROW.top
    assert archived.last[1] == NARROW.height - NARROW.bottom

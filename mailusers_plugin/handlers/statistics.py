"""The statistics page: how full the store is, what fills it, and how it grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from babel.dates import format_skeleton

from mailusers_plugin.handlers import pictures
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.page_rows import quota_of
from mailusers_plugin.handlers.pictures import NARROW, WIDE, Chart, DayTick
from mailusers_plugin.languages import Language
from mailusers_plugin.models import Entry, Sample
from mailusers_plugin.permissions import READ
from mailusers_plugin.statistics import Disk, Statistics
from mailusers_plugin.validation import display_domain

_BUILD_SECONDS: Final = 5.0
WARNING_PERCENT: Final = 80
CRITICAL_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a picture of bars.

    :ivar label: whose it is, empty for all the others together
    :ivar query: leads to it in the list, empty for all the others
    :ivar value: how large it is, in bytes
    :ivar length: of the bar, in percent of the longest
    :ivar percent: of the whole, or of the quota; ``None`` where there is none
    :ivar level: ``warning`` or ``critical`` where the quota is nearly used up, else empty
    :ivar quota: in bytes; ``0`` where there is none
    :ivar quota_text: as the list shows it, where it does not show the bytes
    :ivar users: how many users the domain has
    """

    label: str
    query: str
    value: int
    length: float
    percent: float | None = None
    level: str = ""
    quota: int = 0
    users: int = 0
    quota_text: str = ""


@dataclass(frozen=True, slots=True)
class Growth:
    """The pictures of growth; each wide and narrow, of which the reader's window shows one.

    :ivar sizes: of the mailboxes together
    :ivar users: active and archived ones
    :ivar points: what is drawn, the newest first; ``None`` stands where days are missing
    :ivar gaps: first and last day of each time that is missing
    :ivar first: the earliest
    """

    sizes: tuple[Chart, Chart]
    users: tuple[Chart, Chart]
    points: Sequence[Sample | None]
    gaps: Sequence[tuple[Any, Any]]
    first: Sample


class StatisticsPage(PageHandler):
    """``GET /users/statistics``."""

    @requires(READ)
    async def get(self) -> None:
        """Show it."""
        await self.dependencies.directory.wait_until_built(_BUILD_SECONDS)
        found = await self.dependencies.statistician.statistics()
        # A year of days is drawn, and written as a table.
        await self.render_page_aside(
            "statistics.html",
            lambda: {
                "statistics": found,
                "domains": domain_bars(found),
                "mailboxes": mailbox_bars(found.mailboxes),
                "disk": disk_bar(found.disk),
                "growth": growth(found.growth),
                "day_label": lambda tick: day_label(tick, self.language),
            },
        )

    head = get


def domain_bars(found: Statistics) -> list[Bar]:
    """Return the domains that hold most, and all the others together where there are some."""
    values = [counts.box_bytes for _, counts in found.domains]
    rest = found.domains_rest_bytes
    longest, whole = max([*values, rest], default=0), found.today.box_bytes
    bars = [
        Bar(
            display_domain(name),
            urlencode({"domain": name}),
            counts.box_bytes,
            pictures.bar(counts.box_bytes, longest),
            counts.box_bytes / whole * 100,
            users=counts.active + counts.archived,
        )
        for name, counts in found.domains
    ]
    if rest > 0:
        bars.append(Bar("", "", rest, pictures.bar(rest, longest), rest / whole * 100))
    return bars


def mailbox_bars(entries: Sequence[Entry]) -> list[Bar]:
    """Return the largest mailboxes."""
    sizes = [entry.usage.box_bytes if entry.usage else 0 for entry in entries]
    bars = []
    for entry, size in zip(entries, sizes, strict=True):
        shown = quota_of(entry.quota)
        quota = shown.limit or 0
        percent = size / quota * 100 if quota else None
        local_part, _, domain = entry.email.rpartition("@")
        label = f"{local_part}@{display_domain(domain)}"
        query = urlencode({"q": entry.email})
        length = pictures.bar(size, max(sizes))
        bars.append(Bar(label, query, size, length, percent, _level(percent), quota, quota_text=shown.text))
    return bars


def disk_bar(disk: Disk | None) -> Bar | None:
    """Return how full the file system is."""
    if disk is None or disk.total_bytes <= 0:
        return None
    used = disk.total_bytes - disk.free_bytes
    percent = used / disk.total_bytes * 100
    return Bar("", "", used, pictures.bar(used, disk.total_bytes), percent, _level(percent), disk.total_bytes)


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Return the pictures of growth, ``None`` where there is but one day yet.

    :param samples: the oldest first
    """
    parts = pictures.pieces(samples)
    if not parts or parts[0][0].day == parts[-1][-1].day:
        return None
    points: list[Sample | None] = []
    for part in reversed(parts):
        points += [*([None] if points else []), *reversed(part)]
    wide, narrow = (
        (
            pictures.chart(parts, [lambda one: one.box_bytes], pictures.size_ticks, frame),
            pictures.chart(
                parts, [lambda one: one.active, lambda one: one.archived], pictures.count_ticks, frame
            ),
        )
        for frame in (WIDE, NARROW)
    )
    return Growth((wide[0], narrow[0]), (wide[1], narrow[1]), points, pictures.gaps(parts), parts[0][0])


def day_label(tick: DayTick, language: Language) -> str:
    """Return what stands below a marked day: a month's name, January's year, or day and month."""
    skeleton = ("y" if tick.day.month == 1 else "MMM") if tick.is_month else "MMMd"
    return format_skeleton(skeleton, tick.day, locale=language.locale)


def _level(percent: float | None) -> str:
    if percent is None or percent < WARNING_PERCENT:
        return ""
    return "critical" if percent >= CRITICAL_PERCENT else "warning"


ROUTES = [("/users/statistics", StatisticsPage)]

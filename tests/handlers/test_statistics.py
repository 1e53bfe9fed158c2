"""The statistics page: what its bars and curves stand for, and who may see it."""

from __future__ import annotations

import asyncio
import re
from collections import namedtuple
from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin import statistics as numbers
from mailusers_plugin.handlers import statistics as page
from mailusers_plugin.handlers.pictures import DayTick
from mailusers_plugin.languages import Languages
from mailusers_plugin.models import Counts, Entry, Sample, Usage
from mailusers_plugin.statistics import Disk, Statistics
from mailusers_plugin.store import samples
from tests.support import BOSS, Box, Client

PATH = "/admin/users/statistics"
MIB = 2**20
TODAY = datetime.now(UTC).date()
DiskUsage = namedtuple("DiskUsage", "total used free")


def fill(box: Box, email: str, size: int) -> None:
    """Put a mailbox of some size on the disk."""
    box.make_mailbox(email)
    (box.maildir(email) / "maildirsize").write_text(f"0S\n{size} 3\n")


async def keep(box: Box, *days_ago: int) -> None:
    """Keep samples of some days, as if the box had had today's size then."""
    for ago in days_ago:
        await box.runtime.state.write(samples.keep, TODAY - timedelta(days=ago))


def bar_lengths(text: str) -> list[float]:
    """The lengths of the bars on a page, in percent."""
    return [float(found) for found in re.findall(r'mu-bar-fill" width="([0-9.]+)"', text)]


async def test_the_page_shows_what_fills_the_store(box: Box, admin: Client) -> None:
    """Domains and mailboxes come by size, with bars, numbers and links into the list."""
    for email, quota, size in (
        ("small@example.com", "0", MIB),
        ("large@xn--mller-kva.example", "4M", 4 * MIB),
        ("more@xn--mller-kva.example", "10M", 8 * MIB),
    ):
        await box.add(email, quota=quota)
        fill(box, email, size)
    await asyncio.to_thread(box.runtime.refresh_usage)
    answer = await admin.get(PATH)
    assert answer.status == 200
    text = " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
    assert "13.0M in all mailboxes" in text
    assert "1 mailbox is not measured yet." in text
    assert "müller.example 2 users 12.0M 92%" in text
    assert "example.com 2 users 1.0M 8%" in text
    assert "more@müller.example filling up 8.0M 80% of 10M" in text
    assert "large@müller.example full 4.0M 100% of 4M" in text
    assert "small@example.com 1.0M unlimited" in text
    assert text.index("more@") < text.index("large@") < text.index("small@")
    assert 'href="/admin/users?domain=xn--mller-kva.example"' in answer.text
    assert 'href="/admin/users?q=small%40example.com"' in answer.text
    assert bar_lengths(answer.text)[1:] == [100, 8.33, 100, 50, 12.5]
    assert "begins today" in text
    assert "<polyline" not in answer.text


async def test_growth_is_drawn_and_told(box: Box, admin: Client) -> None:
    """Each picture has a title, words and the same numbers as a table; missing days are said to be missing."""
    fill(box, BOSS, 3 * MIB)
    await asyncio.to_thread(box.runtime.refresh_usage)
    await keep(box, 9, 8, 4, 3)
    fill(box, BOSS, 6 * MIB)
    await asyncio.to_thread(box.runtime.refresh_usage)
    text = (await admin.get(PATH)).text
    words = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert words.count("Nothing was recorded.") == 2
    assert "recorded, 2 times" in words
    assert ", 6.0M today." in words
    assert "1 active and 0 archived on" in words
    charts = re.findall(r'<svg class="mu-chart.*?</svg>', text, re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        title, described = re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', chart)
        assert text.count(f'id="{title}"') == 1
        assert text.count(f'id="{described}"') == 1
        assert chart.count("<polyline") == (2 if "size" in title else 4)
    rows = re.findall(r"<tbody>.*?</tbody>", text, re.DOTALL)[-1]
    assert rows.count('<th scope="row">') == 5
    assert rows.index("6.0M") < rows.index("3.0M")


async def test_the_policy_and_the_reader_are_kept(box: Box, admin: Client, user: str) -> None:
    """Nothing is styled in place, and nobody sees it without permission."""
    answer = await admin.get(PATH)
    assert "style=" not in answer.text
    assert "style-src 'self'" in answer.headers["Content-Security-Policy"]
    assert (await box.basic(user).get(PATH)).status == 401
    assert (await box.nobody.get(PATH)).status == 303
    assert (await admin.fetch("HEAD", PATH)).status == 200


async def test_hostile_names_are_text(box: Box, admin: Client) -> None:
    """A name of a mailbox, which another program may have made, is shown as it is."""
    email = '<img src=x onerror=alert(1)>@exa"mple.com'
    box.sql(
        "INSERT INTO users (email, password, privileges, quota, extra) VALUES (?, 'x', '', '1M', '')", email
    )
    await box.runtime.directory.catch_up(10)
    box.state_sql("UPDATE mailusers_directory SET box_bytes = 5, messages = 1 WHERE email = ?", email)
    box.state_sql("UPDATE mailusers_directory SET checked_at = '2026-03-04 05:06:07' WHERE email = ?", email)
    text = (await admin.get(PATH)).text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text


async def test_numbers_are_read_once_for_each_state(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking again costs one small query until something changes; the disk is asked each time."""
    reads = 0
    everything = numbers._all

    def counted(*arguments: object) -> Statistics:
        nonlocal reads
        reads += 1
        return everything(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(numbers, "_all", counted)
    disk = [DiskUsage(100 * MIB, 40 * MIB, 50 * MIB)]
    monkeypatch.setattr("shutil.disk_usage", lambda _: disk[0])
    assert "40.0M of 90.0M are used, 44%" in (await admin.get(PATH)).text
    disk[0] = DiskUsage(100 * MIB, 89 * MIB, 1 * MIB)
    text = (await admin.get(PATH)).text
    assert "nearly full" in text
    assert reads == 1
    await box.add("new@example.com")
    await admin.get(PATH)
    assert reads == 2


async def test_a_disk_that_cannot_be_asked_is_no_reason_to_fail(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so and shows the rest."""

    def fail(_: object) -> DiskUsage:
        raise OSError("Stale file handle")

    monkeypatch.setattr("shutil.disk_usage", fail)
    assert "it cannot be asked" in (await admin.get(PATH)).text


def test_what_is_not_shown_by_itself_is_one_bar() -> None:
    """The rest may be longer than the largest, and all shares together are the whole."""
    found = Statistics(Sample(TODAY, 9, 0, 100, 9), [("a.example", Counts(2, 1, 30))], [], [], None)
    first, rest = page.domain_bars(found)
    assert (first.label, first.value, first.length, first.percent, first.users) == (
        *("a.example", 30, 42.86, 30, 3),
    )
    assert (rest.label, rest.value, rest.length, rest.percent) == ("", 70, 100, 70)


@pytest.mark.parametrize(
    ("quota", "size", "level"),
    [("100M", 79 * MIB, ""), ("100M", 80 * MIB, "warning"), ("100M", 95 * MIB, "critical"), ("0", MIB, "")],
)
def test_nearly_full_mailboxes_are_marked(quota: str, size: int, level: str) -> None:
    """From 80 % and from 95 % on, as in the list."""
    usage = Usage(size, 1, 0, datetime.now(UTC))
    (bar,) = page.mailbox_bars([Entry("a@example.com", True, (), quota, usage)])
    assert bar.level == level


def test_a_disk_without_a_size_has_no_bar() -> None:
    """Some network file systems say 0."""
    assert page.disk_bar(Disk(0, 0)) is None


@pytest.mark.parametrize(
    ("tag", "month", "is_month", "label"),
    [("en", 3, True, "Mar"), ("de", 3, True, "Mär"), ("de", 1, True, "2026"), ("en", 3, False, "Mar 1")],
)
def test_days_are_named_in_the_readers_language(tag: str, month: int, is_month: bool, label: str) -> None:
    """A month by its name, January by its year, other days by both."""
    language = Languages.load().find(tag)
    assert language is not None
    assert (
        page.day_label(DayTick(0, TODAY.replace(year=2026, month=month, day=1), is_month), language) == label
    )

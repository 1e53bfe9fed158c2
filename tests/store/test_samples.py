"""Daily samples on every database: one a day, the last of it, whoever takes it; and the sums they are made of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest

from mailusers_plugin.models import Counts, Sample, Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import directory_lines, samples
from mailusers_plugin.store.database import Connection
from mailusers_plugin.store.directory_lines import active_line, archived_line

DAY = date(2026, 3, 10)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def put(runtime: Runtime, sizes: dict[str, int | None]) -> None:
    """Put lines into the directory; addresses that begin with old are archived."""
    lines: dict[str, directory_lines.Line | None] = {}
    for email, size in sizes.items():
        usage = None if size is None else Usage(size, 1, 0, NOW)
        if email.startswith("old"):
            lines[email] = archived_line(email, None, usage)
        else:
            lines[email] = active_line((email, "", "0"), usage)
    runtime.state.write_now(directory_lines.replace, lines)


@pytest.fixture
def filled(runtime: Runtime) -> Runtime:
    """A box with users in three domains."""
    sizes: dict[str, int | None] = {"a@one.example": 5, "b@one.example": 7, "old@one.example": 8}
    put(runtime, {**sizes, "a@two.example": 2**40, "b@two.example": None, "a@empty.example": 0})
    return runtime


def test_a_sample_sums_up_the_directory(filled: Runtime) -> None:
    """Users are counted by kind, and sizes that are not known are neither counted nor summed."""
    assert filled.state.read_now(samples.now, DAY) == Sample(DAY, 5, 1, 2**40 + 20, 5)


def test_an_empty_box_has_a_sample_too(runtime: Runtime) -> None:
    """Sums over nothing are 0."""
    assert runtime.state.read_now(samples.now, DAY) == Sample(DAY, 0, 0, 0, 0)
    assert runtime.state.read_now(samples.largest_domains, 10) == []


def test_domains_are_ordered_by_what_they_hold(filled: Runtime) -> None:
    """The largest comes first; a domain in which nothing is known to be is left out."""
    expected = [("two.example", Counts(2, 0, 2**40)), ("one.example", Counts(2, 1, 20))]
    assert filled.state.read_now(samples.largest_domains, 10) == expected
    assert filled.state.read_now(samples.largest_domains, 1) == expected[:1]


def test_the_last_sample_of_a_day_counts(filled: Runtime) -> None:
    """A later one replaces an earlier one, and the days before stay."""
    state = filled.state
    before = DAY - timedelta(days=1)
    state.write_now(samples.keep, before)
    state.write_now(samples.keep, DAY)
    put(filled, {"c@one.example": 100})
    newest = state.read_now(samples.now, DAY)
    assert not state.read_now(samples.is_kept, newest)
    state.write_now(samples.keep, DAY)
    assert state.read_now(samples.is_kept, newest)
    old = Sample(before, 5, 1, 2**40 + 20, 5)
    assert state.read_now(samples.since, before) == [old, Sample(DAY, 6, 1, 2**40 + 120, 6)]
    assert state.read_now(samples.since, DAY) == [newest]


def test_old_samples_are_dropped(filled: Runtime) -> None:
    """Five years are kept."""
    for age in (samples.KEPT.days + 1, samples.KEPT.days, 1):
        filled.state.write_now(samples.keep, DAY - timedelta(days=age))
    filled.state.write_now(samples.keep, DAY)
    kept = [sample.day for sample in filled.state.read_now(samples.since, date.min)]
    assert kept == [DAY - samples.KEPT, DAY - timedelta(days=1), DAY]


def test_two_processes_keep_one_sample(filled: Runtime) -> None:
    """Whoever comes second at the same moment changes the other's sample and does not fail."""
    together = Barrier(4)

    def keep(connection: Connection) -> None:
        samples.keep(connection, DAY)

    def at_once(_: int) -> None:
        together.wait(10)
        if filled.state.is_sqlite:
            filled.state.write_now(keep)
        else:
            with filled.state.engine.begin() as connection:
                keep(connection)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(at_once, range(4)))
    assert [sample.day for sample in filled.state.read_now(samples.since, date.min)] == [DAY]


def test_the_background_work_takes_a_sample(filled: Runtime) -> None:
    """Reading the sizes keeps today's sample; doing it again writes nothing where nothing is new."""
    today = datetime.now(UTC).date()
    filled.refresh_usage()
    (sample,) = filled.state.read_now(samples.since, today)
    # The users are in the directory only, so that the comparison has removed them.
    assert sample == Sample(today, 0, 0, 0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filled.state, "write_now", None)
        filled.statistician.take_sample_now()

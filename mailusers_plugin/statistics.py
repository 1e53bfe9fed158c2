"""How full the box is, what fills it, and how it grew: the numbers of the statistics page."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from mailusers_plugin.directory import Directory
from mailusers_plugin.models import Counts, Entry, Sample
from mailusers_plugin.store import directory, samples
from mailusers_plugin.store.database import Connection, Database

SHOWN: Final = 10
"""So many domains and mailboxes are shown by themselves."""
GROWTH: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds the mail.

    :ivar total_bytes: its size
    :ivar free_bytes: what the mail server can still write
    """

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the page shows.

    :ivar today: the box as it is now
    :ivar domains: those that hold most, the largest first
    :ivar mailboxes: the largest, the largest first
    :ivar growth: samples of a year, the oldest first
    :ivar disk: ``None`` where the file system cannot be asked
    """

    today: Sample
    domains: Sequence[tuple[str, Counts]]
    mailboxes: Sequence[Entry]
    growth: Sequence[Sample]
    disk: Disk | None

    @property
    def domains_rest_bytes(self) -> int:
        """What all other domains hold."""
        return self.today.box_bytes - sum(counts.box_bytes for _, counts in self.domains)


class Statistician:
    """Takes the daily samples and reads the numbers."""

    def __init__(self, state: Database, directory: Directory, mailboxes: Path) -> None:
        """Take where they come from.

        :param state: where the directory and the samples are
        :param mailboxes: the folder that holds a folder a domain
        """
        self._state = state
        self._directory = directory
        self._mailboxes = mailboxes
        self._read: tuple[tuple[int, date], Statistics] | None = None

    def take_sample_now(self) -> None:
        """Keep how large the box is today; of several times a day the last one counts. Blocks.

        :raises UnavailableError: if the database is away
        """
        day = datetime.now(UTC).date()
        sample = self._state.read_now(samples.now, day)
        if not self._state.read_now(samples.is_kept, sample):
            self._state.write_now(samples.keep, day)

    async def statistics(self) -> Statistics:
        """Return all numbers. They are read once for each state of the directory, but the disk's each time.

        :raises UnavailableError: if the database is away
        """
        day = datetime.now(UTC).date()
        key = (await self._directory.newest(), day)
        disk = await asyncio.to_thread(self._disk)
        if self._read is None or self._read[0] != key:
            self._read = key, await self._state.read(_all, day)
        found = self._read[1]
        return Statistics(found.today, found.domains, found.mailboxes, found.growth, disk)

    def _disk(self) -> Disk | None:
        try:
            usage = shutil.disk_usage(self._mailboxes)
        except OSError:
            return None
        # What is kept back for root is neither free nor used.
        return Disk(usage.used + usage.free, usage.free)


def _all(connection: Connection, day: date) -> Statistics:
    today = samples.now(connection, day)
    growth = [sample for sample in samples.since(connection, day - GROWTH) if sample.day < day]
    return Statistics(
        today,
        samples.largest_domains(connection, SHOWN),
        directory.fullest(connection, SHOWN),
        [*growth, today],
        None,
    )

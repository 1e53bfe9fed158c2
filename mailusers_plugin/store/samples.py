"""How large the box is and was: sums over the directory, and one sample a day of them.

Each function takes a connection to the state database inside a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from mailusers_plugin.models import Counts, Sample
from mailusers_plugin.store import directory_lines, directory_tally, schema

KEPT: Final = timedelta(days=5 * 366)
_sample = schema.sample.c


def now(connection: Connection, day: date) -> Sample:
    """Return a sample of what the directory says.

    :param day: what day it is (UTC)
    """
    lines, archived, box_bytes, measured = directory_tally.everything(connection)
    return Sample(day, int(lines - archived), int(archived), int(box_bytes), int(measured))


def is_kept(connection: Connection, sample: Sample) -> bool:
    """Tell whether just this is kept for the day."""
    return sample in since(connection, sample.day)


def keep(connection: Connection, day: date) -> None:
    """Store what the directory says as the day's sample, in place of an earlier one, and drop those that are too old.

    :param day: what day it is (UTC)
    """
    # Of two processes the later one changes what the earlier one has added.
    directory_lines.lock(connection)
    sample = now(connection, day)
    values = {
        "active": sample.active,
        "archived": sample.archived,
        "box_bytes": sample.box_bytes,
        "measured": sample.measured,
    }
    if connection.execute(select(_sample.day).where(_sample.day == day)).first() is None:
        connection.execute(insert(schema.sample).values(day=day, **values))
        connection.execute(delete(schema.sample).where(_sample.day < day - KEPT))
    else:
        connection.execute(update(schema.sample).where(_sample.day == day).values(**values))


def add(connection: Connection, earlier: Iterable[Sample]) -> None:
    """Store samples of days that have none, for a demonstration."""
    connection.execute(insert(schema.sample), [asdict(sample) for sample in earlier])


def since(connection: Connection, first: date) -> list[Sample]:
    """Return the samples from a day on, the oldest first."""
    query = select(_sample.day, _sample.active, _sample.archived, _sample.box_bytes, _sample.measured)
    rows = connection.execute(query.where(_sample.day >= first).order_by(_sample.day))
    return [Sample(*row) for row in rows]


def largest_domains(connection: Connection, limit: int) -> Sequence[tuple[str, Counts]]:
    """Return the domains that hold most, the largest first; those without any known size are left out."""
    return directory_tally.domains(connection, "", limit, by_bytes=True)

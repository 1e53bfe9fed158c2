"""A throw-away box with users of all kinds and sizes, for a first look and for pictures."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from mailusers_plugin.models import ADMIN, Actor, Sample
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import samples
from mailusers_plugin.validation import quota_bytes

_ACTOR: Final = Actor(None, "setup")
_ADMINISTRATOR: Final = "me@example.com"
_MIB: Final = 2**20

# Address, quota, share of the quota (or MiB where unlimited) in use; None for a mailbox that nobody has measured.
_USERS: Final[tuple[tuple[str, str, float | None], ...]] = (
    (_ADMINISTRATOR, "0", 812.0),
    ("anna.berg@example.com", "5G", 0.12),
    ("ben@example.com", "2G", 0.86),
    ("carla.dos-santos@example.com", "500M", 0.97),
    ("dmitri@example.com", "0", 15203.0),
    ("info@example.com", "1G", 0.43),
    ("newcomer@example.com", "5G", None),
    ("accounts@example.org", "10G", 0.61),
    ("board@example.org", "0", 0.0),
    ("press@example.org", "1G", 0.05),
    ("a.rather.long.address.for.one.person@mail.department.example.net", "20G", 0.31),
    ("support@mail.department.example.net", "50G", 0.78),
    ("kontakt@xn--mller-kva.example.net", "1G", 0.22),
)
_ARCHIVED: Final[tuple[tuple[str, str, float], ...]] = (
    ("erik@example.com", "2G", 0.55),
    ("former.intern@example.org", "500M", 0.02),
)
_FROM_BEFORE_US: Final = "oldtimer@example.com"
# So that there is something to search, to sort and to turn pages in.
_GIVEN: Final = (
    *("alex", "bea", "chris", "dana", "eli", "fay", "gus", "hana", "ivo", "jo"),
    *("kim", "lea", "max", "nora", "otto", "pia", "quin", "rosa", "sam", "tess"),
)
_FAMILY: Final = ["archer", "baker", "cook", "dyer", "fisher"]
_LARGE_DOMAINS: Final = ("school.example.com", "school.example.com", "sports.example.org", "example.org")
_MONTHS: Final = 9


def make_demo(settings: Settings, say: Callable[[str], None]) -> None:
    """Fill an empty box.

    :param settings: name the box
    :param say: prints a line on the console
    """
    password = secrets.token_urlsafe(9)
    asyncio.run(_fill(settings, password))
    say(f"Demonstration box, deleted at the end. Log in as {_ADMINISTRATOR} with the password {password}")


async def _fill(settings: Settings, password: str) -> None:
    runtime = Runtime(settings)
    try:
        # All at once, so that passwords are hashed side by side and the changes are committed together.
        users = (*_USERS, *_ARCHIVED, *_crowd())
        await asyncio.gather(*(_add(runtime, password, *user) for user in users))
        for email, _, _ in _ARCHIVED:
            await runtime.service.archive(Actor(_ADMINISTRATOR, "cookie"), email)
        _make_mailbox(Path(runtime.mailboxes.path(_FROM_BEFORE_US)), "0", 96.0)
        await asyncio.to_thread(runtime.refresh_usage)
        await runtime.state.write(samples.add, _past(await runtime.state.read(samples.now, _today())))
    finally:
        await runtime.stop()


async def _add(runtime: Runtime, password: str, email: str, quota: str, used: float | None) -> None:
    privileges = (ADMIN,) if email in (_ADMINISTRATOR, "accounts@example.org") else ()
    chosen = password if email == _ADMINISTRATOR else secrets.token_urlsafe(12)
    await runtime.service.add(_ACTOR, email, chosen, privileges, quota)
    if used is not None:
        await asyncio.to_thread(_make_mailbox, Path(runtime.mailboxes.path(email)), quota, used)


def _crowd() -> Iterator[tuple[str, str, float]]:
    """Yield many more users, the same each time."""
    # No secret: made-up users.
    chance = random.Random(1)  # noqa: S311  # nosec B311
    for family in _FAMILY:
        for given in _GIVEN:
            email = f"{given}.{family}@{chance.choice(_LARGE_DOMAINS)}"
            yield email, chance.choice(("1G", "2G", "2G", "5G", "10G")), min(chance.expovariate(4), 0.99)


def _today() -> date:
    return datetime.now(UTC).date()


def _past(today: Sample) -> Iterator[Sample]:
    """Yield samples of the months before, with a week in which nobody took any."""
    days = 30 * _MONTHS
    for ago in range(days, 0, -1):
        if not 100 <= ago < 107:
            share = 1 - 0.7 * ago / days + 0.02 * math.sin(ago / 9)
            yield Sample(
                today.day - timedelta(days=ago),
                round(today.active * share),
                today.archived,
                round(today.box_bytes * share**2),
                round(today.measured * share),
            )


def _make_mailbox(folder: Path, quota: str, used: float) -> None:
    """Make an empty maildir whose quota file says that there is mail in it."""
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    limit = quota_bytes(quota) or 0
    size = int(used * limit) if limit else int(used * _MIB)
    count = size // 50_000
    (folder / "maildirsize").write_text(f"{limit}S\n{size} {count}\n", encoding="ascii")

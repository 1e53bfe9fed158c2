"""A module of another package: notes in a file what it is told of."""

import json
import os
import time
from pathlib import Path

from mailusers_plugin import hookimpl
from mailusers_plugin.events import Event, QuotaChanged, UserAdded, UserArchived

FILE = Path(os.environ["NOTES_FILE"])


def note(event: Event) -> None:
    """Append one line; first, as long as the test holds this up, nothing."""
    while FILE.with_suffix(".hold").exists():
        time.sleep(0.02)
    with FILE.open("a", encoding="utf-8") as notes:
        notes.write(json.dumps({"type": event.type, **event.as_dict()}) + "\n")


@hookimpl
def mailusers_post_add(event: UserAdded) -> None:
    """Note a new user."""
    note(event)


@hookimpl
def mailusers_post_archive(event: UserArchived) -> None:
    """Note an archived user."""
    note(event)


@hookimpl
async def mailusers_quota_change(event: QuotaChanged) -> None:
    """Note a new quota; a coroutine, for once."""
    note(event)

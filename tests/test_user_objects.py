"""A user object that is kept as text is the one that would be made now."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from mailusers_plugin.models import Entry, Usage
from mailusers_plugin.user_objects import encoded, entry_object, place, placed

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ENTRIES = [
    Entry("a@example.com", True, ("admin", '"mailbox":"'), "5G", Usage(2**30, 7, 0, NOW)),
    Entry("a@example.com", True, (), "0", None),
    Entry("a@example.com", True, (), "no quota", None),
    Entry("ä\\\"'@example.com", False, (), None, None),
    Entry("a@example.com", False, (), "1M", Usage(2**62, 7, 0, NOW), NOW, '"mailbox":"', True),
]


@pytest.mark.parametrize("mail_store", ["/srv/mail/mailboxes", '/odd "place"\\of mail', "/bücher"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_kept_and_made(entry: Entry, mail_store: str) -> None:
    """Wherever the mail store is, the text says what the object says."""
    local_part, _, domain = entry.email.rpartition("@")
    wanted = entry_object(entry, f"{mail_store}/{domain}/{local_part}")
    found = orjson.loads(placed(encoded(entry).encode(), place(mail_store)))
    assert found == orjson.loads(orjson.dumps(wanted))

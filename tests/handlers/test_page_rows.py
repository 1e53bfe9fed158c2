"""What a line of the list says, and why it does not say more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin.handlers import page_rows
from mailusers_plugin.handlers.page_rows import Fullness, Quota, fullness, quota_of, row_of
from mailusers_plugin.models import ADMIN, Entry, Usage

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def entry(quota: str | None = "100M", size: int | None = None, *privileges: str, **more: object) -> Entry:
    """Return a user, measured where there is a size."""
    usage = None if size is None else Usage(size, 7, 0, NOW)
    return Entry("user@xn--mller-kva.example", True, privileges, quota, usage, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("0", Quota(0, "")),
        ("5G", Quota(5 * 2**30, "5G")),
        ("1048576", Quota(2**20, "")),
        (None, Quota(None, why=page_rows.NOT_ON_RECORD)),
        ("lots", Quota(None, "lots", page_rows.NOT_VALID)),
    ],
)
def test_quotas(quota: str | None, expected: Quota) -> None:
    """A quota is shown as it was typed, bytes in a readable unit, and what is none says so."""
    assert quota_of(quota) == expected


@pytest.mark.parametrize(
    ("quota", "size", "expected"),
    [
        ("100M", 79 * 2**20, Fullness(79.0)),
        ("100M", 80 * 2**20, Fullness(80.0, "warning")),
        ("100M", 95 * 2**20 - 1, Fullness((95 * 2**20 - 1) / 2**20, "warning")),
        ("100M", 95 * 2**20, Fullness(95.0, "critical")),
        ("100M", 200 * 2**20, Fullness(200.0, "critical")),
        ("0", 2**40, Fullness()),
        ("100M", None, Fullness(why=page_rows.NOT_MEASURED)),
        ("lots", 1, Fullness(why=page_rows.QUOTA_UNKNOWN)),
        (None, None, Fullness(why=page_rows.QUOTA_UNKNOWN)),
    ],
)
def test_fullness(quota: str | None, size: int | None, expected: Fullness) -> None:
    """A warning begins at 80 %, a critical one at 95 %; without a limit or a size there is none."""
    assert fullness(entry(quota, size)) == expected


def test_who_is_kept_from_locking_himself_out() -> None:
    """Your own account and the last administrator say why something is not offered."""
    boss = entry("0", None, ADMIN)
    assert row_of(boss, reader=boss.email, administrators=2, now=NOW).refusal == page_rows.OWN_ADMINISTRATOR
    assert (
        row_of(boss, reader="other@example.com", administrators=1, now=NOW).refusal
        == page_rows.LAST_ADMINISTRATOR
    )
    assert row_of(boss, reader=None, administrators=2, now=NOW).refusal == ""
    plain = row_of(entry(), reader=entry().email, administrators=1, now=NOW)
    assert (plain.is_own, plain.refusal) == (True, page_rows.OWN_ACCOUNT)


def test_an_archived_line() -> None:
    """What the user was is not shown as what it is; undoing is offered while there is time."""
    gone = Entry(
        "user@example.com", False, (ADMIN, "radio"), None, None, undo_until=NOW + timedelta(minutes=1)
    )
    row = row_of(gone, reader="user@example.com", administrators=1, mailbox="/mail/user", now=NOW)
    assert (row.is_admin, row.is_own, row.refusal, row.others) == (False, False, "", ())
    assert row.can_undo
    assert not row_of(gone, now=NOW + timedelta(minutes=2)).can_undo


def test_when_a_size_was_seen() -> None:
    """An active user's size is as old as the last time everything was read, unless it was found later."""
    size = Usage(5, 1, 0, NOW)
    later, before = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
    found = Entry("user@example.com", True, (), "0", size)
    assert row_of(found, now=NOW).measured_at == NOW
    assert row_of(found, sizes_read_at=later, now=NOW).measured_at == later
    assert row_of(found, sizes_read_at=before, now=NOW).measured_at == NOW
    archived = Entry("user@example.com", False, (), "0", size)
    assert row_of(archived, sizes_read_at=later, now=NOW).measured_at == NOW
    unknown = Entry("user@example.com", True, (), "0", None)
    assert row_of(unknown, sizes_read_at=later, now=NOW).measured_at is None


def test_the_address() -> None:
    """The domain is shown as people write it, the local part stands by itself."""
    row = row_of(entry(), now=NOW)
    assert (row.local_part, row.domain) == ("user", "müller.example")

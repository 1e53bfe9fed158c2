"""Events: frozen, without secrets, and the same after being stored."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mailusers_plugin.events import (
    EVENT_TYPES,
    Event,
    PasswordChanged,
    PrivilegesChanged,
    PurgeBegun,
    QuotaChanged,
    UserAdded,
    UserArchived,
    UserPurged,
    by,
)
from mailusers_plugin.hooks import specs
from mailusers_plugin.models import Actor

BY = by(Actor("boss@example.com", "basic"))
MAILBOX = "/home/user-data/mail/mailboxes/example.com/user"

EVENTS: list[Event] = [
    UserAdded(
        email="user@example.com", privileges=("admin", "x"), quota="5G", quota_bytes=5, restored=True, **BY
    ),
    UserArchived(email="user@example.com", privileges=(), quota="0", mailbox=MAILBOX, **BY),
    PurgeBegun(email="user@example.com", mailbox=MAILBOX, **BY),
    UserPurged(email="user@example.com", mailbox=MAILBOX, actor=None, via="cli"),
    QuotaChanged(
        email="user@example.com",
        old_quota="lots",
        new_quota="1G",
        old_quota_bytes=None,
        new_quota_bytes=2**30,
        **BY,
    ),
    PasswordChanged(email="üser@example.com", **BY),
    PrivilegesChanged(email="user@example.com", old_privileges=(), new_privileges=("admin",), **BY),
]
NAMES = [event.type for event in EVENTS]


def test_all_events_are_tested() -> None:
    """Every type of event appears in these tests."""
    assert sorted(NAMES) == sorted(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_round_trip(event: Event) -> None:
    """An event that was stored as JSON is equal to the one that happened."""
    stored = json.dumps(event.as_dict())
    assert EVENT_TYPES[event.type].from_dict(json.loads(stored)) == event


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_frozen(event: Event) -> None:
    """An implementation cannot change what the others are told."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.email = "other@example.com"  # type: ignore[misc]


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_hook_exists(event: Event) -> None:
    """Every event names a specification, but for the one that is only for the audit trail."""
    assert hasattr(specs, event.hook) or isinstance(event, PurgeBegun)


@pytest.mark.parametrize("event", EVENTS, ids=NAMES)
def test_no_secret(event: Event) -> None:
    """No event has a field for a password or a hash."""
    assert not [f.name for f in dataclasses.fields(event) if "password" in f.name or "hash" in f.name]


def test_fields_of_a_newer_version() -> None:
    """A field that only a newer version knows is passed over."""
    event = EVENTS[0]
    assert UserAdded.from_dict({**event.as_dict(), "new_in_2030": ["x"]}) == event


@pytest.mark.parametrize(("name", "error"), [("time", KeyError), ("email", TypeError), ("quota", TypeError)])
def test_missing_field(name: str, error: type[Exception]) -> None:
    """A stored event that lacks a field is an error and not a half event."""
    values = EVENTS[0].as_dict()
    del values[name]
    with pytest.raises(error):
        UserAdded.from_dict(values)


def test_identifiers_and_times() -> None:
    """Each event has an id of its own and its time in UTC; a time with another zone survives too."""
    one, two = (PasswordChanged(email="a@example.com", **BY) for _ in range(2))
    assert one.id != two.id
    assert one.time.tzinfo is UTC
    there = datetime(2030, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=5, minutes=30)))
    event = PasswordChanged(email="a@example.com", time=there, **BY)
    assert PasswordChanged.from_dict(event.as_dict()).time == there

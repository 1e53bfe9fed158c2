"""A trail from before it was a chain is brought into it, with what was still to be delivered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text

from mailusers_plugin.store import audit, audit_chain, migrate
from mailusers_plugin.store.database import Database
from tests.servers.engines import Engine
from tests.support import stored_time

SEEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def database(engine: Engine, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    url = engine.empty()
    opened = Database(url or f"sqlite:///{tmp_path}/state.sqlite", shared=False)
    yield opened
    opened.close()
    engine.drop(url)


def _at(connection: Connection, revision: str) -> None:
    config = migrate.configuration()
    config.attributes["connection"] = connection
    (command.upgrade if revision == "state_0007" else command.downgrade)(config, revision)


def as_it_was(connection: Connection) -> None:
    """Leave a trail with a gap in its numbers, an event that waits for it, one that failed and one that is done."""
    _at(connection, "state_0007")
    seen = stored_time(SEEN)
    for seq, event_id, email in ((1, "one", "ünïcödé@example.com"), (7, "seven", "b@example.com")):
        connection.execute(
            text(
                "INSERT INTO mailusers_audit (seq, event_id, time, type, actor, via, email, detail) "
                "VALUES (:seq, :id, :seen, 'QuotaChanged', 'boss@example.com', 'basic', :email, :detail)"
            ),
            {"seq": seq, "id": event_id, "seen": seen, "email": email, "detail": '{"old_quota":  "0"}'},
        )
    for seq, event_id, state in ((3, "seven", "done"), (4, "late", "pending"), (5, "lost", "failed")):
        event = {
            "id": event_id,
            "time": SEEN.isoformat(),
            "actor": None,
            "via": "cli",
            "email": f"{event_id}@example.com",
            "mailbox": "/somewhere",
        }
        connection.execute(
            text(
                "INSERT INTO mailusers_event (seq, id, type, email, time, body) "
                "VALUES (:seq, :id, 'UserPurged', :email, :seen, :body)"
            ),
            {"seq": seq, "id": event_id, "email": event["email"], "seen": seen, "body": json.dumps(event)},
        )
        for implementation in ("audit_log", "other"):
            connection.execute(
                text(
                    "INSERT INTO mailusers_delivery (seq, implementation, email, state, attempts, due_at, updated_at) "
                    "VALUES (:seq, :implementation, :email, :state, 0, :seen, :seen)"
                ),
                {
                    "seq": seq,
                    "implementation": implementation,
                    "email": event["email"],
                    "state": state,
                    "seen": seen,
                },
            )
    connection.execute(
        text(
            "INSERT INTO mailusers_subscription (implementation, hook, behind, seen_at) "
            "VALUES ('audit_log', 'mailusers_post_purge', 0, :seen)"
        ),
        {"seen": seen},
    )


def test_a_trail_is_chained(database: Database) -> None:
    """Entries keep what they say, in their order; what failed or waited follows; the chain is right and guarded."""
    database.write_now(as_it_was)
    database.write_now(migrate.bring_state_up_to_date)
    entries = database.read_now(audit.newest, 10)[::-1]
    assert [(e.seq, e.id, e.email, e.time, e.ip) for e in entries] == [
        (1, "one", "ünïcödé@example.com", SEEN, None),
        (2, "seven", "b@example.com", SEEN, None),
        (3, "late", "late@example.com", SEEN, None),
        (4, "lost", "lost@example.com", SEEN, None),
    ]
    assert entries[0].detail == {"old_quota": "0"}
    assert entries[2].detail == {"mailbox": "/somewhere"}
    verdict = database.read_now(audit_chain.verify)
    assert (verdict.fault, verdict.checked, verdict.guarded) == (None, 4, True)
    left = database.read_now(
        lambda c: c.execute(text("SELECT DISTINCT implementation FROM mailusers_delivery")).scalars().all()
    )
    assert left == ["other"]
    # The original text of an entry is what is hashed.
    stored = database.read_now(
        lambda c: c.execute(text("SELECT detail FROM mailusers_audit WHERE seq = 1")).scalar()
    )
    assert stored == '{"old_quota":  "0"}'


def test_a_large_trail_is_chained(database: Database) -> None:
    """More entries than are read at once are brought over, each once."""
    database.write_now(_at, "state_0007")
    rows = [{"id": f"event{number}", "seen": stored_time(SEEN)} for number in range(2500)]
    database.write_now(
        lambda c: (
            c.execute(
                text(
                    "INSERT INTO mailusers_audit (event_id, time, type, actor, via, email, detail) "
                    "VALUES (:id, :seen, 'PasswordChanged', NULL, 'cli', 'a@example.com', '{}')"
                ),
                rows,
            ).rowcount
        )
    )
    database.write_now(migrate.bring_state_up_to_date)
    verdict = database.read_now(audit_chain.verify)
    assert (verdict.fault, verdict.checked) == (None, 2500)


def test_going_back_keeps_the_entries(database: Database) -> None:
    """Taking the step back keeps every entry, and coming again chains them anew."""
    database.write_now(as_it_was)
    database.write_now(migrate.bring_state_up_to_date)
    database.write_now(_at, "state_0006")
    assert not database.read_now(lambda c: inspect(c).has_table("mailusers_audit_chain"))
    count = database.read_now(lambda c: c.execute(text("SELECT count(*) FROM mailusers_audit")).scalar())
    assert count == 4
    database.write_now(migrate.bring_state_up_to_date)
    assert database.read_now(audit_chain.verify).checked == 4

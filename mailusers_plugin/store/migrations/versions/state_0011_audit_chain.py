"""Chain the entries of the audit trail, with the client's address, and let the database refuse to change them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store import audit_guard
from mailusers_plugin.store.audit_chain import link
from mailusers_plugin.store.schema import UTCDateTime
from mailusers_plugin.trail_models import GENESIS, Entry

revision = "state_0011"
down_revision = "state_0010"
branch_labels = None
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = (
    sa.String(255)
    .with_variant(_exact, "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_AT_ONCE = 1000
_TABLE = "mailusers_audit"


def _columns(*, chained: bool) -> list[sa.Column[Any]]:
    own = [sa.Column("ip", sa.String(64))] if chained else []
    hashes = [sa.Column(name, sa.String(64), nullable=False) for name in ("previous", "hash")]
    return [
        sa.Column("seq", _serial, primary_key=True, autoincrement=not chained),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("time", UTCDateTime(), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("actor", _name),
        sa.Column("via", sa.String(16), nullable=False),
        *own,
        sa.Column("email", _name, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        *(hashes if chained else []),
    ]


def upgrade() -> None:
    """Make the change: what is there is chained in its order, behind it what was still to be delivered."""
    connection = op.get_bind()
    new = op.create_table(f"{_TABLE}_new", *_columns(chained=True))
    chain = op.create_table(
        f"{_TABLE}_chain",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("anchor_seq", sa.BigInteger(), nullable=False),
        sa.Column("anchor_hash", sa.String(64), nullable=False),
        sa.Column("head_seq", sa.BigInteger(), nullable=False),
        sa.Column("head_hash", sa.String(64), nullable=False),
    )
    seq, previous = 0, GENESIS
    rows: list[dict[str, Any]] = []
    for entry in _entries(connection):
        seq += 1
        content = (entry.time, entry.type, entry.actor, entry.via, entry.ip, entry.email, entry.detail)
        hash_ = link(previous, seq, entry.id, *content)
        values = dict(zip(("time", "type", "actor", "via", "ip", "email", "detail"), content, strict=True))
        rows.append({"seq": seq, "event_id": entry.id, **values, "previous": previous, "hash": hash_})
        previous = hash_
        if len(rows) == _AT_ONCE:
            connection.execute(new.insert(), rows)
            rows = []
    if rows:
        connection.execute(new.insert(), rows)
    row = {"id": 1, "anchor_seq": 0, "anchor_hash": GENESIS, "head_seq": seq, "head_hash": previous}
    connection.execute(chain.insert().values(row))
    # From now on entries are written where events are taken over from the outbox, and not delivered.
    for table in ("delivery", "subscription"):
        connection.execute(sa.text(f"DELETE FROM mailusers_{table} WHERE implementation = 'audit_log'"))  # noqa: S608  # nosec B608
    op.drop_table(_TABLE)
    op.rename_table(f"{_TABLE}_new", _TABLE)
    op.create_index(f"{_TABLE}_event", _TABLE, ["event_id"], unique=True)
    op.create_index(f"{_TABLE}_time", _TABLE, ["time", "seq"])
    for name in ("email", "actor", "type"):
        op.create_index(f"{_TABLE}_{name}", _TABLE, [name, "time", "seq"])
    op.create_index(f"{_TABLE}_actor_type", _TABLE, ["actor", "type", "time", "seq"])
    audit_guard.put(connection)


def _entries(connection: sa.Connection) -> Iterator[Entry]:
    """Yield what the trail holds, then what would have been delivered to it."""
    old = sa.Table(_TABLE, sa.MetaData(), *_columns(chained=False))
    behind = -1
    while rows := connection.execute(
        old.select().where(old.c.seq > behind).order_by(old.c.seq).limit(_AT_ONCE)
    ).all():
        for row in rows:
            yield Entry(
                type=row.type,
                email=row.email,
                actor=row.actor,
                via=row.via,
                ip=None,
                detail=row.detail,
                id=row.event_id,
                time=row.time,
            )
        behind = rows[-1].seq
    waiting = (
        "SELECT e.type, e.body FROM mailusers_event e JOIN mailusers_delivery d ON d.seq = e.seq "
        "WHERE d.implementation = 'audit_log' AND d.state <> 'done' "
        "AND NOT EXISTS (SELECT 1 FROM mailusers_audit a WHERE a.event_id = e.id) ORDER BY e.seq"
    )
    for type_, body in connection.execute(sa.text(waiting)).all():
        yield Entry.of_event(type_, json.loads(body))


def downgrade() -> None:
    """Take it back: the entries stay, their hashes and addresses go."""
    connection = op.get_bind()
    audit_guard.lift(connection)
    for name in ("event", "time", "email", "actor", "type", "actor_type"):
        op.drop_index(f"{_TABLE}_{name}", _TABLE)
    op.rename_table(_TABLE, f"{_TABLE}_new")
    op.create_table(
        _TABLE,
        *_columns(chained=False),
        sa.UniqueConstraint("event_id", name=f"{_TABLE}_event"),
        sqlite_autoincrement=True,
    )
    op.create_index(f"{_TABLE}_email", _TABLE, ["email"])
    names = "seq, event_id, time, type, actor, via, email, detail"
    connection.execute(sa.text(f"INSERT INTO {_TABLE} ({names}) SELECT {names} FROM {_TABLE}_new"))  # noqa: S608  # nosec B608
    op.drop_table(f"{_TABLE}_new")
    op.drop_table(f"{_TABLE}_chain")

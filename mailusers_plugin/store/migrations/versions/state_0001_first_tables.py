"""Make our other tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0001"
down_revision = None
branch_labels = ("state",)
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = sa.String(255).with_variant(_exact, "mysql", "mariadb")
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_event",
        sa.Column("seq", _serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("email", _name, nullable=False),
        sa.Column("time", UTCDateTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("id", name="mailusers_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "mailusers_subscription",
        sa.Column("implementation", _name, primary_key=True),
        sa.Column("hook", sa.String(64), primary_key=True),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
    )
    op.create_table(
        "mailusers_delivery",
        sa.Column("seq", _serial, primary_key=True, autoincrement=False),
        sa.Column("implementation", _name, primary_key=True),
        sa.Column("email", _name, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("lease_owner", sa.String(128)),
        sa.Column("lease_until", UTCDateTime()),
        sa.Column("error", sa.Text()),
        sa.Column("updated_at", UTCDateTime(), nullable=False),
    )
    op.create_index("mailusers_delivery_due", "mailusers_delivery", ["state", "due_at"])
    op.create_index(
        "mailusers_delivery_order", "mailusers_delivery", ["implementation", "email", "state", "seq"]
    )
    op.create_table(
        "mailusers_usage",
        sa.Column("email", _name, primary_key=True),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("limit_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", UTCDateTime(), nullable=False),
    )
    op.create_table(
        "mailusers_session",
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("email", _name, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("password_mark", sa.String(64), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("used_at", UTCDateTime(), nullable=False),
    )
    op.create_index("mailusers_session_email", "mailusers_session", ["email"])
    op.create_table(
        "mailusers_audit",
        sa.Column("seq", _serial, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(32), nullable=False),
        sa.Column("time", UTCDateTime(), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("actor", _name),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("email", _name, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.UniqueConstraint("event_id", name="mailusers_audit_event"),
        sqlite_autoincrement=True,
    )
    op.create_index("mailusers_audit_email", "mailusers_audit", ["email"])


def downgrade() -> None:
    """Take it back."""
    for table in ("audit", "session", "usage", "delivery", "subscription", "event"):
        op.drop_table(f"mailusers_{table}")

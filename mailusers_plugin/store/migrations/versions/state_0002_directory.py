"""Make the directory, which the list is read from, and the feed of its changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0002"
down_revision = "state_0001"
branch_labels = None
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = sa.String(255).with_variant(_exact, "mysql", "mariadb")
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = {
    "list": ["domain", "archived", "email"],
    "archived": ["archived", "domain", "email"],
    "shown": ["shown", "email"],
    "admin": ["is_admin", "domain", "email"],
    "size": ["box_bytes", "email"],
    "used": ["percent", "email"],
    "quota": ["limit_bytes", "email"],
    "domain_size": ["domain", "box_bytes", "email", "archived"],
    "domain_used": ["domain", "percent", "email"],
    "domain_quota": ["domain", "limit_bytes", "email"],
}


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_directory",
        sa.Column("email", _name, primary_key=True),
        sa.Column("domain", _name, nullable=False),
        sa.Column("shown", _name),
        sa.Column("archived", sa.SmallInteger(), nullable=False),
        sa.Column("privileges", sa.Text(), nullable=False),
        sa.Column("is_admin", sa.SmallInteger(), nullable=False),
        sa.Column("quota", sa.String(32)),
        sa.Column("limit_bytes", sa.BigInteger(), nullable=False),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Float(53), nullable=False),
        sa.Column("messages", sa.BigInteger()),
        sa.Column("checked_at", UTCDateTime()),
        sa.Column("archived_at", UTCDateTime()),
        sa.Column("archived_by", _name),
        sa.Column("purging", sa.SmallInteger(), nullable=False),
        sa.Column("undo_until", UTCDateTime()),
    )
    for name, columns in _INDEXES.items():
        op.create_index(f"mailusers_directory_{name}", "mailusers_directory", columns)
    feed = op.create_table(
        "mailusers_feed",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.Column("built_at", UTCDateTime()),
    )
    op.bulk_insert(feed, [{"id": 1, "newest": 0, "built_at": None}])
    op.create_table(
        "mailusers_changed",
        sa.Column("seq", _serial, primary_key=True, autoincrement=False),
        sa.Column("email", _name, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    for table in ("changed", "feed", "directory"):
        op.drop_table(f"mailusers_{table}")

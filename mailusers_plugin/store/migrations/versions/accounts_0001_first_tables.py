"""Make our tables beside those of the box."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store.schema import UTCDateTime

revision = "accounts_0001"
down_revision = None
branch_labels = ("accounts",)
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = sa.String(255).with_variant(_exact, "mysql", "mariadb")
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_archive",
        sa.Column("email", _name, primary_key=True),
        sa.Column("archived_at", UTCDateTime()),
        sa.Column("archived_by", _name),
        sa.Column("archived_via", sa.String(16)),
        sa.Column("quota", sa.String(32)),
        sa.Column("privileges", sa.Text()),
        sa.Column("purge_name", sa.String(64)),
        sa.Column("purge_started_at", UTCDateTime()),
    )
    op.create_table(
        "mailusers_outbox",
        sa.Column("seq", _serial, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("email", _name, nullable=False),
        sa.Column("time", UTCDateTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("id", name="mailusers_outbox_id"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name in ("sqlite", "postgresql"):
        # Finding the administrators must not read every user; an index is not seen by the box's own programs.
        op.execute("CREATE INDEX mailusers_users_privileged ON users (email) WHERE privileges <> ''")


def downgrade() -> None:
    """Take it back."""
    if op.get_bind().dialect.name in ("sqlite", "postgresql"):
        op.execute("DROP INDEX mailusers_users_privileged")
    for table in ("outbox", "archive"):
        op.drop_table(f"mailusers_{table}")

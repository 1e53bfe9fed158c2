"""Make the tables of imported files: what became of each, and of each of its lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0004"
down_revision = "state_0003"
branch_labels = None
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = sa.String(255).with_variant(_exact, "mysql", "mariadb")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_import",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", _name, nullable=False),
        sa.Column("actor", _name),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("seen_at", UTCDateTime(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("prepared", sa.Integer(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("ended_at", UTCDateTime()),
        sa.Column("fault", sa.Text()),
    )
    op.create_table(
        "mailusers_import_row",
        sa.Column("import_id", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("email", _name, nullable=False),
        sa.Column("made_password", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("fault", sa.Text()),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("mailusers_import_row")
    op.drop_table("mailusers_import")

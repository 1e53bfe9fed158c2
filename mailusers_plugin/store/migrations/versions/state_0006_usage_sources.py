"""Remember what was read of each mailbox and how far reading is; make the table that quota_clone fills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0006"
down_revision = "state_0005"
branch_labels = None
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_address = (
    sa.String(255)
    .with_variant(_exact, "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("mailusers_usage") as usage:
        usage.add_column(sa.Column("mark", sa.BigInteger()))
    usage_pass = op.create_table(
        "mailusers_usage_pass",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("position", _address, nullable=False),
        sa.Column("began_at", UTCDateTime()),
    )
    op.bulk_insert(usage_pass, [{"id": 1, "source": "", "position": ""}])
    op.create_table(
        "mailusers_quota",
        sa.Column("email", _address, primary_key=True),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("messages", sa.BigInteger(), nullable=False, server_default="0"),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("mailusers_quota")
    op.drop_table("mailusers_usage_pass")
    with op.batch_alter_table("mailusers_usage") as usage:
        usage.drop_column("mark")

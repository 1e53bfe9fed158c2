"""Count log-ins that fail, and know where a session was begun and with which privileges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.schema import Address

revision = "state_0009"
down_revision = "state_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_throttle",
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("email", Address, nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("drained_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("kept_until", sa.BigInteger(), nullable=False),
    )
    op.create_index("mailusers_throttle_kept", "mailusers_throttle", ["kept_until"])
    with op.batch_alter_table("mailusers_session") as table:
        table.add_column(sa.Column("privileges", sa.Text()))
        for name, length in (("address", 64), ("network", 64), ("agent", 255)):
            table.add_column(sa.Column(name, sa.String(length)))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("mailusers_session") as table:
        for name in ("agent", "network", "address", "privileges"):
            table.drop_column(name)
    op.drop_index("mailusers_throttle_kept", "mailusers_throttle")
    op.drop_table("mailusers_throttle")

"""Keep recovery codes, and log-ins that wait for the code of a second factor."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.schema import Address, UTCDateTime

revision = "state_0008"
down_revision = "state_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_recovery_code",
        sa.Column("email", Address, primary_key=True),
        sa.Column("code_hash", sa.String(64), primary_key=True),
        sa.Column("bound_to", sa.String(64), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
    )
    op.create_table(
        "mailusers_half_login",
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("email", Address, nullable=False),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    """Take it back; the recovery codes are lost."""
    op.drop_table("mailusers_half_login")
    op.drop_table("mailusers_recovery_code")

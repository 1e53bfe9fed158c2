"""Make the table of daily samples, which the picture of growth is drawn from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "state_0003"
down_revision = "state_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_sample",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("archived", sa.Integer(), nullable=False),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("mailusers_sample")

"""Remember what was answered to requests with an Idempotency-Key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0012"
down_revision = "state_0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_idempotency",
        sa.Column("mark", sa.String(64), primary_key=True),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", UTCDateTime()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.Text()),
    )
    op.create_index("mailusers_idempotency_created", "mailusers_idempotency", ["created_at"])


def downgrade() -> None:
    """Take it back; who repeats a request then has it carried out again."""
    op.drop_table("mailusers_idempotency")

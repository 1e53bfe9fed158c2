"""Keep API tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.column_types import Address, Name, UTCDateTime

revision = "state_0010"
down_revision = "state_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "mailusers_token",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("owner", Address, nullable=False),
        sa.Column("owner_id", sa.BigInteger()),
        sa.Column("scopes", sa.String(255), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime()),
        sa.Column("used_at", UTCDateTime()),
        sa.Column("used_from", sa.String(64), nullable=False),
    )
    op.create_index("mailusers_token_key", "mailusers_token", ["key_hash"], unique=True)
    op.create_index("mailusers_token_owner", "mailusers_token", ["owner"])


def downgrade() -> None:
    """Take it back; the tokens are lost."""
    op.drop_table("mailusers_token")

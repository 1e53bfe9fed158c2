"""Keep for a while what undoing an archive needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.schema import UTCDateTime

revision = "accounts_0002"
down_revision = "accounts_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("mailusers_archive", sa.Column("kept", sa.Text()))
    op.add_column("mailusers_archive", sa.Column("kept_until", UTCDateTime()))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("mailusers_archive", "kept_until")
    op.drop_column("mailusers_archive", "kept")

"""Let several processes share the work: subscriptions by number, leases that are found quickly, duties."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0007"
down_revision = "state_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("mailusers_subscription") as table:
        # 0 is right for those that are there: what happened before them was taken over long ago, and is known by id.
        table.add_column(sa.Column("behind", sa.BigInteger(), nullable=False, server_default="0"))
        table.drop_column("since")
    op.drop_index("mailusers_delivery_due", "mailusers_delivery")
    op.create_index(
        "mailusers_delivery_due", "mailusers_delivery", ["implementation", "state", "due_at", "seq"]
    )
    op.create_index("mailusers_delivery_lease", "mailusers_delivery", ["lease_owner"])
    op.create_table(
        "mailusers_duty",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("lease_until", UTCDateTime(), nullable=False),
    )


def downgrade() -> None:
    """Take it back; an implementation is then told from the epoch on of what has not been taken over yet."""
    op.drop_table("mailusers_duty")
    op.drop_index("mailusers_delivery_lease", "mailusers_delivery")
    op.drop_index("mailusers_delivery_due", "mailusers_delivery")
    op.create_index("mailusers_delivery_due", "mailusers_delivery", ["state", "due_at"])
    with op.batch_alter_table("mailusers_subscription") as table:
        table.add_column(
            sa.Column("since", UTCDateTime(), nullable=False, server_default="1970-01-01 00:00:00")
        )
        table.drop_column("behind")

"""An index of what is kept for undoing, which each archive looks through for what is to be wiped."""

from __future__ import annotations

from alembic import op

revision = "accounts_0004"
down_revision = "accounts_0003"
branch_labels = None
depends_on = None

_NAME = "mailusers_archive_kept_until"


def upgrade() -> None:
    """Make the change."""
    # Of all archived accounts only those of the last minutes have something kept; MariaDB has no such index.
    kept = "" if op.get_bind().dialect.name in ("mysql", "mariadb") else " WHERE kept IS NOT NULL"
    op.execute(f"CREATE INDEX {_NAME} ON mailusers_archive (kept_until){kept}")


def downgrade() -> None:
    """Take it back."""
    op.drop_index(_NAME, "mailusers_archive")

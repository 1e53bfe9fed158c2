"""An index by which Postfix finds a domain among the users, where these are on PostgreSQL or MariaDB."""

from __future__ import annotations

from alembic import op

revision = "accounts_0003"
down_revision = "accounts_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute("CREATE INDEX mailusers_users_domain ON users (split_part(email, '@', 2))")
    elif dialect != "sqlite":
        # MariaDB has no index of an expression; the column is computed, and not seen by SELECT *.
        op.execute(
            "ALTER TABLE users ADD COLUMN mailusers_domain VARCHAR(255) COLLATE utf8mb4_nopad_bin "
            "AS (SUBSTRING_INDEX(email, '@', -1)) VIRTUAL INVISIBLE, "
            "ADD INDEX mailusers_users_domain (mailusers_domain)"
        )


def downgrade() -> None:
    """Take it back."""
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.execute("DROP INDEX mailusers_users_domain")
    elif dialect != "sqlite":
        op.execute("ALTER TABLE users DROP INDEX mailusers_users_domain, DROP COLUMN mailusers_domain")

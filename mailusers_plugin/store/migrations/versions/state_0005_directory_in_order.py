"""Make the directory anew in the order of the list, with encoded lines, and tables that keep the counts.

Nothing is lost: it is made from the accounts, the mail store and the sizes at the next start.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store.schema import UTCDateTime

revision = "state_0005"
down_revision = "state_0004"
branch_labels = None
depends_on = None

_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
_name = (
    sa.String(255)
    .with_variant(_exact, "mysql", "mariadb")
    .with_variant(sa.String(255, collation="C"), "postgresql")
)
_INDEXES = {
    "email": ["email", "mark"],
    "shown": ["shown"],
    "list": ["domain", "archived", "email", "privileged"],
    "archived": ["archived", "domain", "email"],
    "privileged": ["privileged", "domain", "email"],
    "size": ["box_bytes", "email", "archived", "privileged"],
    "used": ["percent", "email", "archived", "privileged"],
    "quota": ["limit_bytes", "email", "archived", "privileged"],
    "domain_size": ["domain", "box_bytes", "email", "archived", "privileged"],
    "domain_used": ["domain", "percent", "email", "archived", "privileged"],
    "domain_quota": ["domain", "limit_bytes", "email", "archived", "privileged"],
}
_COUNTS = (
    "found",
    "archived",
    "nearly_full",
    "archived_full",
    "box_bytes",
    "archived_bytes",
    "full_bytes",
    "archived_full_bytes",
    "measured",
)


def _refuse_views() -> None:
    """Say which views PostgreSQL does not let the address of a user be altered below.

    :raises ConfigurationError: if there are any
    """
    views = op.get_bind().execute(
        sa.text(
            "SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
            "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
            "WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass('users') AND a.attname = 'email'"
        )
    )
    names = ", ".join(sorted(views.scalars()))
    if names:
        raise ConfigurationError(
            f"PostgreSQL cannot upgrade users.email below views. Drop {names}, start again, and make them anew."
        )


def upgrade() -> None:
    """Make the change."""
    if op.get_bind().dialect.name == "postgresql":
        # What is merged must be sorted alike, and by an index.
        _refuse_views()
        here = sa.inspect(op.get_bind()).get_table_names()
        for table in sorted({"users", "mailusers_archive", "mailusers_usage"} & set(here)):
            op.execute(f'ALTER TABLE {table} ALTER COLUMN email TYPE VARCHAR(255) COLLATE "C"')
    op.drop_table("mailusers_directory")
    op.create_table(
        "mailusers_directory",
        sa.Column("domain", _name, primary_key=True),
        sa.Column("archived", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("email", _name, primary_key=True),
        sa.Column("shown", _name),
        sa.Column("privileges", sa.Text(), nullable=False),
        sa.Column("privileged", sa.SmallInteger(), nullable=False),
        sa.Column("quota", sa.String(32)),
        sa.Column("limit_bytes", sa.BigInteger(), nullable=False),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Float(53), nullable=False),
        sa.Column("messages", sa.BigInteger()),
        sa.Column("checked_at", UTCDateTime()),
        sa.Column("archived_at", UTCDateTime()),
        sa.Column("archived_by", _name),
        sa.Column("purging", sa.SmallInteger(), nullable=False),
        sa.Column("undo_until", UTCDateTime()),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    for name, columns in _INDEXES.items():
        op.create_index(f"mailusers_directory_{name}", "mailusers_directory", columns)
    op.create_table(
        "mailusers_tally",
        sa.Column("scope", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("domain", _name, primary_key=True),
        sa.Column("privilege", _name, primary_key=True),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
    )
    op.create_index("mailusers_tally_found", "mailusers_tally", ["scope", "found", "domain"])
    op.create_index("mailusers_tally_bytes", "mailusers_tally", ["scope", "box_bytes", "domain"])
    # What open pages and kept lists know is nothing any more.
    op.execute("DELETE FROM mailusers_changed")
    op.execute("UPDATE mailusers_feed SET built_at = NULL")
    with op.batch_alter_table("mailusers_feed") as feed:
        feed.add_column(sa.Column("epoch", sa.String(16), nullable=False, server_default="0"))
        feed.add_column(sa.Column("silent", sa.BigInteger(), nullable=False, server_default="0"))
        feed.add_column(sa.Column("builder", sa.String(16)))
        feed.add_column(sa.Column("search", sa.SmallInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("mailusers_changed") as changed:
        changed.add_column(sa.Column("was", sa.SmallInteger(), nullable=False, server_default="-1"))
        changed.add_column(sa.Column("became", sa.SmallInteger(), nullable=False, server_default="-1"))


def downgrade() -> None:
    """Take it back, with an empty directory as it was before."""
    with op.batch_alter_table("mailusers_changed") as changed:
        changed.drop_column("was")
        changed.drop_column("became")
    with op.batch_alter_table("mailusers_feed") as feed:
        feed.drop_column("epoch")
        feed.drop_column("silent")
        feed.drop_column("search")
        feed.drop_column("builder")
    op.execute("UPDATE mailusers_feed SET built_at = NULL")
    op.execute("DROP TABLE IF EXISTS mailusers_search_terms")
    op.execute("DROP TABLE IF EXISTS mailusers_search")
    op.drop_table("mailusers_tally")
    op.drop_table("mailusers_directory")
    op.create_table(
        "mailusers_directory",
        sa.Column("email", _name, primary_key=True),
        sa.Column("domain", _name, nullable=False),
        sa.Column("shown", _name),
        sa.Column("archived", sa.SmallInteger(), nullable=False),
        sa.Column("privileges", sa.Text(), nullable=False),
        sa.Column("is_admin", sa.SmallInteger(), nullable=False),
        sa.Column("quota", sa.String(32)),
        sa.Column("limit_bytes", sa.BigInteger(), nullable=False),
        sa.Column("box_bytes", sa.BigInteger(), nullable=False),
        sa.Column("percent", sa.Float(53), nullable=False),
        sa.Column("messages", sa.BigInteger()),
        sa.Column("checked_at", UTCDateTime()),
        sa.Column("archived_at", UTCDateTime()),
        sa.Column("archived_by", _name),
        sa.Column("purging", sa.SmallInteger(), nullable=False),
        sa.Column("undo_until", UTCDateTime()),
    )
    for name, columns in {
        "list": ["domain", "archived", "email"],
        "archived": ["archived", "domain", "email"],
        "shown": ["shown", "email"],
        "admin": ["is_admin", "domain", "email"],
        "size": ["box_bytes", "email"],
        "used": ["percent", "email"],
        "quota": ["limit_bytes", "email"],
        "domain_size": ["domain", "box_bytes", "email", "archived"],
        "domain_used": ["domain", "percent", "email"],
        "domain_quota": ["domain", "limit_bytes", "email"],
    }.items():
        op.create_index(f"mailusers_directory_{name}", "mailusers_directory", columns)

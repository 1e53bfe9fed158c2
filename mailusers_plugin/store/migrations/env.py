"""What Alembic needs to know of the plugin; it is handed an open connection."""

from __future__ import annotations

from alembic import context

from mailusers_plugin.store import schema


def run() -> None:
    """Run the steps inside the transaction that the caller began."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=[schema.ours, schema.state],
        version_table=schema.VERSION_TABLE,
        # SQLite alters a table by making it again.
        render_as_batch=True,
        include_name=lambda name, kind, _parents: kind != "table" or str(name).startswith(schema.PREFIX),
        transaction_per_migration=False,
    )
    context.run_migrations()


run()

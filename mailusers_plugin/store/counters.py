"""The counters from which new rows get their numbers: none is given twice, also after the last row is gone."""

from __future__ import annotations

from sqlalchemy import Connection, Table, text


def counted(table: Table) -> str | None:
    """Return the column that a table numbers its rows in."""
    column = table.autoincrement_column
    return None if column is None else column.name


def last_number(connection: Connection, table: Table) -> int:
    """Return the last number that was given out."""
    column = counted(table)
    if connection.dialect.name == "sqlite":
        query, values = "SELECT seq FROM sqlite_sequence WHERE name = :name", {"name": table.name}
    elif connection.dialect.name == "postgresql":
        sequence = connection.execute(
            text("SELECT pg_get_serial_sequence(:name, :column)"), {"name": table.name, "column": column}
        ).scalar()
        # The name is the database's own answer.
        query, values = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}", {}  # noqa: S608  # nosec B608
    else:
        query = (
            "SELECT auto_increment - 1 FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name = :name"
        )
        values = {"name": table.name}
    return int(connection.execute(text(query), values).scalar() or 0)


def set_counter(source: Connection, target: Connection, table: Table) -> None:
    """Let a copied table go on numbering where the source does; not on MariaDB, see :mod:`.copying`."""
    if counted(table) is None or target.dialect.name not in ("sqlite", "postgresql"):
        return
    last = last_number(source, table)
    if target.dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence(:name, :column)"
        query = f"SELECT setval({sequence}, GREATEST(:last, 1), :last > 0)"
        target.execute(text(query), {"name": table.name, "column": counted(table), "last": last})
        return
    target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
    add = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")
    target.execute(add, {"name": table.name, "last": last})

"""Triggers that refuse to change and to delete entries of the audit trail.

They keep programs and people from doing so by mistake, and anybody from doing so unnoticed who may write rows only. Who
owns the tables can drop them; that is what the chain is for. Entries up to the anchor may be deleted, for that is how
the trail is pruned; the anchor only moves forward, and never beyond the head.
"""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_log = logging.getLogger("mailusers_plugin.audit")

_CHAIN: Final = "mailusers_audit_chain"
_TABLE: Final = "mailusers_audit"
_REFUSED: Final = "The audit trail is append-only."

_MOVED_BACK: Final = (
    "NEW.id <> OLD.id OR NEW.anchor_seq < OLD.anchor_seq OR NEW.head_seq < OLD.head_seq "
    "OR NEW.anchor_seq > NEW.head_seq OR (NEW.head_seq = OLD.head_seq AND NEW.head_hash <> OLD.head_hash) "
    "OR (NEW.anchor_seq = OLD.anchor_seq AND NEW.anchor_hash <> OLD.anchor_hash)"
)
_ANCHORED: Final = f"OLD.seq > COALESCE((SELECT anchor_seq FROM {_CHAIN} WHERE id = 1), 0)"  # noqa: S608  # nosec B608
_BEFORE_HEAD: Final = f"NEW.seq <= (SELECT head_seq FROM {_CHAIN} WHERE id = 1)"  # noqa: S608  # nosec B608

# Table, when, and under which condition it is refused; an empty one always holds.
_GUARDS: Final = {
    "mailusers_audit_no_update": (_TABLE, "UPDATE", ""),
    "mailusers_audit_no_delete": (_TABLE, "DELETE", _ANCHORED),
    # In the middle; and SQLite's REPLACE, which deletes without asking the trigger for that.
    "mailusers_audit_no_insert": (_TABLE, "INSERT", _BEFORE_HEAD),
    "mailusers_audit_chain_update": (_CHAIN, "UPDATE", _MOVED_BACK),
    "mailusers_audit_chain_delete": (_CHAIN, "DELETE", ""),
}
_SQLITE_ONLY: Final = {
    "mailusers_audit_chain_insert": (_CHAIN, "INSERT", f"EXISTS (SELECT 1 FROM {_CHAIN})"),  # noqa: S608  # nosec B608
}
_POSTGRESQL_ONLY: Final = {
    "mailusers_audit_no_truncate": (_TABLE, "TRUNCATE", ""),
    "mailusers_audit_chain_truncate": (_CHAIN, "TRUNCATE", ""),
}


def _guards(dialect: str) -> dict[str, tuple[str, str, str]]:
    more = {"sqlite": _SQLITE_ONLY, "postgresql": _POSTGRESQL_ONLY}
    return {**_GUARDS, **more.get(dialect, {})}


def _statements(dialect: str, name: str, table: str, verb: str, condition: str) -> list[str]:
    if dialect == "sqlite":
        when = f" WHEN {condition}" if condition else ""
        return [
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table}{when} BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        ]
    if dialect == "postgresql":
        each = "STATEMENT" if verb == "TRUNCATE" else "ROW"
        refuse = f"RAISE EXCEPTION '{_REFUSED}';"
        body = f"IF {condition} THEN {refuse} END IF;" if condition else refuse
        row = "OLD" if verb == "DELETE" else "NULL" if verb == "TRUNCATE" else "NEW"
        return [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$guard$ BEGIN {body} RETURN {row}; END $guard$",
            f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()",
        ]
    refuse = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{_REFUSED}';"
    body = f"IF {condition} THEN {refuse} END IF;" if condition else refuse
    return [f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW BEGIN {body} END"]


def put(connection: Connection) -> bool:
    """Make the triggers that are missing. On MariaDB that ends the transaction.

    MariaDB with a binary log lets only an administrator of the server make triggers, unless its setting
    log_bin_trust_function_creators is on. Without them the trail works all the same, so that is no reason not to start.

    :returns: whether all are there now
    """
    dialect = connection.dialect.name
    for name in missing(connection):
        for statement in _statements(dialect, name, *_guards(dialect)[name]):
            try:
                connection.exec_driver_sql(statement)
            except DBAPIError as error:
                if dialect in ("sqlite", "postgresql"):
                    raise
                _log.warning(
                    "The database does not keep the audit trail from being changed (%s). Let an administrator of "
                    "it set log_bin_trust_function_creators = 1, or grant TRIGGER, and run 'mailusers audit protect'.",
                    (str(error.orig).splitlines() or [""])[0],
                )
                return False
    return True


def lift(connection: Connection) -> None:
    """Drop the triggers, for copying a box. On MariaDB that ends the transaction."""
    dialect = connection.dialect.name
    absent = missing(connection)
    for name, (table, _, _) in _guards(dialect).items():
        if name in absent:
            continue
        on = f" ON {table}" if dialect == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")
        if dialect == "postgresql":
            connection.exec_driver_sql(f"DROP FUNCTION {name}()")


def missing(connection: Connection) -> list[str]:
    """Return the triggers that are not there, or are switched off."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    elif dialect == "postgresql":
        query = (
            "SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D' AND tgrelid IN "
            "(to_regclass('mailusers_audit'), to_regclass('mailusers_audit_chain'))"
        )
    else:
        query = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
    there = set(connection.execute(text(query)).scalars())
    return [name for name in _guards(dialect) if name not in there]

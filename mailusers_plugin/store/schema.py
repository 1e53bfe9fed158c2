"""The tables. Those of Mail-in-a-Box belong to the box; ours begin with ``mailusers_`` and are made by Alembic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import mysql

PREFIX: Final = "mailusers_"
VERSION_TABLE: Final = "mailusers_alembic_version"

box = MetaData()
"""Tables that other programs own too: made for a new box, never altered."""
ours = MetaData()
"""Our tables beside those of the box: what must change in one transaction with an account."""
state = MetaData()
"""Our other tables. On SQLite they are in a file of their own, so that book-keeping never locks the file that
Postfix reads; on PostgreSQL and MariaDB they are in the same database."""


class UTCDateTime(TypeDecorator[datetime]):
    """A time with its zone outside and in UTC without it inside, which all three databases keep alike."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Keep microseconds on MariaDB and MySQL too, which drop them by default."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Drop the zone after moving to UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the zone."""
        return None if value is None else value.replace(tzinfo=UTC)


# MariaDB compares without regard to case and trailing spaces unless told otherwise.
_exact = mysql.VARCHAR(255, collation="utf8mb4_nopad_bin")
Address = String(255).with_variant(_exact, "mysql", "mariadb")
Name = Address
SERIAL = BigInteger().with_variant(Integer, "sqlite")

users = Table(
    "users",
    box,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("email", Address, nullable=False, unique=True),
    Column("password", Text, nullable=False),
    Column("extra", Text),
    Column("privileges", Text, nullable=False, server_default=text("('')")),
    Column("quota", String(32), nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
for _name in ("aliases", "auto_aliases"):
    Table(
        _name,
        box,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("source", Address, nullable=False, unique=True),
        Column("destination", Text, nullable=False),
        Column("permitted_senders", Text),
        sqlite_autoincrement=True,
    )
mfa = Table(
    "mfa",
    box,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("mru_token", Text),
    Column("label", Text),
    sqlite_autoincrement=True,
)

MIAB_SQLITE: Final = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, "
    "password TEXT NOT NULL, extra, privileges TEXT NOT NULL DEFAULT '', quota TEXT NOT NULL DEFAULT '0')",
    "CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, "
    "destination TEXT NOT NULL, permitted_senders TEXT)",
    "CREATE TABLE mfa (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, type TEXT NOT NULL, "
    "secret TEXT NOT NULL, mru_token TEXT, label TEXT, "
    "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE)",
    "CREATE TABLE auto_aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE, "
    "destination TEXT NOT NULL, permitted_senders TEXT)",
)
"""What Mail-in-a-Box's own set-up makes, so that its programs find the tables that they expect."""

archive = Table(
    PREFIX + "archive",
    ours,
    Column("email", Address, primary_key=True),
    Column("archived_at", UTCDateTime),
    Column("archived_by", Name),
    Column("archived_via", String(16)),
    Column("quota", String(32)),
    Column("privileges", Text),
    Column("purge_name", String(64)),
    Column("purge_started_at", UTCDateTime),
)

usage = Table(
    PREFIX + "usage",
    state,
    Column("email", Address, primary_key=True),
    Column("box_bytes", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("limit_bytes", BigInteger, nullable=False),
    Column("checked_at", UTCDateTime, nullable=False),
)


def _stored_event() -> tuple[Column[Any], ...]:
    """Return the columns in which an event is kept, in the outbox and behind it."""
    return (
        Column("seq", SERIAL, primary_key=True, autoincrement=True),
        Column("id", String(32), nullable=False),
        Column("type", String(64), nullable=False),
        Column("email", Address, nullable=False),
        Column("time", UTCDateTime, nullable=False),
        Column("body", Text, nullable=False),
    )


outbox = Table(
    PREFIX + "outbox",
    ours,
    *_stored_event(),
    UniqueConstraint("id", name=PREFIX + "outbox_id"),
    sqlite_autoincrement=True,
)

event = Table(
    PREFIX + "event",
    state,
    *_stored_event(),
    UniqueConstraint("id", name=PREFIX + "event_id"),
    sqlite_autoincrement=True,
)

subscription = Table(
    PREFIX + "subscription",
    state,
    Column("implementation", Name, primary_key=True),
    Column("hook", String(64), primary_key=True),
    Column("since", UTCDateTime, nullable=False),
    Column("seen_at", UTCDateTime, nullable=False),
)

delivery = Table(
    PREFIX + "delivery",
    state,
    Column("seq", SERIAL, primary_key=True, autoincrement=False),
    Column("implementation", Name, primary_key=True),
    Column("email", Address, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", UTCDateTime, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", UTCDateTime),
    Column("error", Text),
    Column("updated_at", UTCDateTime, nullable=False),
    Index(PREFIX + "delivery_due", "state", "due_at"),
    Index(PREFIX + "delivery_order", "implementation", "email", "state", "seq"),
)

session = Table(
    PREFIX + "session",
    state,
    Column("key_hash", String(64), primary_key=True),
    Column("email", Address, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("password_mark", String(64), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("used_at", UTCDateTime, nullable=False),
    Index(PREFIX + "session_email", "email"),
)

audit = Table(
    PREFIX + "audit",
    state,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False),
    Column("time", UTCDateTime, nullable=False),
    Column("type", String(64), nullable=False),
    Column("actor", Name),
    Column("via", String(16), nullable=False),
    Column("email", Address, nullable=False),
    Column("detail", Text, nullable=False),
    Index(PREFIX + "audit_email", "email"),
    UniqueConstraint("event_id", name=PREFIX + "audit_event"),
    sqlite_autoincrement=True,
)

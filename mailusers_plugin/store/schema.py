"""The tables. Those of Mail-in-a-Box belong to the box; ours begin with ``mailusers_`` and are made by Alembic."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mailusers_plugin.store.column_types import SERIAL, Address, Name, UTCDateTime

__all__ = ["Address", "Name", "UTCDateTime"]

PREFIX: Final = "mailusers_"
VERSION_TABLE: Final = "mailusers_alembic_version"

box = MetaData()
"""Tables that other programs own too: made for a new box, never altered."""
ours = MetaData()
"""Our tables beside those of the box: what must change in one transaction with an account."""
state = MetaData()
"""Our other tables. On SQLite they are in a file of their own, so that book-keeping never locks the file that
Postfix reads; on PostgreSQL and MariaDB they are in the same database."""

version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own: which migrations were made."""

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
    # What undoing needs, wiped when the time is over: it holds the password's hash.
    Column("kept", Text),
    Column("kept_until", UTCDateTime),
)
Index(
    PREFIX + "archive_kept_until",
    archive.c.kept_until,
    sqlite_where=archive.c.kept.is_not(None),
    postgresql_where=archive.c.kept.is_not(None),
)

usage = Table(
    PREFIX + "usage",
    state,
    Column("email", Address, primary_key=True),
    Column("box_bytes", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("limit_bytes", BigInteger, nullable=False),
    # When these figures were first read; that they were read again and are the same is not written down.
    Column("checked_at", UTCDateTime, nullable=False),
    # By which the source tells that nothing has changed; null where it must look again.
    Column("mark", BigInteger),
)

usage_pass = Table(
    PREFIX + "usage_pass",
    state,
    # Has one row: how far reading all sizes is, and when the last pass began that read everything.
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("source", String(16), nullable=False),
    Column("position", Address, nullable=False),
    Column("began_at", UTCDateTime),
)

quota = Table(
    PREFIX + "quota",
    state,
    # Dovecot's plugin quota_clone writes it, through its dict. On SQLite it does so into a file of its own.
    Column("email", Address, primary_key=True),
    Column("box_bytes", BigInteger, nullable=False, server_default="0"),
    Column("messages", BigInteger, nullable=False, server_default="0"),
)

UNKNOWN: Final = -1
"""Stands in the directory's numbers for what is not known, so that it comes as the smallest in their order."""
UNLIMITED: Final = 2**63 - 1
"""Stands in the directory for no limit, so that it comes as the largest."""

directory = Table(
    PREFIX + "directory",
    state,
    # In the order of the list, in which the rows themselves lie on SQLite and MariaDB: it is read from end to end.
    Column("domain", Address, primary_key=True),
    Column("archived", SmallInteger, primary_key=True, autoincrement=False),
    Column("email", Address, primary_key=True),
    # The address with an internationalised domain as people write it.
    Column("shown", Address),
    Column("privileges", Text, nullable=False),
    # What of it can be looked for by an index: 2 for an administrator, 1 for who has others only, else 0.
    Column("privileged", SmallInteger, nullable=False),
    Column("quota", String(32)),
    Column("limit_bytes", BigInteger, nullable=False),
    Column("box_bytes", BigInteger, nullable=False),
    Column("percent", Float(53), nullable=False),
    Column("messages", BigInteger),
    Column("checked_at", UTCDateTime),
    Column("archived_at", UTCDateTime),
    Column("archived_by", Name),
    Column("purging", SmallInteger, nullable=False),
    Column("undo_until", UTCDateTime),
    # Of what it was made from, so that a comparison need not read more than this.
    Column("mark", BigInteger, nullable=False),
    # The user object of the API, encoded.
    Column("line", Text, nullable=False),
    Index(PREFIX + "directory_email", "email", "mark"),
    Index(PREFIX + "directory_shown", "shown"),
    # The order of the list without the lines, for walking through it.
    Index(PREFIX + "directory_list", "domain", "archived", "email", "privileged"),
    # One for each filter, and one for each order, over all domains and inside one; with what else can be asked for.
    Index(PREFIX + "directory_archived", "archived", "domain", "email"),
    Index(PREFIX + "directory_privileged", "privileged", "domain", "email"),
    Index(PREFIX + "directory_size", "box_bytes", "email", "archived", "privileged"),
    Index(PREFIX + "directory_used", "percent", "email", "archived", "privileged"),
    Index(PREFIX + "directory_quota", "limit_bytes", "email", "archived", "privileged"),
    Index(PREFIX + "directory_domain_size", "domain", "box_bytes", "email", "archived", "privileged"),
    Index(PREFIX + "directory_domain_used", "domain", "percent", "email", "archived", "privileged"),
    Index(PREFIX + "directory_domain_quota", "domain", "limit_bytes", "email", "archived", "privileged"),
    sqlite_with_rowid=False,
)

tally = Table(
    PREFIX + "tally",
    state,
    # How many lines there are: 0 of all, 1 of a domain, 2 of a privilege, 3 of a privilege in a domain.
    Column("scope", SmallInteger, primary_key=True, autoincrement=False),
    Column("domain", Address, primary_key=True),
    Column("privilege", Address, primary_key=True),
    Column("found", BigInteger, nullable=False),
    Column("archived", BigInteger, nullable=False),
    Column("nearly_full", BigInteger, nullable=False),
    Column("archived_full", BigInteger, nullable=False),
    Column("box_bytes", BigInteger, nullable=False),
    Column("archived_bytes", BigInteger, nullable=False),
    Column("full_bytes", BigInteger, nullable=False),
    Column("archived_full_bytes", BigInteger, nullable=False),
    # Those whose size is known.
    Column("measured", BigInteger, nullable=False),
    Index(PREFIX + "tally_found", "scope", "found", "domain"),
    Index(PREFIX + "tally_bytes", "scope", "box_bytes", "domain"),
)

feed = Table(
    PREFIX + "feed",
    state,
    # Has one row. Whoever changes the directory locks it first, so that the numbers are in the order of the commits.
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("newest", BigInteger, nullable=False),
    # Goes up where something was stored that nobody is told of, such as that a size was read again.
    Column("silent", BigInteger, nullable=False, server_default="0"),
    Column("built_at", UTCDateTime),
    # Chosen at random by each server that starts: after a backup was restored a number may come a second time.
    Column("epoch", String(16), nullable=False, server_default="0"),
    # Who is making the directory, or the index of the texts in it, from nothing.
    Column("builder", String(16)),
    # How far that index is; see directory_search.
    Column("search", SmallInteger, nullable=False, server_default="0"),
)

changed = Table(
    PREFIX + "changed",
    state,
    Column("seq", SERIAL, primary_key=True, autoincrement=False),
    Column("email", Address, nullable=False),
    Column("kind", String(8), nullable=False),
    # Of the line: -1 where there is none, else whether it is archived.
    Column("was", SmallInteger, nullable=False, server_default="-1"),
    Column("became", SmallInteger, nullable=False, server_default="-1"),
)

sample = Table(
    PREFIX + "sample",
    state,
    Column("day", Date, primary_key=True),
    Column("active", Integer, nullable=False),
    Column("archived", Integer, nullable=False),
    Column("box_bytes", BigInteger, nullable=False),
    Column("measured", Integer, nullable=False),
)


import_job = Table(
    PREFIX + "import",
    state,
    Column("id", String(32), primary_key=True),
    Column("name", Name, nullable=False),
    Column("actor", Name),
    Column("via", String(16), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    # The process that has the file's content in its memory, and when it last said so.
    Column("owner", String(128), nullable=False),
    Column("seen_at", UTCDateTime, nullable=False),
    Column("state", String(12), nullable=False),
    Column("total", Integer, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("prepared", Integer, nullable=False),
    Column("added", Integer, nullable=False),
    Column("ended_at", UTCDateTime),
    Column("fault", Text),
)

import_row = Table(
    PREFIX + "import_row",
    state,
    Column("import_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("email", Address, nullable=False),
    Column("made_password", SmallInteger, nullable=False),
    Column("outcome", String(12), nullable=False),
    Column("fault", Text),
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
    # Its events begin behind this number of an outbox that is a file of its own.
    Column("behind", BigInteger, nullable=False, server_default="0"),
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
    Index(PREFIX + "delivery_due", "implementation", "state", "due_at", "seq"),
    Index(PREFIX + "delivery_lease", "lease_owner"),
    Index(PREFIX + "delivery_order", "implementation", "email", "state", "seq"),
)

duty = Table(
    PREFIX + "duty",
    state,
    # Work that one process does for all, and who does it for now.
    Column("name", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("lease_until", UTCDateTime, nullable=False),
)

idempotency = Table(
    PREFIX + "idempotency",
    state,
    # Of the caller and the key, neither of which is stored.
    Column("mark", String(64), primary_key=True),
    Column("salt", String(32), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("token", String(32), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    # Who carries it out; nobody where an attempt ended without an answer that counts.
    Column("owner", String(128)),
    Column("lease_until", UTCDateTime),
    # The answer, once there is one.
    Column("status", Integer),
    Column("headers", Text),
    Column("body", Text),
    Index(PREFIX + "idempotency_created", "created_at"),
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
    # What the user might do at the log-in: with any of it taken away the session is over.
    Column("privileges", Text),
    Column("address", String(64)),
    Column("network", String(64)),
    Column("agent", String(255)),
    Index(PREFIX + "session_email", "email"),
)

throttle = Table(
    PREFIX + "throttle",
    state,
    # Of kind, address and network: what callers send may be longer than an index takes.
    Column("key_hash", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("email", Address, nullable=False),
    Column("network", String(64), nullable=False),
    # Milliseconds since 1970, so that one statement counts on every database: when all failures are forgotten, and
    # when the last one was.
    Column("drained_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("kept_until", BigInteger, nullable=False),
    Index(PREFIX + "throttle_kept", "kept_until"),
)

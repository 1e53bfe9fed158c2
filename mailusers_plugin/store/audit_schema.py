"""The tables of the audit trail.

Triggers guard them (:mod:`mailusers_plugin.store.audit_guard`): a migration that rebuilds one of them must put these
back.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, SmallInteger, String, Table, Text

from mailusers_plugin.store.column_types import SERIAL, Address, Name, UTCDateTime
from mailusers_plugin.store.schema import PREFIX, state

entries = Table(
    PREFIX + "audit",
    state,
    # Without gaps: given by whoever has locked the chain's row, so that a number that is missing was deleted.
    Column("seq", SERIAL, primary_key=True, autoincrement=False),
    Column("event_id", String(32), nullable=False),
    Column("time", UTCDateTime, nullable=False),
    Column("type", String(64), nullable=False),
    Column("actor", Name),
    Column("via", String(16), nullable=False),
    Column("ip", String(64)),
    # Whom it is about; empty where it is about nobody.
    Column("email", Address, nullable=False),
    Column("detail", Text, nullable=False),
    # The hash of the entry before, and of this one with it. Both are kept: so it is known which of two was changed.
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(PREFIX + "audit_event", "event_id", unique=True),
    # Newest first, for each filter; the most common pair has its own.
    Index(PREFIX + "audit_time", "time", "seq"),
    Index(PREFIX + "audit_email", "email", "time", "seq"),
    Index(PREFIX + "audit_actor", "actor", "time", "seq"),
    Index(PREFIX + "audit_type", "type", "time", "seq"),
    Index(PREFIX + "audit_actor_type", "actor", "type", "time", "seq"),
)

chain = Table(
    PREFIX + "audit_chain",
    state,
    # Has one row. Whoever adds entries locks it first, so that the chain does not fork.
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # The newest entry that was pruned: the chain begins behind it.
    Column("anchor_seq", BigInteger, nullable=False),
    Column("anchor_hash", String(64), nullable=False),
    # The newest entry of all.
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", String(64), nullable=False),
)

"""The table of API tokens."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from mailusers_plugin.store.column_types import Address, Name, UTCDateTime
from mailusers_plugin.store.schema import PREFIX, state

token: Final = Table(
    PREFIX + "token",
    state,
    Column("id", String(16), primary_key=True),
    Column("key_hash", String(64), nullable=False),
    Column("name", Name, nullable=False),
    Column("owner", Address, nullable=False),
    # The owner's number in the table of users, which no later account of the address has; none where the owner is
    # somebody of the host's own.
    Column("owner_id", BigInteger),
    Column("scopes", String(255), nullable=False),
    Column("networks", Text, nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("expires_at", UTCDateTime),
    Column("used_at", UTCDateTime),
    Column("used_from", String(64), nullable=False),
    Index(PREFIX + "token_key", "key_hash", unique=True),
    Index(PREFIX + "token_owner", "owner"),
)

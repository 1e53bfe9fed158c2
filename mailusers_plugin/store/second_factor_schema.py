"""The tables beside Mail-in-a-Box's own ``mfa``: recovery codes, and log-ins that wait for a code."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from mailusers_plugin.store.column_types import Address, UTCDateTime
from mailusers_plugin.store.schema import PREFIX, state

recovery_code = Table(
    PREFIX + "recovery_code",
    state,
    Column("email", Address, primary_key=True),
    Column("code_hash", String(64), primary_key=True),
    # The hash of the secret of a second factor, with which they end.
    Column("bound_to", String(64), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
)

half_login = Table(
    PREFIX + "half_login",
    state,
    # Somebody whose password was right, and who has not given the code yet.
    Column("key_hash", String(64), primary_key=True),
    Column("email", Address, nullable=False),
    Column("mark", String(64), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
)

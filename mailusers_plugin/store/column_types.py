"""Types of columns that all three databases keep alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, TypeDecorator
from sqlalchemy.dialects import mysql


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
# PostgreSQL may sort as a language does: by bytes all three have the same order, which SQLite's is.
Address = (
    String(255)
    .with_variant(_exact, "mysql", "mariadb")
    .with_variant(String(255, collation="C"), "postgresql")
)
Name = Address
SERIAL = BigInteger().with_variant(Integer, "sqlite")

"""Where a database URL leads, and what of it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, SQLITE, DatabasePlace
from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store.place import find_place, read_url, without_password

SECRET = "s3cret/with@signs"


@pytest.mark.parametrize(
    ("url", "place", "is_local"),
    [
        (
            "sqlite:////srv/box/mail/users.sqlite",
            DatabasePlace(SQLITE, Path("/srv/box/mail/users.sqlite")),
            False,
        ),
        (
            "postgresql+psycopg://mailusers:x@db.example.com/mail",
            DatabasePlace(POSTGRESQL, host="db.example.com", port=5432, name="mail"),
            False,
        ),
        (
            "postgresql+psycopg://mailusers@/mail?host=/run/postgresql",
            DatabasePlace(POSTGRESQL, host="/run/postgresql", port=5432, name="mail"),
            True,
        ),
        (
            "mariadb+pymysql://mailusers:x@127.0.0.1:3307/mail?charset=utf8mb4",
            DatabasePlace(MARIADB, host="127.0.0.1", port=3307, name="mail"),
            True,
        ),
        (
            "mysql+pymysql://mailusers@/mail?unix_socket=/run/mysqld/mysqld.sock",
            DatabasePlace(MARIADB, host="/run/mysqld/mysqld.sock", port=3306, name="mail"),
            True,
        ),
    ],
)
def test_places(url: str, place: DatabasePlace, is_local: bool) -> None:
    """Host, port, socket and name are found wherever a URL has them."""
    assert find_place(url) == place
    assert place.is_local is is_local


@pytest.mark.parametrize(
    "url", ["", "nonsense", f"x {SECRET}", f"oracle://u:{SECRET}@h/x", f"postgresql+psycopg://u:{SECRET}@h"]
)
def test_impossible_urls(url: str) -> None:
    """What leads nowhere is refused, without what may be a password."""
    with pytest.raises(ConfigurationError) as raised:
        find_place(url)
    assert SECRET not in raised.value.message


def test_a_password_is_not_shown() -> None:
    """The URL is shown with stars in place of the password, whatever characters that has."""
    url = read_url("postgresql+psycopg://u@h/d").set(password=SECRET).render_as_string(hide_password=False)
    assert without_password(url) == "postgresql+psycopg://u:***@h/d"
    assert without_password(f"postgresql+psycopg://u@h/d?password={SECRET}") == "postgresql+psycopg://u@h/d"

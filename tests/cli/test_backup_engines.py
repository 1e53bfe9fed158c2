"""A backup from one database fits into any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.copying import SECRET, Places, content, fill, next_number, opened
from tests.cli.support import Shell
from tests.servers.databases import mariadb, postgresql


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """The URLs of one server of each kind."""
    with postgresql(SECRET) as postgresql_url, mariadb() as mariadb_url:
        yield {"postgresql": postgresql_url, "mariadb": mariadb_url}


def run(storage: Path, url: str, *words: str) -> str:
    """Run a command on a box with its accounts in some database."""
    result = Shell(storage).run(*words, MAILUSERS_DATABASE=url)
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    return result.output


def test_round_all_databases(tmp_path: Path, servers: dict[str, str]) -> None:
    """From SQLite to PostgreSQL to MariaDB to SQLite, each time by a backup, nothing changes."""
    places = Places(tmp_path, servers)
    fill(tmp_path / "box")
    before = content(tmp_path / "box")
    storage, url = tmp_path / "box", ""
    for number, kind in enumerate(("postgresql", "mariadb", "")):
        file = tmp_path / f"{number}.backup"
        run(storage, url, "backup", str(file))
        storage, url = tmp_path / f"box{number}", places.empty(kind) if kind else ""
        run(storage, url, "restore", str(file))
        assert content(storage, url) == before
        with opened(storage, url) as store:
            # MariaDB's counters never go back, so that what is made from there goes on behind its last number.
            assert store.accounts.write_now(next_number) in (4001, 4002)
        # Over what is there, in one transaction.
        run(storage, url, "restore", str(file), "--replace")
        assert content(storage, url) == before

"""``mailusers database copy`` over real servers: everything arrives, once, whole, or not at all."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, create_engine, insert, select, update
from sqlalchemy.pool import NullPool

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import copying, counters, directory_search, schema
from tests.cli.copying import SECRET, Places, content, fill, next_number, opened
from tests.cli.support import Shell
from tests.servers.databases import mariadb, postgresql
from tests.servers.panel import ROOT, PanelProcess
from tests.support import CONSOLE, PASSWORD, QUICK, USER, run_sql_on


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """The URLs of one server of each kind."""
    with postgresql(SECRET) as postgresql_url, mariadb() as mariadb_url:
        yield {"postgresql": postgresql_url, "mariadb": mariadb_url}


@pytest.fixture
def places(tmp_path: Path, servers: dict[str, str]) -> Places:
    """Where a box can be moved."""
    return Places(tmp_path, servers)


def test_there_and_back(tmp_path: Path, places: Places) -> None:
    """From SQLite to PostgreSQL to MariaDB to SQLite every row of every table stays what it was, and so do counters."""
    fill(tmp_path / "box")
    before = content(tmp_path / "box")
    assert all(before.values())
    one, other = places.empty("postgresql"), places.empty("mariadb")
    said = places.copy(tmp_path / "box", "sqlite", places.file(one))
    assert "Everything was copied and read back" in said
    assert content(tmp_path / "box", one) == before
    said = places.copy(tmp_path / "box", "env:FROM_URL", "env:TO_URL", FROM_URL=one, TO_URL=other)
    assert content(tmp_path / "box", other) == before
    places.copy(tmp_path / "back", places.file(other), "sqlite")
    assert content(tmp_path / "back") == before
    assert content(tmp_path / "box") == before
    for storage, url in ((tmp_path / "box", one), (tmp_path / "box", other), (tmp_path / "back", "")):
        with opened(storage, url) as store:
            assert store.accounts.write_now(next_number) == 4001


def test_the_index_of_texts_stays_behind(tmp_path: Path, places: Places) -> None:
    """The target makes an index of its own engine: it does not take the source's for its own."""
    fill(tmp_path / "box")
    with opened(tmp_path / "box") as store:
        whole = update(schema.feed).values(search=directory_search.WHOLE, builder="somebody")
        store.state.write_now(lambda connection: connection.execute(whole).rowcount)
    url = places.empty("postgresql")
    places.copy(tmp_path / "box", "sqlite", places.file(url))
    with opened(tmp_path / "box", url) as store:
        query = select(schema.feed.c.search, schema.feed.c.builder)
        found = store.state.read_now(lambda connection: tuple(connection.execute(query).one()))
    assert found == (directory_search.NONE, None)


def test_a_target_that_was_opened(tmp_path: Path, places: Places) -> None:
    """A database that was opened once and holds nobody is an empty one."""
    fill(tmp_path / "box")
    url = places.empty("mariadb")
    with opened(tmp_path / "box", url):
        pass
    places.copy(tmp_path / "box", "sqlite", places.file(url))


async def test_a_copy_is_a_box(tmp_path: Path, places: Places) -> None:
    """What was copied works: users, sessions and events go on on the other database where they were."""
    runtime = Runtime(Settings(storage_root=tmp_path / "box", **QUICK))
    await runtime.service.add(CONSOLE, USER, PASSWORD, ("admin",), "1G")
    key = await runtime.authenticator().open_session(await runtime.service.account(USER), "cookie")
    await runtime.stop()
    for kind in ("postgresql", "mariadb"):
        url = places.empty(kind)
        places.copy(tmp_path / "box", "sqlite", places.file(url))
        again = Runtime(Settings(storage_root=tmp_path / "box", database=url, **QUICK))
        try:
            identity = await again.authenticator().by_cookie(key)
            assert identity is not None
            assert identity.name == USER
            await again.start()
            change = await again.service.set_quota(CONSOLE, USER, "2G")
            assert await again.service.wait_for_hooks(change, 30)
        finally:
            await again.stop()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_killed_in_the_middle(tmp_path: Path, places: Places, kind: str) -> None:
    """A copy that is killed leaves a target that nobody takes for whole; the same command then copies all of it."""
    storage, target_storage = tmp_path / "box", tmp_path / ("new" if kind == "sqlite" else "box")
    fill(storage)
    with opened(storage) as store:
        rows = [{"email": f"u{number}@example.com", "password": "x"} for number in range(20_000)]
        store.accounts.write_now(lambda connection: connection.execute(insert(schema.users), rows).rowcount)
    if kind == "sqlite":
        url = places.empty("postgresql")
        places.copy(storage, "sqlite", places.file(url))
        source, target, target_url = places.file(url), "sqlite", ""
    else:
        target_url = places.empty(kind)
        source, target = "sqlite", places.file(target_url)
    before = content(storage)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MAILUSERS_STORAGE_ROOT": str(target_storage),
        "MAILUSERS_DOVEADM": "",
    }
    command = [sys.executable, "-m", "mailusers_plugin", "database", "copy", source, target]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("copying users"):
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(30) == -signal.SIGKILL
    said = Shell(target_storage).run("user", "list", MAILUSERS_DATABASE=target_url)
    assert said.exit_code == 1
    assert "A box is being copied into this database" in said.output
    other = places.file(places.empty("mariadb"))
    assert "A copy from" in places.refusal(target_storage, other, target)
    places.copy(target_storage, source, target)
    assert content(target_storage, target_url) == before


def test_bars_on_a_terminal(tmp_path: Path, places: Places) -> None:
    """Whoever watches sees bars that fill, and at the end what was copied."""
    fill(tmp_path / "box")
    target = places.file(places.empty("postgresql"))
    command = [sys.executable, "-m", "mailusers_plugin", "database", "copy", "sqlite", target]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MAILUSERS_STORAGE_ROOT": str(tmp_path / "box"),
        "TERM": "xterm-256color",
        "COLUMNS": "100",
    }
    ours, theirs = pty.openpty()
    seen = b""
    with subprocess.Popen(
        command, env=environment, stderr=theirs, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        # A terminal that nobody reads holds up who writes to it. Its end is an error.
        with suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
            while piece := terminal.read(65536):
                seen += piece
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, seen
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    for what in ("copying users", "checking users"):
        assert re.search(rf"{what} +━+ +7/7", shown), shown[-2000:]
    assert "counts and checksums are equal" in said


def test_what_is_there_is_not_overwritten(tmp_path: Path, places: Places) -> None:
    """A target with anything in it is refused, and stays as it is; so is the source itself."""
    fill(tmp_path / "box")
    url = places.empty("postgresql")
    target = places.file(url)
    places.copy(tmp_path / "box", "sqlite", target)
    before = content(tmp_path / "box", url)
    assert "The target is not empty: there are rows in aliases" in places.refusal(
        tmp_path / "box", "sqlite", target
    )
    assert content(tmp_path / "box", url) == before
    assert "The target is not empty" in places.refusal(tmp_path / "box", target, "sqlite")
    assert "are the same database" in places.refusal(tmp_path / "box", target, target)
    assert "Both are SQLite" in places.refusal(
        tmp_path / "box", "sqlite", f"sqlite:///{tmp_path}/other.sqlite"
    )
    assert "There is no box in" in places.refusal(tmp_path / "nothing", "sqlite", target)


def test_a_running_panel_is_in_the_way(tmp_path: Path, places: Places) -> None:
    """While a panel runs nothing is copied, on this machine or on another one, and the answer says what to do."""
    storage = tmp_path / "box"
    fill(storage)
    url = places.empty("postgresql")
    with PanelProcess(storage, environment={"MAILUSERS_DOVEADM": ""}):
        assert "Stop it, and run this again" in places.refusal(storage, "sqlite", places.file(url))
    places.copy(storage, "sqlite", places.file(url))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for kind, there in (("postgresql", url), ("mariadb", places.empty("mariadb"))):
        if kind == "mariadb":
            places.copy(storage, places.file(url), places.file(there))
        with PanelProcess(
            elsewhere / "box", environment={"MAILUSERS_DOVEADM": "", "MAILUSERS_DATABASE": there}
        ):
            said = places.refusal(tmp_path / "new", places.file(there), "sqlite")
            assert "other connections with the panel's user are open in FROM" in said
        deadline = time.monotonic() + 10
        while run_sql_on(there, _SESSIONS[kind]) != [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


_SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


def test_the_source_cannot_change_meanwhile(tmp_path: Path, places: Places) -> None:
    """Who writes to the source while it is copied waits; who reads it does not."""
    storage = tmp_path / "box"
    fill(storage)
    urls = {"sqlite": "", "postgresql": places.empty("postgresql"), "mariadb": places.empty("mariadb")}
    places.copy(storage, "sqlite", places.file(urls["postgresql"]))
    places.copy(storage, "sqlite", places.file(urls["mariadb"]))
    for url in urls.values():
        with opened(storage, url) as source:
            some = [table for table in copying.tables() if table.metadata is not schema.state]
            with copying._held(source.accounts, some):
                quick = {"postgresql": "SET lock_timeout = 200", "mysql": "SET lock_wait_timeout = 1"}
                other = create_engine(source.accounts.url, poolclass=NullPool, connect_args=_impatient(url))
                with other.connect() as connection:
                    if statement := quick.get(
                        source.accounts.url.get_backend_name().replace("mariadb", "mysql")
                    ):
                        connection.exec_driver_sql(statement)
                    assert connection.execute(select(schema.users.c.email)).first() is not None
                    with pytest.raises(Exception, match=r"(?i)lock"):
                        connection.execute(schema.users.delete())


def _impatient(url: str) -> dict[str, Any]:
    return {} if url else {"timeout": 0.1}


def test_what_cannot_be_stored_is_named(tmp_path: Path, places: Places) -> None:
    """A row that the target cannot take ends the copy with the table and the reason, and nothing of it stays."""
    storage = tmp_path / "box"
    fill(storage)
    with opened(storage) as store:
        long = {"email": "x" * 300, "password": SECRET}
        store.accounts.write_now(lambda connection: connection.execute(insert(schema.users), long).rowcount)
    for kind in ("postgresql", "mariadb"):
        url = places.empty(kind)
        said = places.refusal(storage, "sqlite", places.file(url))
        assert "users holds what cannot be stored in the target" in said
        assert run_sql_on(url, "SELECT count(*) FROM users") == [(0,)]


def test_a_difference_is_found(tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a database does not give back what it was given, nothing is kept of the copy."""
    storage = tmp_path / "box"
    fill(storage)
    url = places.empty("postgresql")
    last = counters.set_counter

    def spoil(source: Any, target: Any, table: Table) -> None:
        last(source, target, table)
        if table is schema.users:
            target.execute(table.update().where(table.c.id == 11).values(quota="1"))

    with monkeypatch.context() as patch:
        patch.setattr(counters, "set_counter", spoil)
        assert "The copy of users is not what was copied" in places.refusal(
            storage, "sqlite", places.file(url)
        )
    assert run_sql_on(url, "SELECT count(*) FROM users") == [(0,)]
    places.copy(storage, "sqlite", places.file(url))


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (f"postgresql+psycopg://mailusers:{SECRET}@db.example.com/mail", "A password on a command line"),
        (
            f"postgresql+psycopg://mailusers@db.example.com/mail?password={SECRET}",
            "A password on a command line",
        ),
        ("env:NO_SUCH_VARIABLE", "no variable NO_SUCH_VARIABLE"),
        ("file:/no/such/file", "cannot be read: No such file"),
        (f"nonsense {SECRET}", "no database URL"),
        ("oracle://x", "no database URL"),
    ],
)
def test_impossible_arguments(tmp_path: Path, places: Places, argument: str, reason: str) -> None:
    """What names no database, or would show a password, is refused with what to write instead."""
    fill(tmp_path / "box")
    assert reason in places.refusal(tmp_path / "box", "sqlite", argument)


def test_a_file_that_others_may_read(tmp_path: Path, places: Places) -> None:
    """A file with a URL that others may read is refused."""
    fill(tmp_path / "box")
    argument = places.file(places.empty("postgresql"))
    Path(argument.removeprefix("file:")).chmod(0o644)
    assert "Others may read" in places.refusal(tmp_path / "box", "sqlite", argument)

"""Dovecot's quota_clone with PostgreSQL and MariaDB, as a database user with the rights that the fragment names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from mailusers_plugin.mailserver.fragments_quota import quota_dict_fragment
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import quota_clone
from mailusers_plugin.store.database import Connection
from tests.e2e.test_usage_sources import EMAIL, PASSWORD, dovecot_for
from tests.servers.box import Box, adopted_box
from tests.servers.clients import lmtp_send, wait_until
from tests.servers.databases import mariadb, postgresql
from tests.support import CONSOLE, QUICK

WRITER = "dovecot_sizes"
SERVERS = {"postgresql": postgresql, "mariadb": mariadb}


@pytest.fixture(params=sorted(SERVERS))
def settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A box whose accounts Dovecot reads from a file, while the sizes go to a server."""
    with adopted_box() as box, SERVERS[request.param]() as url:
        box.add_user(EMAIL, PASSWORD, quota="1M")
        yield Settings(
            storage_root=box.storage,
            database=url,
            **{**QUICK, "usage_source": "quota_clone", "usage_share": 1.0},
        )


def allow(connection: Connection, fragment: str) -> None:
    """Make the database user with no more rights than the fragment's comment gives."""
    (grant,) = (line.removeprefix("# ") for line in fragment.splitlines() if line.startswith("# GRANT"))
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"CREATE ROLE {WRITER} LOGIN"))
        connection.execute(text(grant.rstrip(";").replace("...", WRITER)))
    else:
        connection.execute(text(f"CREATE USER {WRITER}@localhost"))
        connection.execute(text(grant.rstrip(";").replace("...", f"{WRITER}@localhost")))


def test_sizes_come_by_the_database(settings: Settings) -> None:
    """What Dovecot writes is in the list after the next reading, is read once, and is forgotten on demand."""
    url = make_url(settings.database)
    connect = f"host={url.host} port={url.port} dbname={url.database} user={WRITER}"
    runtime = Runtime(settings)
    try:
        runtime.database.write_now(allow, quota_dict_fragment(settings, connect))
        asyncio.run(runtime.service.add(CONSOLE, EMAIL, PASSWORD))
        with dovecot_for(settings, connect=connect) as dovecot:
            for number in (1, 2):
                lmtp_send(dovecot.lmtp_port, EMAIL, body="x" * 5000)
                messages = list(Box(Path(settings.storage_root)).maildir(EMAIL).glob("new/*"))
                size = sum(message.stat().st_size for message in messages)
                wait_until(
                    lambda size=size: (
                        runtime.state.read_now(quota_clone.window, "")[0].get(EMAIL, (0,))[0] == size
                    ),  # type: ignore[misc]
                    message=f"the size in the database; {dovecot.log_text()}",
                )
                assert EMAIL in runtime.usage.source.look([EMAIL, "other@example.com"]).found
                assert runtime.refresh_usage() == 1
                assert runtime.refresh_usage() == 0
                (entry,) = asyncio.run(runtime.directory.entries([EMAIL])).values()
                assert entry.usage is not None
                assert (entry.usage.box_bytes, entry.usage.messages) == (size, number)
        runtime.usage.forget(EMAIL)
        assert runtime.usage.of([EMAIL]) == {}
        assert runtime.refresh_usage() == 0
    finally:
        runtime.close()

"""One code sent to two panel processes at the same moment, over each database: one of them lets it in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from mailusers_plugin.store import schema
from mailusers_plugin.store.database import Connection
from tests.factor_support import SECRET, code
from tests.servers.cluster import Cluster, make_cluster
from tests.servers.databases import mariadb, postgresql
from tests.servers.panel import Reply
from tests.support import BOSS, PASSWORD, UNTHROTTLED

REQUESTS = 4
"""To each process at a time."""


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two panels over an empty database."""
    if request.param == "sqlite":
        yield from _running(tmp_path, "")
        return
    with (postgresql if request.param == "postgresql" else mariadb)() as url:
        yield from _running(tmp_path, url)


def _running(folder: Path, url: str) -> Iterator[Cluster]:
    site = folder / "site"
    site.mkdir()
    # All but one request fail, which is many.
    free = {f"MAILUSERS_{name.upper()}": "0" for name in UNTHROTTLED}
    made = make_cluster(folder, url, site, panels=2, environment=free)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def enrol(connection: Connection) -> None:
    """Set up a second factor as Mail-in-a-Box does."""
    user_id = connection.execute(select(schema.users.c.id)).scalar_one()
    connection.execute(insert(schema.mfa).values(user_id=user_id, type="totp", secret=SECRET))


def forget(connection: Connection) -> None:
    """Forget which code was used last."""
    connection.execute(update(schema.mfa).values(mru_token=None))


def test_one_code_at_two_processes(cluster: Cluster) -> None:
    """However many requests bring the same code to however many processes, exactly one is let in."""

    def ask(number: int) -> Reply:
        panel = cluster.panels[number % len(cluster.panels)]
        return panel.request(
            "GET", "/admin/mail/users", user=BOSS, password=PASSWORD, headers={"X-Auth-Token": given}
        )

    # Both processes know the password from here on, so that the codes are checked at the same moment.
    for panel in cluster.panels:
        assert panel.request("GET", "/admin/mail/users", user=BOSS, password=PASSWORD).status == 200
    with cluster.runtime() as runtime:
        runtime.database.write_now(enrol)
        for _ in range(5):
            given = code()
            with ThreadPoolExecutor(REQUESTS * len(cluster.panels)) as pool:
                replies = list(pool.map(ask, range(REQUESTS * len(cluster.panels))))
            refused = [reply.headers["X-Reason"] for reply in replies if reply.status == 401]
            assert sorted({reply.status for reply in replies}) == [200, 401]
            assert refused == ["invalid-totp-token"] * (len(replies) - 1)
            runtime.database.write_now(forget)

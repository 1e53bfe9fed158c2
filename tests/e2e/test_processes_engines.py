"""Three panel processes over one database: nothing is lost and nothing comes twice, also when some are killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailusers_plugin.store import accounts
from tests.servers.cluster import Changes, Cluster, Step, make_cluster, restarts, told
from tests.servers.databases import mariadb, postgresql
from tests.servers.live import Events
from tests.servers.panel import install_package
from tests.support import BOSS, PASSWORD, USER

PACKAGES = Path(__file__).parents[1] / "packages"
SECONDS = float(os.environ.get("MAILUSERS_TEST_CRASH_SECONDS", "8"))
"""How long processes are killed on each engine; longer by hand."""
NOTED = ("UserAdded", "UserArchived", "QuotaChanged")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the little module's package is installed."""
    folder = tmp_path_factory.mktemp("notes")
    install_package(PACKAGES / "notes_module", folder)
    return folder / "site"


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, site: Path
) -> Iterator[Cluster]:
    """Three panels over an empty database, started at the same moment."""
    with (postgresql if request.param == "postgresql" else mariadb)() as url:
        made = make_cluster(tmp_path_factory.mktemp("cluster"), url, site)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_a_session_is_good_everywhere_and_ends_everywhere(cluster: Cluster) -> None:
    """Who logs in at one process is known to the others, until one of them is told to log out."""
    one, two, three = cluster.panels
    key = one.request("POST", "/admin/login", {}, user=BOSS, password=PASSWORD).json()["api_key"]
    for panel in cluster.panels:
        assert panel.request("GET", "/admin/mail/users", user=BOSS, password=key).status == 200
    assert two.request("POST", "/admin/logout", {}, user=BOSS, password=key).status == 200
    for panel in cluster.panels:
        assert panel.request("GET", "/admin/mail/users", user=BOSS, password=key).status == 401
    key = three.request("POST", "/admin/login", {}, user=BOSS, password=PASSWORD).json()["api_key"]
    assert one.api("/password", email=BOSS, password=PASSWORD + "!").status == 200
    assert two.request("GET", "/admin/mail/users", user=BOSS, password=key).status == 401
    assert one.api("/password", email=BOSS, password=PASSWORD).status == 200


def test_changes_are_heard_of_in_other_processes(cluster: Cluster) -> None:
    """A reader of one process hears what another one changed, and goes on at a third one behind the last number."""
    one, two, three = cluster.panels
    with closing(Events(two)) as events:
        assert one.api("/add", 0, email=USER, password=PASSWORD).status == 200
        assert events.next() == ("changed", {"lines": [USER], "sizes": []})
    assert one.api("/quota", 0, email=USER, quota="1G").status == 200
    with closing(Events(three, after=events.newest)) as later:
        assert later.next() == ("changed", {"lines": [USER], "sizes": []})


def check(cluster: Cluster, changes: Changes) -> int:
    """Compare all that was acknowledged with what was told and with what is there now.

    :returns: how often the little module was told again
    """
    noted, again = told(cluster.noted(), changes.domain)
    wanted = {email: [step for step in steps if step[0] in NOTED] for email, steps in changes.steps.items()}
    assert noted == wanted
    audited, _ = told(cluster.audited(), changes.domain)
    assert audited == changes.steps
    with cluster.runtime() as runtime:
        for email, steps in changes.steps.items():
            account = runtime.database.read_now(accounts.find, email)
            assert (account and account.quota) == _quota(steps), email
    return again


def _quota(steps: list[Step]) -> str | None:
    """Return the quota that a user has after all steps, ``None`` where the user is archived."""
    quotas = [mark if type_ != "UserArchived" else None for type_, mark in steps if type_ in NOTED]
    return quotas[-1]


def test_each_event_comes_once(cluster: Cluster) -> None:
    """While no process ends, each implementation is told of each event once, in order, whoever changed what."""
    changes = Changes(cluster, "calm.example.com")
    changes.run(2.5)
    cluster.wait_until_delivered(20)
    assert check(cluster, changes) == 0
    assert changes.repeated == 0


def test_nothing_is_lost_when_processes_are_killed(cluster: Cluster) -> None:
    """No acknowledged change and no event is lost, and order is kept, when two of three are killed again and again."""
    changes = Changes(cluster, "crash.example.com")
    kills = 0
    end = time.monotonic() + SECONDS
    with changes.going_on():
        while kills < 3 or time.monotonic() < end:
            time.sleep(random.uniform(0.3, 1.5))
            panel = random.choice(cluster.panels[1:])
            panel.kill()
            kills += 1
            time.sleep(random.uniform(0, 0.5))
            panel.start()
    # Sooner than leases run out: those of a dead process on this machine are taken over.
    cluster.wait_until_delivered(20)
    again = check(cluster, changes)
    done = sum(map(len, changes.steps.values()))
    print(
        f"{done} changes, {changes.rate:.0f}/s, {kills} kills, {changes.repeated} sent again, {again} told again"
    )
    # Each kill may have caught the four that the module had in hand.
    assert again <= 4 * kills


def test_the_database_goes_away_and_comes_back(cluster: Cluster) -> None:
    """While the server is away requests are answered 503 with Retry-After; then all goes on without a restart."""
    changes = Changes(cluster, "away.example.com")
    refused: list[int] = []
    with restarts(cluster.url) as (stop, start):

        def restart() -> None:
            time.sleep(1)
            stop()
            for panel in cluster.panels:
                reply = panel.api("")
                assert int(reply.headers["Retry-After"]) > 0
                refused.append(reply.status)
            start()

        thread = threading.Thread(target=restart)
        thread.start()
        changes.run(4)
        thread.join()
        assert refused == [503] * len(cluster.panels)
        # A lease whose commit nobody was told of must run out.
        cluster.wait_until_delivered(60)
        assert check(cluster, changes) == 0
        with closing(Events(cluster.panels[1])) as events:
            assert cluster.panels[0].api("/add", 0, email="late@example.com", password=PASSWORD).status == 200
            assert events.next()[1]["lines"] == ["late@example.com"]
        cluster.stop()

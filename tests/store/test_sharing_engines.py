"""What several processes share, on each database: planning, leases, subscriptions and duties, several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, make_url, select, text

from mailusers_plugin.events import QuotaChanged, UserArchived
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import clock, deliveries, directory_lines, duties, outbox, planning, schema
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.news import Listener
from tests.servers.clients import wait_until
from tests.servers.databases import mariadb, postgresql
from tests.support import QUICK

WANTED = {"one": ["mailusers_quota_change"], "two": ["mailusers_quota_change", "mailusers_post_archive"]}
LONG = 60.0


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Servers, as long as these tests."""
    with postgresql() as postgresql_url, mariadb() as mariadb_url:
        yield {"sqlite": "", "postgresql": postgresql_url, "mariadb": mariadb_url}


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def box(
    request: pytest.FixtureRequest, urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """A box on each database, nothing of which runs."""
    folder: Path = tmp_path_factory.mktemp("box")
    settings = Settings(storage_root=folder, database=urls[request.param], database_threads=8, **QUICK)
    runtime = Runtime(settings)
    yield runtime
    runtime.close()


@pytest.fixture
def shared(box: Runtime) -> Runtime:
    """The same without events and subscriptions."""

    def empty_state(connection: Connection) -> None:
        for table in (schema.delivery, schema.event, schema.subscription, schema.duty):
            connection.execute(delete(table))

    box.state.write_now(empty_state)
    box.database.write_now(lambda connection: connection.execute(delete(schema.outbox)))
    return box


def event(email: str, number: int = 0, **values: Any) -> QuotaChanged:
    """Return an event of a quota."""
    return QuotaChanged(
        email=email,
        old_quota="0",
        new_quota=f"{number}M",
        old_quota_bytes=0,
        new_quota_bytes=number,
        actor=None,
        via="cli",
        **values,
    )


def write(box: Runtime, *events: Any) -> None:
    """Write events to the outbox, each as with a change of its own."""
    for one in events:
        box.database.write_now(outbox.append, one)


def subscribe(box: Runtime, wanted: dict[str, list[str]]) -> None:
    """Register implementations, as a dispatcher does."""
    if box.state is box.database:
        plan(box)
        box.state.write_now(planning.subscribe, wanted)
    else:
        box.state.write_now(planning.subscribe, wanted, box.database.read_now(outbox.position))


def plan(box: Runtime, limit: int = 500) -> None:
    """Take over what is in the outbox, as a dispatcher does."""
    if box.state is box.database:
        while (taken := box.database.write_now(planning.take_over, limit)).planned or taken.waits:
            pass
        return
    seq = 0
    while entries := box.database.read_now(outbox.after, seq, limit):
        box.state.write_now(planning.plan, entries)
        seq = entries[-1].seq


def planned(box: Runtime) -> list[tuple[str, str, str]]:
    """Return all deliveries in the order of the events: the address, its quota, for whom."""

    def read(connection: Connection) -> list[Any]:
        query = select(schema.delivery.c.implementation, schema.event.c.email, schema.event.c.body)
        joined = query.join(schema.event, schema.event.c.seq == schema.delivery.c.seq)
        order = (schema.event.c.seq, schema.delivery.c.implementation)
        return list(connection.execute(joined.order_by(*order)).all())

    return [
        (email, body.split('"new_quota": "')[1].split('"')[0], name)
        for name, email, body in box.state.read_now(read)
    ]


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the same several times at the same moment."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(begin, number) for number in range(count)]]


def test_each_event_is_planned_once(shared: Runtime) -> None:
    """However many take over at once, each event is planned once for each implementation, in order per address."""
    subscribe(shared, {"one": WANTED["one"]})
    emails = [f"user{number}@example.com" for number in range(8)]
    write(shared, *(event(email, number) for number in range(12) for email in emails))
    at_once(4, lambda number: plan(shared, 5 + number))
    found = planned(shared)
    assert len(found) == 96
    for email in emails:
        assert [quota for of, quota, _ in found if of == email] == [f"{number}M" for number in range(12)]


@pytest.mark.parametrize("box", ["postgresql", "mariadb"], indirect=True)
def test_an_address_waits_for_who_has_its_earlier_event(shared: Runtime) -> None:
    """While another process takes over an event of an address, its later ones wait and those of others do not.

    Where the audit trail is kept, they take turns at its end, which is another thing.
    """
    unaudited = partial(planning.take_over, audited=False)
    subscribe(shared, {"one": WANTED["one"]})
    write(shared, event("a@example.com", 1), event("a@example.com", 2), event("b@example.com", 1))
    with shared.database.engine.connect() as other, other.begin():
        assert unaudited(other, 1) == planning.TakenOver(1, waits=False)
        assert shared.database.write_now(unaudited, 500) == planning.TakenOver(1, waits=True)
        assert planned(shared) == [("b@example.com", "1M", "one")]
    assert shared.database.write_now(unaudited, 500) == planning.TakenOver(1, waits=False)
    of_a = [quota for email, quota, _ in planned(shared) if email == "a@example.com"]
    assert of_a == ["1M", "2M"]


def test_who_comes_later_is_told_of_later_events(shared: Runtime) -> None:
    """An implementation gets what happens after it was registered and nothing before, whatever clocks say."""
    now = datetime.now(UTC)
    subscribe(shared, {"one": WANTED["one"]})
    write(shared, event("before@example.com", 1, time=now + timedelta(hours=2)))
    subscribe(shared, WANTED)
    # The clock was set back, or it is that of another machine.
    write(shared, event("after@example.com", 1, time=now - timedelta(hours=2)))
    plan(shared)
    assert planned(shared) == [
        ("before@example.com", "1M", "one"),
        ("after@example.com", "1M", "one"),
        ("after@example.com", "1M", "two"),
    ]
    # What is new is due, also where it was written by a clock that is ahead.
    assert shared.state.read_now(deliveries.next_due, ["one"]) == 0
    assert len(shared.state.write_now(deliveries.claim, {"one": 4}, "me", LONG)) == 2


def test_an_outbox_of_an_older_backup(shared: Runtime) -> None:
    """Where the numbers of the outbox begin again further down, nothing that happens then is withheld."""
    shared.state.write_now(planning.subscribe, {"one": WANTED["one"]}, 10**6)
    subscribe(shared, {"one": WANTED["one"]})
    write(shared, event("a@example.com", 1))
    plan(shared)
    assert planned(shared) == [("a@example.com", "1M", "one")]


def test_many_processes_subscribe_at_once(shared: Runtime) -> None:
    """Processes that start at the same moment register the same implementations without disturbing each other."""
    at_once(6, lambda _: subscribe(shared, WANTED))
    assert set(shared.state.read_now(planning.subscriptions)) == {"one", "two"}
    subscribe(shared, {"two": ["mailusers_post_archive"]})
    archived = UserArchived(
        email="a@example.com", privileges=(), quota="0", mailbox="/m", actor=None, via="cli"
    )
    write(shared, event("a@example.com", 1), archived)
    plan(shared)
    counted = shared.state.read_now(deliveries.counts)
    assert counted == {"pending": 2}


def test_each_delivery_is_claimed_once(shared: Runtime) -> None:
    """However many claim at once, each delivery goes to one, and of an address only the oldest."""
    subscribe(shared, {"one": WANTED["one"]})
    emails = [f"user{number}@example.com" for number in range(20)]
    write(shared, *(event(email, number) for number in (1, 2) for email in emails))
    plan(shared)

    def claim(number: int) -> list[deliveries.Delivery]:
        found = []
        for _ in range(10):
            found += shared.state.write_now(deliveries.claim, {"one": 4}, f"process{number}", LONG)
        return found

    claimed = [one for some in at_once(4, claim) for one in some]
    assert sorted(one.event.email for one in claimed) == sorted(emails)
    assert {one.event.as_dict()["new_quota"] for one in claimed} == {"1M"}
    for one in claimed:
        assert shared.state.write_now(deliveries.finish, one)
    more = shared.state.write_now(deliveries.claim, {"one": 40}, "me", LONG)
    assert {one.event.as_dict()["new_quota"] for one in more} == {"2M"}
    assert len(more) == 20


@pytest.mark.parametrize("box", ["postgresql", "mariadb"], indirect=True)
def test_claiming_waits_for_nobody(shared: Runtime) -> None:
    """What another process is claiming is passed over at once; other implementations of the same events are not."""
    subscribe(shared, {"one": WANTED["one"], "two": WANTED["one"]})
    write(shared, event("a@example.com", 1), event("b@example.com", 1))
    plan(shared)
    with shared.database.engine.connect() as other, other.begin():
        (first,) = deliveries.claim(other, {"one": 1}, "other", LONG)
        rest = shared.state.write_now(deliveries.claim, {"one": 4, "two": 4}, "me", LONG)
    found = {(one.implementation, one.event.email) for one in rest}
    assert len(found) == 3
    assert ("one", first.event.email) not in found


def test_a_lease_that_ran_out(shared: Runtime) -> None:
    """A lease keeps others away until it runs out; then another has it, and the outcome is that one's to tell."""
    subscribe(shared, {"one": WANTED["one"]})
    write(shared, event("a@example.com", 1))
    plan(shared)
    (late,) = shared.state.write_now(deliveries.claim, {"one": 4}, "late", 2.0)
    assert shared.state.write_now(deliveries.claim, {"one": 4}, "other", LONG) == []
    assert shared.state.read_now(deliveries.next_due, ["one"]) is None
    time.sleep(2.1)
    (other,) = shared.state.write_now(deliveries.claim, {"one": 4}, "other", LONG)
    assert not shared.state.write_now(deliveries.finish, late)
    assert shared.state.write_now(deliveries.finish, other, error="no", retry_seconds=30.0)
    left = shared.state.read_now(deliveries.next_due, ["one"])
    assert left is not None
    assert 20 < left <= 30
    assert shared.state.write_now(deliveries.claim, {"one": 4}, "other", LONG) == []


def test_a_duty_is_one_process_s(shared: Runtime) -> None:
    """Of many that want a duty one has it, until it gives it up, is silent for too long, or has died."""

    def take(owner: str, seconds: float = LONG, dead: str = "") -> bool:
        return shared.state.write_now(duties.take, "usage", owner, seconds, dead.__eq__)

    assert sorted(at_once(4, lambda number: take(f"process{number}"))) == [False, False, False, True]
    shared.state.write_now(lambda connection: connection.execute(delete(schema.duty)))
    assert take("one")
    assert take("one", 0.2)
    assert not take("two")
    time.sleep(0.3)
    assert take("two")
    assert take("three", dead="two")
    shared.state.write_now(duties.give_up, "three")
    assert take("four")


def test_old_events_are_deleted_by_many(shared: Runtime) -> None:
    """Processes that delete old events at the same time do not hinder each other, and leave what is not done."""
    subscribe(shared, {"one": WANTED["one"]})
    write(shared, *(event(f"user{number}@example.com", 1) for number in range(40)))
    plan(shared)
    for one in shared.state.write_now(deliveries.claim, {"one": 39}, "me", LONG):
        shared.state.write_now(deliveries.finish, one)
    before = shared.state.read_now(clock.now) + timedelta(hours=1)
    deleted = at_once(4, lambda _: [shared.state.write_now(deliveries.prune, before, 5) for _ in range(10)])
    assert sum(map(sum, deleted)) == 39
    assert shared.state.read_now(deliveries.counts) == {"pending": 1}


@pytest.mark.parametrize("box", ["postgresql"], indirect=True)
def test_notices_are_heard_also_after_a_break(shared: Runtime) -> None:
    """A change of the list in another process is heard of at once, also after the connection was cut."""
    heard = threading.Event()
    listener = Listener(shared.state, heard.set)
    listener.start()
    other = Database(shared.settings.database_url)
    try:
        wait_until(heard.is_set)
        for _ in range(2):
            heard.clear()
            began = time.monotonic()
            other.write_now(_change_the_list)
            wait_until(heard.is_set)
            assert time.monotonic() - began < 2
            heard.clear()
            other.write_now(_cut_listeners)
            # It listens again, and looks for what it may have missed.
            wait_until(heard.is_set)
    finally:
        listener.stop()
        other.close()


def _cut_listeners(connection: Connection) -> None:
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
    assert connection.execute(text(query)).scalars().all() == [True]


def _change_the_list(connection: Connection) -> None:
    email = f"user{time.monotonic_ns()}@example.com"
    directory_lines.lock(connection)
    line = directory_lines.active_line((email, "", "0"), None)
    assert directory_lines.replace(connection, {email: line}) == 1


@pytest.mark.parametrize("box", ["sqlite", "mariadb"], indirect=True)
def test_where_there_are_no_notices(shared: Runtime) -> None:
    """A database that tells nothing is not listened to."""
    listener = Listener(shared.state, lambda: None)
    listener.start()
    assert listener._thread is None
    listener.stop()


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_many_processes_make_a_box_at_once(engine: str, urls: dict[str, str], tmp_path: Path) -> None:
    """Processes that are started at the same moment over an empty database find it made, each by one of them."""
    first = Database(urls[engine])
    with first.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE another"))
    first.close()
    url = make_url(urls[engine]).set(database="another").render_as_string(hide_password=False)

    def begin(number: int) -> bool:
        runtime = Runtime(Settings(storage_root=tmp_path / str(number), database=url, **QUICK))
        try:
            return runtime.state.read_now(directory_lines.newest_change) == 0
        finally:
            runtime.close()

    assert at_once(4, begin) == [True] * 4

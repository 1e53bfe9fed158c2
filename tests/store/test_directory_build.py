"""Making the directory of a large box, comparing it, its counts and its index of texts, on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select, text, update

from mailusers_plugin import directory_comparison, listing
from mailusers_plugin.directory_comparison import Comparison
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN, Account, Actor, Selection, Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import (
    accounts,
    directory,
    directory_build,
    directory_lines,
    directory_list,
    directory_search,
    directory_tally,
    schema,
    usage,
)
from mailusers_plugin.store.database import Connection
from mailusers_plugin.user_objects import archived_object, user_object
from mailusers_plugin.validation import display_domain
from tests.support import BOSS, make_mailbox

NOW = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
LINES = list[tuple[object, ...]]


def email(number: int) -> str:
    """An address; one domain is international, and one address is shouted."""
    domain = ("example.com", "a.example.com", "xn--mnchen-3ya.example.org", "b.example.net")[number % 4]
    return f"{'USER' if number == 8 else 'user'}{number:03}@{domain}"


def fill(runtime: Runtime) -> None:
    """Store users of all kinds: with privileges, without sizes, archived by us, purged half, only on the disk."""
    users = [
        Account(
            email(n), "x", (ADMIN, "Billing") if n % 50 == 0 else ("billing",) if n % 9 == 0 else (), f"{n}M"
        )
        for n in range(100)
    ]
    runtime.database.write_now(accounts.add_all, [Account(BOSS, "x", (ADMIN,), "0"), *users])
    runtime.database.write_now(archive_some)
    for n in (150, 151):
        make_mailbox(runtime.mailboxes.root, email(n))
    # Of somebody who is active, it is nothing of its own.
    make_mailbox(runtime.mailboxes.root, email(1))
    sizes = {email(n): Usage(n * 2**20 * 19 // 20, n, 0, NOW + timedelta(days=n)) for n in range(0, 152, 2)}
    runtime.state.write_now(usage.replace, sizes)


def archive_some(connection: Connection) -> None:
    """Archive users, of whom one is being purged and one can be brought back."""
    for n in range(120, 130):
        old = Account(email(n), "x", (ADMIN,), "5M")
        accounts.keep_archived(connection, old, Actor(BOSS, "cookie"), NOW)
    accounts.begin_purge(connection, email(121), ".purge", NOW)
    accounts.begin_purge(connection, email(131), ".purge", NOW)
    archived = schema.archive.c.email
    connection.execute(update(schema.archive).where(archived == email(122)).values(kept="{}", kept_until=NOW))


def lines(runtime: Runtime) -> LINES:
    """The directory as it is."""
    query = select(schema.directory).order_by(schema.directory.c.email)
    return [tuple(row) for row in runtime.state.read_now(lambda connection: connection.execute(query).all())]


def tallies(runtime: Runtime) -> LINES:
    """The counts that are kept."""
    query = select(schema.tally).order_by(*schema.tally.primary_key)
    return [tuple(row) for row in runtime.state.read_now(lambda connection: connection.execute(query).all())]


def counted_anew(runtime: Runtime) -> LINES:
    """What the counts are when all lines are counted."""
    query = select(schema.directory)
    every = runtime.state.read_now(lambda connection: connection.execute(query).all())
    runtime.state.write_now(directory_tally.count_anew, [row._asdict() for row in every])
    return tallies(runtime)


@pytest.fixture
def large(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A box that counts as a large one, with windows so small that they matter."""
    monkeypatch.setattr(directory_comparison, "LARGE", 10)
    for name, number in (("WINDOW", 7), ("_APPENDED", 5), ("_REFRESHED", 6), ("_INDEXED", 9)):
        monkeypatch.setattr(directory_comparison, name, number)
    fill(runtime)
    return runtime


async def test_made_at_once_or_line_by_line(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large directory that is sorted first is the same as one that is written line by line, with all indexes."""
    large.directory.compare_now()
    made = lines(large)
    assert len(made) == 101 + 10 + 1 + 2
    assert tallies(large) == counted_anew(large)
    for name in directory_build.INDEXES:
        large.state.write_now(directory_build.index, name)
    monkeypatch.setattr(directory_comparison, "LARGE", 10**6)
    large.state.write_now(lambda connection: connection.execute(schema.directory.delete()))
    large.state.write_now(directory_tally.forget)
    large.directory._comparison._names.forget()
    large.directory.compare_now()
    assert lines(large) == made
    assert tallies(large) == counted_anew(large)


async def test_nothing_changed(large: Runtime) -> None:
    """A second comparison finds nothing to mend."""
    large.directory.compare_now()
    newest = await large.directory.newest()
    refreshed: list[str] = []
    comparison = Comparison(large.database, large.state, large.mailboxes, refreshed.extend)
    comparison.run()
    assert refreshed == []
    assert await large.directory.newest() == newest


def delete_lines(connection: Connection) -> None:
    """Lose some lines."""
    connection.execute(schema.directory.delete().where(schema.directory.c.email.in_([email(3), email(120)])))


def invent_lines(connection: Connection) -> None:
    """Have lines of users that there are not."""
    invented = [
        directory_lines.active_line(("zz@example.com", "", "1M"), None),
        directory_lines.archived_line("aa@example.com", None, None),
    ]
    connection.execute(insert(schema.directory), invented)


def damage_lines(connection: Connection) -> None:
    """Have lines of another state of the accounts."""
    some = schema.directory.c.email.in_([email(5), email(121), email(150)])
    connection.execute(update(schema.directory).where(some).values(mark=0, quota="1G", purging=0))


async def test_what_differs_is_mended(large: Runtime) -> None:
    """Whatever is missing, too many or wrong is put right, wherever a window ends."""
    large.directory.compare_now()
    right = lines(large)
    for harm in (delete_lines, invent_lines, damage_lines):
        large.state.write_now(harm)
        assert lines(large) != right
        large.directory.compare_now()
        assert lines(large) == right, harm


async def test_a_build_that_was_interrupted(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ended in the middle leaves no half list: nothing is shown until another one has made it whole."""
    calls = 0
    append = directory_build.append

    def end(*arguments: object) -> bool:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return append(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(directory_build, "append", end)
        with pytest.raises(KeyboardInterrupt):
            large.directory.compare_now()
    assert 0 < len(lines(large)) < 50
    assert not large.state.read_now(directory_lines.is_built)
    # By now it is a small one, which has to get its indexes all the same.
    monkeypatch.setattr(directory_comparison, "LARGE", 10**6)
    again = Comparison(large.database, large.state, large.mailboxes, large.directory.refresh_now)
    again.run()
    assert large.state.read_now(directory_lines.is_built)
    assert len(lines(large)) == 114
    assert tallies(large) == counted_anew(large)
    (page, counts) = await large.directory.page_and_count(Selection(), "-size", "", 200)
    assert len(page.entries) == 114 == counts.active + counts.archived


async def test_changed_while_it_is_made(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while the directory is made is in it as it is in the end: added, archived, gone."""
    begin = directory_build.begin

    def change(connection: Connection, builder: str) -> None:
        begin(connection, builder)
        large.database.write_now(accounts.remove, email(4))
        large.database.write_now(accounts.remove, email(8))
        kept = Account(email(8), "x", (), "1M")
        large.database.write_now(accounts.keep_archived, kept, Actor(None, "cli"), NOW)
        large.database.write_now(accounts.add, Account("new@example.com", "x", (), "1M"))

    monkeypatch.setattr(directory_build, "begin", change)
    large.directory.compare_now()
    found = {row[2]: row[1] for row in lines(large)}
    assert email(4) not in found
    assert (found[email(8)], found["new@example.com"]) == (1, 0)


QUERIES = [
    "user",
    "USER",
    "ser08",
    "08@",
    "8",
    "99",
    "zq",
    "é",
    "münch",
    "MÜNCHEN",
    "@xn--",
    '"',
    "%",
    "com",
    "m",
    "g\x02",
]


async def test_texts(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an index or without one, with few matches or many, the same addresses are found and counted."""
    large.directory.compare_now()
    assert large.state.read_now(directory_search.state) in (
        directory_search.WHOLE,
        directory_search.IMPOSSIBLE,
    )
    every = lines(large)
    for query in QUERIES:
        expected = sorted(str(row[2]) for row in every if matches(row, query))
        for few, often in ((1500, 100), (1500, 1), (3, 1), (3, 100)):
            monkeypatch.setattr(directory, "FEW", few)
            monkeypatch.setattr(directory_search, "_OFTEN", often)
            assert await found_by(large, query) == expected, (query, few, often)
    large.state.write_now(lambda connection: connection.execute(update(schema.feed).values(search=0)))
    for query in QUERIES:
        expected = sorted(str(row[2]) for row in every if matches(row, query))
        assert await found_by(large, query) == expected, query


def matches(row: tuple[object, ...], query: str) -> bool:
    """Whether a line is to be found."""
    return query.lower() in str(row[2]).lower() or query.lower() in str(row[3] or "")


async def found_by(runtime: Runtime, query: str) -> list[str]:
    """Everybody who is found, page by page."""
    emails: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page, counts = await runtime.directory.page_and_count(Selection(query), "-quota", cursor, 20)
        emails += [entry.email for entry in page.entries]
        cursor = page.next
    assert counts.active + counts.archived == len(emails)
    return sorted(emails)


@pytest.mark.sqlite_only(reason="about the table that is SQLite's index")
async def test_an_address_that_is_in_the_index_twice(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the index twice does not make many look like few, of which all were found."""
    large.directory.compare_now()
    query = "example"
    expected = sorted(str(row[2]) for row in lines(large) if matches(row, query))
    table = directory_search.TABLE
    copied = f"INSERT INTO {table} (address) SELECT address FROM {table}"  # noqa: S608
    large.state.write_now(lambda connection: connection.execute(text(copied)))
    for few in (len(expected) - 1, len(expected), len(expected) + 1):
        monkeypatch.setattr(directory, "FEW", few)
        assert await found_by(large, query) == expected


async def test_stopping_while_everything_is_compared(large: Runtime) -> None:
    """A comparison ends at its next step when everything stops, and what it found is looked for again."""
    large.directory.end_comparison()
    with pytest.raises(UnavailableError, match="stopping"):
        large.directory.compare_now()


async def test_the_index_follows(large: Runtime) -> None:
    """Who comes later is found, who is gone is not, and who moves is found once; counts follow, too."""
    large.directory.compare_now()
    assert await found_by(large, "quaxi") == []
    new = Account("quaxi@example.com", "x", (), "1M")
    large.database.write_now(accounts.add, new)
    large.directory.refresh_now([new.email])
    assert await found_by(large, "quaxi") == ["quaxi@example.com"]
    assert (await large.directory.count(Selection("quaxi"))).active == 1
    large.database.write_now(accounts.remove, new.email)
    large.database.write_now(accounts.keep_archived, new, Actor(None, "cli"), NOW)
    large.directory.refresh_now([new.email])
    counts = await large.directory.count(Selection("quaxi"))
    assert (counts.active, counts.archived) == (0, 1)
    assert (await large.directory.count(Selection("quaxi", status="active"))).active == 0
    assert await found_by(large, "quaxi") == ["quaxi@example.com"]
    large.database.write_now(accounts.forget_archived, new.email)
    large.directory.refresh_now([new.email])
    assert await found_by(large, "quaxi") == []


SELECTIONS = [
    Selection(domain=domain, status=status, privilege=privilege, nearly_full=full)
    for domain in ("", "example.com", "nowhere")
    for status in ("", "active", "inactive")
    for privilege in ("", ADMIN, "billing", "Billing", "none")
    for full in (False, True)
]


async def test_kept_counts_are_what_is_found(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of every combination of filters is how many its pages show, whether these are few or many."""
    large.directory.compare_now()
    for few in (1500, 0):
        monkeypatch.setattr(directory, "FEW", few)
        for selection in SELECTIONS:
            page = await large.directory.page(selection, "used", "", 1000)
            counts = await large.directory.count(selection)
            active = sum(1 for entry in page.entries if entry.active)
            assert (counts.active, counts.archived) == (active, len(page.entries) - active), selection
            sizes = sum(entry.usage.box_bytes for entry in page.entries if entry.usage)
            assert counts.box_bytes == sizes, selection


async def test_changes_keep_the_counts(large: Runtime) -> None:
    """After changes of every kind the counts are what counting gives."""
    large.directory.compare_now()
    large.database.write_now(accounts.set_quota, email(7), "1M")
    large.database.write_now(accounts.set_privileges, email(9), (ADMIN, "support"))
    large.database.write_now(accounts.remove, email(10))
    large.state.write_now(usage.replace, {email(11): Usage(2**40, 1, 0, NOW)}, [email(12)])
    large.directory.refresh_now([email(n) for n in range(7, 13)])
    assert tallies(large) == counted_anew(large)


async def whole(runtime: Runtime) -> Any:
    """The whole list."""
    async with runtime.listing.everything(as_json=True) as (_, parts):
        return json.loads(b"".join([part async for part in parts]))


async def test_the_whole_list(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what the accounts, the disk and the sizes say, in the contract's order; the plain one likewise."""
    monkeypatch.setattr(listing, "_LINES", 7)
    monkeypatch.setattr(listing, "_ADDRESSES", 7)
    large.directory.compare_now()
    wanted = [
        {
            "domain": display_domain(domain.name),
            "users": [user_object(user) for user in domain.users]
            + [archived_object(user) for user in domain.archived],
        }
        for domain in await large.listing.domains()
    ]
    assert await whole(large) == json.loads(orjson.dumps(wanted))
    async with large.listing.everything(as_json=False) as (_, parts):
        plain = b"".join([part async for part in parts]).decode().splitlines()
    assert plain == await large.service.addresses()


async def test_a_list_of_one_moment(large: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while a list is read is not in it, and its state is the one from before."""
    monkeypatch.setattr(listing, "_LINES", 7)
    large.directory.compare_now()
    before = await whole(large)
    async with large.listing.everything(as_json=True) as (state, parts):
        content = await anext(parts)
        large.database.write_now(accounts.remove, email(5))
        large.database.write_now(accounts.set_quota, email(2), "77M")
        large.directory.refresh_now([email(n) for n in (2, 5)])
        content += b"".join([part async for part in parts])
    assert json.loads(content) == before
    assert await whole(large) != before
    later = large.state.read_now(directory_list.state)
    assert state is not None
    assert later is not None
    assert (later.epoch, later.newest) == (state.epoch, state.newest + 2)

"""The chain of the audit trail: every way of tampering with the table is found, and which entry it was done to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from mailusers_plugin.models import Actor
from mailusers_plugin.store import audit_chain, audit_guard
from mailusers_plugin.store.audit_chain import link
from mailusers_plugin.trail_models import GENESIS, Entry, Head, Verdict
from tests.support import Box, read_time

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
COUNT = 9
ACTOR = Actor("boss@example.com", "cli")
COLUMNS = "event_id, time, type, actor, via, ip, email, detail"

# What a database gives back and what it compares are two things: of each some that one of the three is known for.
HARD = (
    "plain",
    "trailing space ",
    "UPPER",
    "ünïcödé \N{GRINNING FACE}",
    "e\u0301 is not é",
    "nul \0 half \udcff",
    "quote ' \" \\ %s ? ; --",
    "line\r\nbreak\ttab",
    "x" * 400,
)


def entries(count: int = COUNT, ago: timedelta = timedelta()) -> list[Entry]:
    """Make entries with values that databases may change."""
    return [
        Entry.made(
            "QuotaChanged",
            email=HARD[number % len(HARD)],
            actor=HARD[number % len(HARD)] if number % 3 else None,
            via="basic",
            ip="2001:db8::1" if number % 2 else None,
            detail={"old_quota": HARD[number % len(HARD)], "n": number},
            time=NOW - ago + timedelta(microseconds=number),
        )
        for number in range(count)
    ]


async def fill(box: Box) -> Head:
    """Put entries into the trail, in three transactions, and return how it ends."""
    made = entries()
    for begin in (0, 3, 6):
        await box.runtime.state.write(audit_chain.append, made[begin : begin + 3])
    return await box.runtime.state.read(audit_chain.look)


async def check(box: Box, noted: Head | None = None) -> Verdict:
    """Check the trail."""
    return await box.runtime.state.read(audit_chain.verify, noted)


async def test_what_was_written_is_right(box: Box) -> None:
    """Whatever text an entry holds, it is found as it was written, and the head that was noted down too."""
    head = await fill(box)
    for noted in (None, head, Head(None, head.hash), Head(0, GENESIS)):
        verdict = await check(box, noted)
        assert (verdict.fault, verdict.checked, verdict.guarded) == (None, COUNT, True)
    assert verdict.head == head
    assert head.seq == COUNT
    assert Head.parse(str(head)) == head
    assert await box.runtime.state.write(audit_chain.head) == head


async def test_an_empty_trail_is_right(box: Box) -> None:
    """A new box has a chain of nothing."""
    verdict = await check(box)
    assert (verdict.fault, verdict.checked, str(verdict.head)) == (None, 0, f"0:{GENESIS}")


GUARDED = {
    "update": "UPDATE mailusers_audit SET email = 'other' WHERE seq = 4",
    "delete": "DELETE FROM mailusers_audit WHERE seq = 4",
    "delete all": "DELETE FROM mailusers_audit",
    "insert": f"INSERT INTO mailusers_audit (seq, {COLUMNS}, previous, hash) "  # noqa: S608
    f"SELECT 0, 'x', time, type, actor, via, ip, email, detail, previous, hash FROM mailusers_audit WHERE seq = 4",
    "head": "UPDATE mailusers_audit_chain SET head_seq = 3",
    "head's hash": "UPDATE mailusers_audit_chain SET head_hash = 'x'",
    "anchor": "UPDATE mailusers_audit_chain SET anchor_seq = 99",
    "anchor's hash": "UPDATE mailusers_audit_chain SET anchor_hash = 'x'",
    "chain": "DELETE FROM mailusers_audit_chain",
    "replace": f"REPLACE INTO mailusers_audit SELECT seq, {COLUMNS.replace('email', 'type')}, previous, hash "  # noqa: S608
    "FROM mailusers_audit WHERE seq = 4",
    "replace the chain": "REPLACE INTO mailusers_audit_chain VALUES (1, 0, 'x', 3, 'x')",
    "truncate": "TRUNCATE TABLE mailusers_audit",
}


@pytest.mark.parametrize("statement", GUARDED)
async def test_the_database_refuses(box: Box, statement: str) -> None:
    """Entries can be added, and neither changed nor deleted by whoever may write rows."""
    dialect = box.runtime.state.engine.dialect.name
    if (statement.startswith("replace") and dialect == "postgresql") or (
        statement == "truncate" and dialect != "postgresql"
    ):
        # There is no such statement there, or, on MariaDB, no trigger for it.
        return
    await fill(box)
    with pytest.raises((DBAPIError, Exception), match="append-only"):
        box.state_sql(GUARDED[statement])
    verdict = await check(box)
    assert (verdict.fault, verdict.checked) == (None, COUNT)


def rehash(box: Box, seq: int, *, previous: str | None = None) -> str:
    """Make an entry's hash anew, as somebody does who knows how."""
    (row,) = box.state_sql(
        f"SELECT {COLUMNS}, previous FROM mailusers_audit WHERE seq = ?",  # noqa: S608
        seq,
    )
    event_id, time, *rest, stored = row
    time = read_time(time).replace(tzinfo=UTC)
    before = stored if previous is None else previous
    new = link(before, seq, event_id, time, *rest)
    box.state_sql("UPDATE mailusers_audit SET hash = ?, previous = ? WHERE seq = ?", new, before, seq)
    return new


def change(box: Box) -> None:
    """Change what an entry says."""
    box.state_sql("UPDATE mailusers_audit SET email = 'innocent@example.com' WHERE seq = 4")


def change_time(box: Box) -> None:
    """Change when something happened, by a microsecond."""
    box.state_sql("UPDATE mailusers_audit SET time = ? WHERE seq = 4", (NOW).strftime("%Y-%m-%d %H:%M:%S.%f"))


def change_address(box: Box) -> None:
    """Give an entry without an address an empty one."""
    box.state_sql("UPDATE mailusers_audit SET ip = '' WHERE seq = 5")


def change_and_hash(box: Box) -> None:
    """Change what an entry says, and its hash to match."""
    change(box)
    rehash(box, 4)


def change_hash(box: Box) -> None:
    """Change only the hash of an entry."""
    box.state_sql("UPDATE mailusers_audit SET hash = ? WHERE seq = 4", "f" * 64)


def change_newest(box: Box) -> None:
    """Change the newest entry, and its hash to match."""
    box.state_sql("UPDATE mailusers_audit SET actor = 'somebody' WHERE seq = ?", COUNT)
    rehash(box, COUNT)


def delete_first(box: Box) -> None:
    """Delete the first entry."""
    box.state_sql("DELETE FROM mailusers_audit WHERE seq = 1")


def delete_some(box: Box) -> None:
    """Delete entries in the middle."""
    box.state_sql("DELETE FROM mailusers_audit WHERE seq IN (4, 5)")


def delete_and_close_up(box: Box) -> None:
    """Delete an entry, and number the others anew so that there is no gap."""
    box.state_sql("DELETE FROM mailusers_audit WHERE seq = 4")
    for seq in range(5, COUNT + 1):
        box.state_sql("UPDATE mailusers_audit SET seq = ? WHERE seq = ?", seq - 1, seq)


def insert(box: Box) -> None:
    """Insert an entry with a right hash, and number the others anew."""
    for seq in range(COUNT, 3, -1):
        box.state_sql("UPDATE mailusers_audit SET seq = ? WHERE seq = ?", seq + 1, seq)
    forge(box, 4, 3)


def insert_before(box: Box) -> None:
    """Insert an entry before the first."""
    forge(box, 0, 1)


def insert_at_end(box: Box) -> None:
    """Add an entry with a right hash without telling the chain."""
    forge(box, COUNT + 1, COUNT)


def forge(box: Box, seq: int, of: int) -> None:
    """Add a copy of an entry that follows the one before it."""
    box.state_sql(
        f"INSERT INTO mailusers_audit (seq, {COLUMNS}, previous, hash) "  # noqa: S608
        f"SELECT ?, 'forged', time, type, actor, via, ip, email, detail, previous, hash FROM mailusers_audit "
        "WHERE seq = ?",
        seq,
        of,
    )
    found = box.state_sql("SELECT hash FROM mailusers_audit WHERE seq = ?", seq - 1)
    rehash(box, seq, previous=found[0][0] if found else GENESIS)


def swap(box: Box) -> None:
    """Let two entries change places."""
    for old, new in ((4, 999), (6, 4), (999, 6)):
        box.state_sql("UPDATE mailusers_audit SET seq = ? WHERE seq = ?", new, old)


def cut_off(box: Box) -> None:
    """Delete the newest entries."""
    box.state_sql("DELETE FROM mailusers_audit WHERE seq > 6")


def empty(box: Box) -> None:
    """Delete everything."""
    box.state_sql("DELETE FROM mailusers_audit")


def prune_by_hand(box: Box) -> None:
    """Delete the oldest entries and move the anchor, but not to the hash that stood there."""
    box.state_sql("DELETE FROM mailusers_audit WHERE seq <= 3")
    box.state_sql("UPDATE mailusers_audit_chain SET anchor_seq = 3")


def lose_the_chain(box: Box) -> None:
    """Delete the row that knows how the chain ends."""
    box.state_sql("DELETE FROM mailusers_audit_chain")


TAMPERING: list[tuple[Callable[[Box], None], int | None, str]] = [
    (change, 4, "changed"),
    (change_time, 4, "changed"),
    (change_address, 5, "changed"),
    (change_and_hash, 4, "replaced"),
    (change_hash, 4, "changed"),
    (change_newest, COUNT, "replaced"),
    (delete_first, 1, "deleted"),
    (delete_some, 4, "everything up to 5 is missing"),
    (delete_and_close_up, 4, "changed, moved or inserted"),
    (insert, 5, "changed, moved or inserted"),
    (insert_before, 0, "inserted"),
    (insert_at_end, COUNT + 1, "inserted"),
    (swap, 4, "changed, moved or inserted"),
    (cut_off, 7, "cut off"),
    (empty, 1, "cut off"),
    (prune_by_hand, 4, "does not follow"),
    (lose_the_chain, None, "missing"),
]


@pytest.mark.parametrize(
    ("tamper", "seq", "text"), TAMPERING, ids=[function.__name__ for function, _, _ in TAMPERING]
)
async def test_tampering_is_found(
    box: Box, tamper: Callable[[Box], None], seq: int | None, text: str
) -> None:
    """Whoever owns the tables can drop the triggers; then it is found what he did, and to which entry first."""
    await fill(box)
    await box.runtime.state.write(audit_guard.lift)
    tamper(box)
    verdict = await check(box)
    assert verdict.fault is not None
    assert (verdict.fault.seq, verdict.guarded) == (seq, False)
    assert text in verdict.fault.text
    # What comes behind is stored all the same, and the trace stays.
    await box.runtime.state.write(audit_chain.append, entries(2, -timedelta(hours=1)))
    again = (await check(box)).fault
    assert again is not None
    if tamper is lose_the_chain:
        assert again.seq == COUNT + 1
    elif seq is not None and seq < COUNT:
        assert again.seq == seq


async def test_a_cut_that_the_chain_knows_of(box: Box) -> None:
    """Who cuts off the end and changes the chain to match is found by a head that was noted down, and only by that."""
    head = await fill(box)
    await box.runtime.state.write(audit_guard.lift)
    cut_off(box)
    ((newest,),) = box.state_sql("SELECT hash FROM mailusers_audit WHERE seq = 6")
    box.state_sql("UPDATE mailusers_audit_chain SET head_seq = 6, head_hash = ?", newest)
    assert (await check(box)).fault is None
    for noted, seq, text in (
        (head, COUNT, "cut off"),
        (Head(None, head.hash), None, "No entry has the hash"),
    ):
        fault = (await check(box, noted)).fault
        assert fault is not None
        assert fault.seq == seq
        assert text in fault.text


async def test_a_chain_that_was_made_anew(box: Box) -> None:
    """Who changes an entry and makes all hashes behind it anew is found by a head that was noted down."""
    head = await fill(box)
    await box.runtime.state.write(audit_guard.lift)
    change(box)
    previous = None
    for seq in range(4, COUNT + 1):
        previous = rehash(box, seq, previous=previous)
    box.state_sql("UPDATE mailusers_audit_chain SET head_hash = ?", previous)
    assert (await check(box)).fault is None
    fault = (await check(box, head)).fault
    assert fault is not None
    assert fault.seq == COUNT
    assert "made anew" in fault.text


async def test_triggers_come_back(box: Box) -> None:
    """Triggers that somebody dropped are made again, and once is enough."""
    await box.runtime.state.write(audit_guard.lift)
    assert not (await check(box)).guarded
    for _ in range(2):
        assert await box.runtime.state.write(audit_guard.put)
    assert (await check(box)).guarded
    await test_the_database_refuses(box, "update")


async def test_pruning(box: Box) -> None:
    """Old entries go with an entry that says so, the rest stays right, and a head from before is known to be gone."""
    state = box.runtime.state
    await state.write(audit_chain.append, entries(5, timedelta(days=400)))
    old_head = await state.read(audit_chain.look)
    await fill(box)
    before = NOW - timedelta(days=1)
    last = await state.read(audit_chain.cut, before)
    assert last.seq == 5
    assert await box.runtime.trail.prune(last, before, ACTOR) == 5
    verdict = await check(box)
    assert (verdict.fault, verdict.checked, verdict.anchor) == (None, COUNT + 1, old_head)
    assert (await check(box, old_head)).fault is None
    (*_, newest) = await box.trail()
    assert (newest.type, newest.actor, newest.via) == ("AuditPruned", ACTOR.name, "cli")
    assert newest.detail == {"before": before.isoformat(), "first": 1, "last": 5, "hash": old_head.hash}
    # Nothing is left to be pruned.
    assert await box.runtime.trail.prune(await state.read(audit_chain.cut, before), before, ACTOR) == 0
    later = datetime.now(UTC) + timedelta(days=1)
    assert await box.runtime.trail.prune(await state.read(audit_chain.cut, later), later, ACTOR) == COUNT + 1
    assert [kept.type for kept in await box.trail()] == ["AuditPruned"]
    assert (await check(box)).fault is None
    fault = (await check(box, old_head)).fault
    assert fault is not None
    assert "cannot be checked any more" in fault.text
    assert fault.seq == old_head.seq


async def test_an_interrupted_pruning_is_right(box: Box) -> None:
    """After each step of pruning the chain is right, and what could be pruned twice goes once."""
    await fill(box)
    state = box.runtime.state
    last: Any = await state.read(audit_chain.cut, NOW + timedelta(days=1))
    for left in (5, 1):
        assert await state.write(audit_chain.prune, last, 4) == 4
        verdict = await check(box)
        assert (verdict.fault, verdict.checked) == (None, left)


@pytest.mark.parametrize(
    "text", ["", "x", "12", "12:", f"-1:{GENESIS}", f"1:{GENESIS}0", GENESIS[1:], "٣:" + GENESIS]
)
def test_no_head(text: str) -> None:
    """What is not a head is not taken for one."""
    assert Head.parse(text) is None

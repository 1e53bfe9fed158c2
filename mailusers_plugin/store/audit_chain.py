"""The chain of the audit trail: each entry's hash is of its content and of the hash before it.

It shows that an entry was changed, deleted, inserted or moved by somebody who could write to the table. Who can write
to it can also make all hashes behind an entry anew; that shows only beside a head that was noted down elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from mailusers_plugin.store import audit_guard
from mailusers_plugin.store.audit_schema import chain, entries
from mailusers_plugin.trail_models import GENESIS, Entry, Head, TrailFault, Verdict

_log = logging.getLogger("mailusers_plugin.audit")

_FORM: Final = "mailusers-audit-1"
"""Of what is hashed. Another form gets another name, and a column that says which one an entry has."""
_AT_ONCE: Final = 2000
PRUNED: Final = "AuditPruned"

_entry = entries.c
_chain = chain.c


def link(
    previous: str,
    seq: int,
    event_id: str,
    time: datetime,
    type_: str,
    actor: str | None,
    via: str,
    ip: str | None,
    email: str,
    detail: str,
) -> str:
    """Return an entry's hash: SHA-256 of the hash before it, a newline, and its content as a JSON array in ASCII.

    :param previous: :data:`GENESIS` for the first entry
    :param detail: to the letter as it is stored
    """
    moment = time.astimezone(UTC).isoformat(timespec="microseconds")
    content = json.dumps(
        [_FORM, seq, event_id, moment, type_, actor, via, ip, email, detail],
        ensure_ascii=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(f"{previous}\n{content}".encode("ascii")).hexdigest()


def append(connection: Connection, new: Sequence[Entry]) -> int:
    """Add entries at the end of the chain, in the caller's transaction; those whose id is there already are left out.

    It holds the chain until the transaction ends, so it comes last in one.

    :returns: how many were added
    """
    head = _lock(connection)
    ids = [entry.id for entry in new]
    known = set(connection.execute(select(_entry.event_id).where(_entry.event_id.in_(ids))).scalars())
    rows = []
    seq, previous = head.seq or 0, head.hash
    for entry in {entry.id: entry for entry in new}.values():
        if entry.id not in known:
            seq += 1
            rows.append(_row(entry, seq, previous))
            previous = rows[-1]["hash"]
    if rows:
        connection.execute(insert(entries), rows)
        connection.execute(update(chain).where(_chain.id == 1).values(head_seq=seq, head_hash=previous))
    return len(rows)


def _row(entry: Entry, seq: int, previous: str) -> dict[str, Any]:
    content = (entry.time, entry.type, entry.actor, entry.via, entry.ip, entry.email, entry.detail)
    return {
        "seq": seq,
        "event_id": entry.id,
        "time": entry.time,
        "type": entry.type,
        "actor": entry.actor,
        "via": entry.via,
        "ip": entry.ip,
        "email": entry.email,
        "detail": entry.detail,
        "previous": previous,
        "hash": link(previous, seq, entry.id, *content),
    }


def _lock(connection: Connection) -> Head:
    """Keep everybody else from adding entries, and return what the next one follows.

    Somebody may have tampered with the table. What is right must go on being stored all the same, and the trace of
    it must stay: so a number that is taken is passed over, and what stands there is not followed. Where the chain's
    own row was deleted nobody knows what else was: one number is left out, which is found missing from then on.
    """
    row = connection.execute(select(chain).where(_chain.id == 1).with_for_update()).one_or_none()
    last = connection.execute(
        select(_entry.seq, _entry.hash).order_by(_entry.seq.desc()).limit(1)
    ).one_or_none()
    if row is None:
        _log.error(
            "The audit trail's chain was lost: its row is missing. 'mailusers audit verify' says more."
        )
        found = Head(last.seq + 1, last.hash) if last else Head(1, GENESIS)
        begin(connection, Head(0, GENESIS), found)
        return found
    if last is not None and last.seq > row.head_seq:
        return Head(last.seq, row.head_hash)
    return Head(row.head_seq, row.head_hash)


def begin(connection: Connection, anchor: Head, head: Head) -> None:
    """Write the chain's row, where there is none."""
    connection.execute(
        insert(chain).values(
            id=1, anchor_seq=anchor.seq, anchor_hash=anchor.hash, head_seq=head.seq, head_hash=head.hash
        )
    )


def head(connection: Connection) -> Head:
    """Return how the chain ends, in a write transaction.

    That it writes makes PostgreSQL put to the disk what was committed without waiting for it: what is noted down
    must still be there after a crash.
    """
    connection.execute(update(chain).where(_chain.id == 1).values(head_seq=_chain.head_seq))
    return look(connection)


def look(connection: Connection) -> Head:
    """Return how the chain ends."""
    row = connection.execute(select(_chain.head_seq, _chain.head_hash).where(_chain.id == 1)).one_or_none()
    return Head(0, GENESIS) if row is None else Head(row.head_seq, row.head_hash)


# Checking.


def verify(connection: Connection, noted: Head | None = None) -> Verdict:
    """Check every entry, oldest first, up to the first one that is wrong.

    :param noted: how the chain ended at some time, as somebody noted down elsewhere
    """
    guarded = audit_guard.missing(connection) == []
    row = connection.execute(select(chain).where(_chain.id == 1)).one_or_none()
    if row is None:
        lost = TrailFault(
            None, "The row of mailusers_audit_chain is missing: nobody knows where the chain ends."
        )
        return Verdict(0, Head(0, GENESIS), Head(0, GENESIS), lost, guarded)
    anchor, end = Head(row.anchor_seq, row.anchor_hash), Head(row.head_seq, row.head_hash)
    checked, fault = _check(connection, row, noted)
    return Verdict(checked, anchor, end, fault, guarded)


def _check(connection: Connection, row: Row[Any], noted: Head | None) -> tuple[int, TrailFault | None]:
    lowest = connection.execute(select(func.min(_entry.seq))).scalar()
    if lowest is not None and lowest <= row.anchor_seq:
        return 0, TrailFault(lowest, "It stands before the beginning of the chain: it was inserted.")
    seq, previous = row.anchor_seq, row.anchor_hash
    seen = noted is not None and noted.hash == previous and noted.seq in (None, seq)
    for entry in _all(connection, seq):
        fault = _fault(entry, seq, previous, row)
        if fault is not None:
            return max(0, min(seq, (fault.seq or 1) - 1) - row.anchor_seq), fault
        seq, previous = entry.seq, entry.hash
        if noted is not None and noted.hash == previous and noted.seq in (None, seq):
            seen = True
    checked = seq - row.anchor_seq
    if seq < row.head_seq:
        text = f"It is missing, and so is everything up to {row.head_seq}: the trail was cut off at its end."
        return checked, TrailFault(seq + 1, text)
    if previous != row.head_hash:
        return checked - 1, TrailFault(seq, "It is not the one that was written last: it was replaced.")
    return checked, None if noted is None or seen else _missed(noted, row)


def _fault(entry: Row[Any], seq: int, previous: str, row: Row[Any]) -> TrailFault | None:
    """Return what is wrong at an entry, given the one before it."""
    if entry.seq != seq + 1:
        last = entry.seq - 1
        which = "It is missing" if last == seq + 1 else f"It and everything up to {last} is missing"
        return TrailFault(seq + 1, f"{which}: it was deleted.")
    content = (entry.time, entry.type, entry.actor, entry.via, entry.ip, entry.email, entry.detail)
    is_whole = entry.hash == link(entry.previous, entry.seq, entry.event_id, *content)
    if entry.previous == previous and is_whole:
        if entry.seq > row.head_seq:
            return TrailFault(
                entry.seq, "It stands behind the newest that the chain knows of: it was inserted."
            )
        return None
    if not is_whole:
        return TrailFault(entry.seq, "It is not what was written there: it was changed, moved or inserted.")
    if seq == row.anchor_seq:
        text = "It does not follow the end of what was pruned: something before it was deleted or inserted."
        return TrailFault(entry.seq, text)
    # This one is whole, and was written behind another one than stands there now.
    return TrailFault(
        seq, f"It is not the one that entry {entry.seq} was written behind: it was replaced or inserted."
    )


def _missed(noted: Head, row: Row[Any]) -> TrailFault:
    """Return what it means that a head was not met on the way through a chain that is right in itself."""
    if noted.seq is None:
        return TrailFault(
            None,
            "No entry has the hash that was given: what it belonged to was pruned, or the trail was cut off or "
            "made anew from there or earlier on.",
        )
    if noted.seq < row.anchor_seq:
        return TrailFault(
            noted.seq,
            f"The head that was given cannot be checked any more: everything up to {row.anchor_seq} was pruned. "
            "Note down a new one after each 'mailusers audit prune'.",
        )
    if noted.seq > row.head_seq:
        text = f"It is missing: the trail was cut off at its end, and ends with {row.head_seq} now."
        return TrailFault(noted.seq, text)
    return TrailFault(
        noted.seq, "It has another hash than was given: it, or something before it, was made anew."
    )


def _all(connection: Connection, behind: int) -> Iterator[Row[Any]]:
    while True:
        query = select(entries).where(_entry.seq > behind).order_by(_entry.seq).limit(_AT_ONCE)
        some = connection.execute(query).all()
        yield from some
        if len(some) < _AT_ONCE:
            return
        behind = some[-1].seq


# Pruning.


def cut(connection: Connection, before: datetime) -> Head:
    """Return up to where entries are older than a time, without a newer one among them; the anchor where none is.

    :param before: the time
    """
    anchor = connection.execute(select(_chain.anchor_seq).where(_chain.id == 1)).scalar_one()
    newer = connection.execute(select(func.min(_entry.seq)).where(_entry.time >= before)).scalar()
    end = _entry.seq > anchor if newer is None else (_entry.seq > anchor) & (_entry.seq < newer)
    last = connection.execute(
        select(_entry.seq, _entry.hash).where(end).order_by(_entry.seq.desc()).limit(1)
    ).one_or_none()
    return look_at_anchor(connection) if last is None else Head(last.seq, last.hash)


def look_at_anchor(connection: Connection) -> Head:
    """Return the newest entry that was pruned."""
    row = connection.execute(select(_chain.anchor_seq, _chain.anchor_hash).where(_chain.id == 1)).one()
    return Head(row.anchor_seq, row.anchor_hash)


def prune(connection: Connection, last: Head, limit: int = _AT_ONCE) -> int:
    """Delete the oldest entries, some at a time, and let the chain begin behind them.

    :param last: the newest that is to go
    :param limit: at most so many
    :returns: how many
    """
    # Locked first, as for adding: else two would wait for each other.
    connection.execute(select(chain).where(_chain.id == 1).with_for_update()).one()
    query = select(_entry.seq, _entry.hash).where(_entry.seq <= last.seq).order_by(_entry.seq).limit(limit)
    gone = connection.execute(query).all()
    if gone:
        # First, for up to here the guard lets entries be deleted.
        end = gone[-1]
        connection.execute(
            update(chain).where(_chain.id == 1).values(anchor_seq=end.seq, anchor_hash=end.hash)
        )
        connection.execute(delete(entries).where(_entry.seq <= end.seq))
    return len(gone)

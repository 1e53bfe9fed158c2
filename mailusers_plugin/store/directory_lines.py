"""Changes of the directory: lines are made from what the other tables say and replaced where they differ.

Each change has a number in the feed, in the order of the commits: whoever changes lines locks the feed's row first,
and reads the accounts after that, so that of two who read the same user the later one has read the later state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, select, update

from mailusers_plugin.models import ADMIN, Changed, Entry, Usage
from mailusers_plugin.store import directory, directory_search, directory_tally, news, schema
from mailusers_plugin.user_objects import FORM, encoded
from mailusers_plugin.validation import display_domain, parse_privileges, quota_bytes, split_address

_changed = schema.changed.c
_feed = schema.feed.c
_line = schema.directory.c
KEPT: Final = 10_000
"""So many changes are kept for pages that were away; who missed more reads everything anew."""
_SIZES: Final = frozenset(("box_bytes", "percent", "messages", "checked_at", "mark", "line"))
_NO_NEWS: Final = frozenset(("checked_at", "mark", "line"))
"""That a size was read again and is the same is stored, but nobody is told of it."""
_NAMES: Final = tuple(column.name for column in schema.directory.columns)
_KEY: Final = frozenset(("domain", "archived", "email"))
_AT: Final = and_(*(_line[name] == bindparam(f"at_{name}") for name in sorted(_KEY)))
_ABSENT: Final = -1
RECORD: Final = tuple(
    schema.archive.c[name]
    for name in ("email", "archived_at", "archived_by", "quota", "privileges", "purge_name", "kept_until")
)
"""What a line is made of; what is kept for undoing is no business of the directory."""
Line = dict[str, Any]
Size = tuple[int, int, str]
"""Bytes and messages in a mailbox, and when they were read, as :func:`time_text` gives it."""
Account = tuple[str, str, str]
"""Address, privileges and quota, as stored."""


def active_mark(privileges: str, quota: str, size: Size | None) -> int:
    """Return what tells an active user's line from one that is made of something else.

    :param privileges: as stored
    :param quota: as stored
    """
    return _mark(f"{FORM}\0{size}\0{quota}\0{privileges}")


def archived_mark(record: Row[Any] | None, size: Size | None) -> int:
    """Return the same for an archived user.

    :param record: our own, ``None`` for a mailbox that was there before us
    """
    facts: tuple[Any, ...] = ()
    if record is not None:
        facts = (record.privileges, record.quota, record.archived_at, record.archived_by)
        facts += (record.purge_name is not None, record.kept_until)
    return _mark(f"{FORM}\0archived\0{size}\0{facts!r}")


def _mark(made_of: str) -> int:
    digest = blake2b(made_of.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def time_text(time: datetime | str) -> str:
    """Return a time as it stands in a mark.

    :param time: as a driver gives it, or with its zone
    """
    if isinstance(time, str):
        # As SQLAlchemy stores it on SQLite.
        return time
    naive = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(" ", "microseconds")


def _size(usage: Usage | None) -> Size | None:
    if usage is None:
        return None
    return usage.box_bytes, usage.messages, time_text(usage.checked_at)


def active_line(account: Account, usage: Usage | None) -> Line:
    """Return the line of an active user."""
    email, stored, quota = account
    usage = _bounded(usage)
    privileges = parse_privileges(stored)
    admin = 2 if ADMIN in privileges else int(bool(privileges))
    return {
        **_common(email, privileges, quota, usage),
        "archived": 0,
        "privileged": admin,
        "archived_at": None,
        "archived_by": None,
        "purging": 0,
        "undo_until": None,
        "mark": active_mark(stored, quota, _size(usage)),
        "line": encoded(Entry(email, True, privileges, quota, usage)),
    }


def archived_line(email: str, record: Row[Any] | None, usage: Usage | None) -> Line:
    """Return the line of an archived user.

    :param record: our own, ``None`` for a mailbox that was there before us
    """
    usage = _bounded(usage)
    privileges = parse_privileges(record.privileges or "") if record is not None else ()
    quota = record.quota if record is not None else None
    archived_at, archived_by = (record and record.archived_at), (record and record.archived_by)
    purging = record is not None and record.purge_name is not None
    return {
        **_common(email, privileges, quota, usage),
        "archived": 1,
        "privileged": 0,
        "archived_at": archived_at,
        "archived_by": archived_by,
        "purging": int(purging),
        "undo_until": getattr(record, "kept_until", None),
        "mark": archived_mark(record, _size(usage)),
        "line": encoded(Entry(email, False, (), quota, usage, archived_at, archived_by, purging)),
    }


def _bounded(usage: Usage | None) -> Usage | None:
    """Return a size that the databases can hold, whatever its file says."""
    if usage is None or max(usage.box_bytes, usage.messages) <= schema.UNLIMITED:
        return usage
    sizes = (min(usage.box_bytes, schema.UNLIMITED), min(usage.messages, schema.UNLIMITED))
    return Usage(*sizes, usage.limit_bytes, usage.checked_at)


def _common(email: str, privileges: tuple[str, ...], quota: str | None, usage: Usage | None) -> Line:
    local_part, domain = split_address(email)
    label = display_domain(domain)
    limit = None if quota is None else quota_bytes(quota)
    # What other programs stored may be beyond what the databases can keep.
    limit = limit if limit is None else min(limit, schema.UNLIMITED - 1)
    size = None if usage is None else usage.box_bytes
    return {
        "email": email,
        "domain": domain,
        "shown": None if label == domain else f"{local_part}@{label}".lower()[:255],
        "privileges": "\n".join(privileges),
        "quota": quota,
        "limit_bytes": schema.UNKNOWN if limit is None else limit or schema.UNLIMITED,
        "box_bytes": schema.UNKNOWN if size is None else size,
        "percent": size / limit * 100 if size is not None and limit else float(schema.UNKNOWN),
        "messages": usage and usage.messages,
        "checked_at": usage and usage.checked_at,
    }


def lock(connection: Connection) -> None:
    """Keep others from changing the directory until the transaction ends."""
    connection.execute(update(schema.feed).values(newest=_feed.newest))


def replace(connection: Connection, wanted: Mapping[str, Line | None]) -> int:
    """Store lines that differ from those that are there, and tell the feed; :func:`lock` must have been called.

    :param wanted: by address, ``None`` for one that is to go; some thousand at the most
    :returns: how many were changed
    """
    present = {row.email: row._asdict() for row in directory.lines(connection, wanted)}
    kinds: dict[str, str] = {}
    gone: list[Line] = []
    come: list[Line] = []
    altered: dict[frozenset[str], list[Line]] = {}
    difference = directory_tally.Difference()
    for email, line in wanted.items():
        before = present.get(email)
        names = _different(before, line)
        if not names:
            continue
        if line is not None and names <= _NO_NEWS:
            altered.setdefault(names, []).append(line)
            continue
        kinds[email] = "size" if names <= _SIZES else "line"
        if before is not None:
            difference.add(before, -1)
        if line is not None:
            difference.add(line, 1)
        if before is not None and line is not None and not names & _KEY:
            altered.setdefault(names, []).append(line)
            continue
        if before is not None:
            gone.append(before)
        if line is not None:
            come.append(line)
    _store(connection, gone, come, altered)
    if kinds:
        difference.store(connection)
        _tell(connection, kinds, present, wanted)
    elif altered:
        connection.execute(update(schema.feed).values(silent=_feed.silent + 1))
    return len(kinds)


def _different(before: Line | None, line: Line | None) -> frozenset[str]:
    if before is None or line is None:
        return frozenset() if before is line else frozenset(_NAMES)
    return frozenset(name for name in _NAMES if before[name] != line[name])


def _store(
    connection: Connection,
    gone: Collection[Line],
    come: Iterable[Line],
    altered: Mapping[frozenset[str], Iterable[Line]],
) -> None:
    keys = [{f"at_{name}": line[name] for name in _KEY} for line in gone]
    if keys:
        connection.execute(delete(schema.directory).where(_AT), keys)
    lines = sorted(come, key=lambda line: (line["domain"], line["archived"], line["email"]))
    if lines:
        connection.execute(insert(schema.directory), lines)
        moved = {line["email"] for line in gone}
        directory_search.add(connection, [(line["email"], line["shown"]) for line in lines], moved)
    for names, some in altered.items():
        # Nothing but what is new, so that no index is touched for nothing.
        statement = (
            update(schema.directory).where(_AT).values({name: bindparam(f"new_{name}") for name in names})
        )
        connection.execute(
            statement,
            [
                {
                    **{f"at_{name}": line[name] for name in _KEY},
                    **{f"new_{name}": line[name] for name in names},
                }
                for line in some
            ],
        )


def _tell(
    connection: Connection,
    kinds: Mapping[str, str],
    present: Mapping[str, Line],
    wanted: Mapping[str, Line | None],
) -> None:
    newest = newest_change(connection) + len(kinds)
    first = newest - len(kinds) + 1
    connection.execute(update(schema.feed).values(newest=newest))
    told = [
        {
            "seq": seq,
            "email": email,
            "kind": kind,
            "was": _state(present.get(email)),
            "became": _state(wanted[email]),
        }
        for seq, (email, kind) in enumerate(kinds.items(), first)
    ]
    connection.execute(insert(schema.changed), told)
    connection.execute(delete(schema.changed).where(_changed.seq <= newest - KEPT))
    news.tell(connection)


def _state(line: Line | None) -> int:
    return _ABSENT if line is None else int(line["archived"])


def stored_accounts(connection: Connection, emails: Collection[str]) -> dict[str, Account]:
    """Return accounts of the box by address."""
    users = schema.users.c
    query = select(users.email, users.privileges, users.quota).where(users.email.in_(emails))
    return {row[0]: (row[0], row[1], row[2]) for row in connection.execute(query)}


def archive_records(connection: Connection, emails: Collection[str]) -> dict[str, Row[Any]]:
    """Return our own records of archived accounts by address."""
    query = select(*RECORD).where(schema.archive.c.email.in_(emails))
    return {row.email: row for row in connection.execute(query)}


def is_built(connection: Connection) -> bool:
    """Tell whether the directory was ever whole."""
    return connection.execute(select(_feed.built_at)).scalar() is not None


def set_built(connection: Connection, now: datetime) -> None:
    """Remember that the directory is whole."""
    connection.execute(update(schema.feed).values(built_at=now))


def begin_epoch(connection: Connection, epoch: str) -> None:
    """Make all that was known of the directory's state so far another one's.

    :param epoch: chosen at random
    """
    connection.execute(update(schema.feed).values(epoch=epoch))


def newest_change(connection: Connection) -> int:
    """Return the number of the newest change, 0 where there was none."""
    return int(connection.execute(select(_feed.newest)).scalar_one())


def changes(connection: Connection, after: int, limit: int) -> list[Changed] | None:
    """Return the changes behind a number, oldest first; ``None`` where some are not kept any more.

    A number beyond the newest comes from before a backup was restored; then nothing that a page shows is certain.
    """
    newest = newest_change(connection)
    if after > newest:
        return None
    oldest = connection.execute(select(func.min(_changed.seq))).scalar()
    if after < newest and (oldest is None or oldest > after + 1):
        return None
    query = select(_changed.seq, _changed.email, _changed.kind, _changed.was, _changed.became)
    query = query.where(_changed.seq > after)
    return [Changed(*row) for row in connection.execute(query.order_by(_changed.seq).limit(limit))]

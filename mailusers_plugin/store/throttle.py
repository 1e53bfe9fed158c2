"""Log-ins that failed lately, counted by network and account; :mod:`mailusers_plugin.auth.throttle` says why so.

Each counter is a time at which all its failures are forgotten. A failure moves it on by the counter's step, so that
one statement counts, whatever other processes do meanwhile, and nothing has to be decayed (the generic cell rate
algorithm, ITU-T I.371). Times are milliseconds since 1970 of the machine that writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from mailusers_plugin.models import Account
from mailusers_plugin.store import accounts, schema
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.lookups import Lookup

NETWORK: Final = "network"
WIDE: Final = "wide"
PAIR: Final = "pair"
ACCOUNT: Final = "account"
FAMILIAR: Final = "familiar"
"""Kinds: failures of a network, of the /48 around it, of an account from a network, of an account; and a network from
which the user of an account has logged in while others were guessing."""

_MAX_TEXT: Final = 255
_counter = schema.throttle.c
_session = schema.session.c


@dataclass(frozen=True, slots=True)
class Counter:
    """What a failure is counted by.

    :ivar key: what it is found by
    :ivar step_ms: how long one failure is remembered behind those before it
    :ivar window_ms: how long as many are remembered as are allowed
    :ivar keep_ms: how long the last failure itself must be known
    """

    key: str
    kind: str
    email: str
    network: str
    step_ms: int
    window_ms: int
    keep_ms: int = 0


class Standing(NamedTuple):
    """The counters that concern one attempt: times in milliseconds, ``None`` where nothing is counted."""

    network: int | None = None
    wide: int | None = None
    pair: int | None = None
    pair_last: int | None = None
    account: int | None = None


class Keys(NamedTuple):
    """The keys of the counters that concern one attempt."""

    network: str
    wide: str
    pair: str
    account: str


def keys_of(email: str, network: str, wide: str) -> Keys:
    """Return the keys of the counters of an account and a network.

    :param wide: the network around it, empty where there is none
    """
    return Keys(
        key_of(NETWORK, "", network),
        key_of(WIDE, "", wide),
        key_of(PAIR, email, network),
        key_of(ACCOUNT, email, ""),
    )


def key_of(kind: str, email: str, network: str) -> str:
    """Return the key of a counter: what callers send may be of any length."""
    return hashlib.sha256(f"{kind}\0{network}\0{email}".encode("utf-8", "replace")).hexdigest()


def _time(kind: str, column: Any) -> Any:
    return func.max(case((_counter.key_hash == bindparam(kind), column)))


_KINDS: Final = (NETWORK, WIDE, PAIR, ACCOUNT)
_STANDING: Final = select(
    _time(NETWORK, _counter.drained_at).label("network"),
    _time(WIDE, _counter.drained_at).label("wide"),
    _time(PAIR, _counter.drained_at).label("pair"),
    _time(PAIR, _counter.last_at).label("pair_last"),
    _time(ACCOUNT, _counter.drained_at).label("account"),
).where(or_(*(_counter.key_hash == bindparam(kind) for kind in _KINDS)))
_FIND: Final = Lookup(_STANDING, Standing, *_KINDS)


def _both(*columns: Any) -> tuple[Standing, Any]:
    standing, rest = Standing(*columns[:5]), columns[5:]
    return standing, None if rest[0] is None else accounts.FIND.make(*rest)


_found = _STANDING.subquery()
_login = accounts.FIND.query.subquery()
_FIND_BOTH: Final = Lookup(
    select(*_found.c, *_login.c).select_from(_found.outerjoin(_login, true())),
    _both,
    *_KINDS,
    *accounts.FIND.names,
)
_FIND_FAMILIAR: Final[Lookup[bool]] = Lookup(
    select(
        or_(
            exists().where(_counter.key_hash == bindparam("key"), _counter.kept_until > bindparam("now")),
            exists().where(_session.email == bindparam("email"), _session.network == bindparam("network")),
        )
    ),
    bool,
    "key",
    "now",
    "email",
    "network",
)


def find_now(state: Database, keys: Keys) -> Standing:
    """Return what is counted. Blocks, for some µs on SQLite.

    :raises UnavailableError: if the database is away, or locked for too long
    """
    return state.look_up_now(_FIND, *keys) or Standing()


def find_with_account_now(
    state: Database, database: Database, email: str, keys: Keys
) -> tuple[Standing, Account | None]:
    """Return what is counted, and what :data:`accounts.FIND` finds. Blocks, for some µs on SQLite.

    One query where both are in one database, as for a session; on SQLite one in each of two files.

    :raises UnavailableError: if one is away, or locked for too long
    """
    if state is database:
        found: Any = state.look_up_now(_FIND_BOTH, *keys, email)
        return found  # type: ignore[no-any-return]
    standing = find_now(state, keys)
    return standing, database.look_up_now(accounts.FIND, email)


def is_familiar_now(state: Database, email: str, network: str, now_ms: int) -> bool:
    """Tell whether the user of an account has logged in from a network lately. Blocks, for some µs on SQLite.

    Known by the sessions that were begun from there, and by what :func:`remember` has written.

    :raises UnavailableError: if the database is away, or locked for too long
    """
    values = (key_of(FAMILIAR, email, network), now_ms, email, network)
    found: bool | None = state.look_up_now(_FIND_FAMILIAR, *values)
    return found is True


def count(connection: Connection, counters: Sequence[Counter], now_ms: int) -> None:
    """Count a failure.

    A counter that lies further ahead than twice its window was written by a clock that was wrong: it begins anew.
    """
    # In one order, so that two who count the same do not wait for each other.
    for counter in sorted(counters, key=lambda one: one.key):
        drained = case(
            (
                and_(
                    _counter.drained_at > now_ms,
                    _counter.drained_at < literal(now_ms + 2 * counter.window_ms),
                ),
                _counter.drained_at + counter.step_ms,
            ),
            else_=now_ms + counter.step_ms,
        )
        # MariaDB reads the drained_at that it has just written here, and keeps the row for a step longer: no harm.
        kept = case((drained > now_ms + counter.keep_ms, drained), else_=now_ms + counter.keep_ms)
        change = (
            update(schema.throttle)
            .where(_counter.key_hash == counter.key)
            .values(drained_at=drained, last_at=now_ms, kept_until=kept)
        )
        if connection.execute(change).rowcount == 0 and not _insert(
            connection,
            counter,
            now_ms + counter.step_ms,
            now_ms,
            now_ms + max(counter.step_ms, counter.keep_ms),
        ):
            # Another process has inserted it meanwhile.
            connection.execute(change)


def remember(connection: Connection, email: str, network: str, now_ms: int, until_ms: int) -> None:
    """Remember that the user of an account has logged in from a network.

    :param until_ms: for how long that counts
    """
    change = (
        update(schema.throttle)
        .where(_counter.key_hash == key_of(FAMILIAR, email, network))
        .values(last_at=now_ms, kept_until=until_ms)
    )
    if connection.execute(change).rowcount == 0:
        key = key_of(FAMILIAR, email, network)
        _insert(connection, Counter(key, FAMILIAR, email, network, 0, 0), 0, now_ms, until_ms)


def _insert(
    connection: Connection, counter: Counter, drained_ms: int, now_ms: int, kept_until_ms: int
) -> bool:
    savepoint = connection.begin_nested()
    try:
        connection.execute(
            insert(schema.throttle).values(
                key_hash=counter.key,
                kind=counter.kind,
                email=_storable(counter.email),
                network=counter.network,
                drained_at=drained_ms,
                last_at=now_ms,
                kept_until=kept_until_ms,
            )
        )
    except IntegrityError:
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _storable(email: str) -> str:
    """Return what is shown of an address that somebody has sent: any text at all."""
    return "".join(c if c.isprintable() else "?" for c in email[:_MAX_TEXT])


def sweep(connection: Connection, now_ms: int) -> None:
    """Delete what counts no more."""
    connection.execute(delete(schema.throttle).where(_counter.kept_until <= now_ms))


def listing(connection: Connection, now_ms: int) -> list[dict[str, Any]]:
    """Return what is counted, the last failure first."""
    query = select(schema.throttle).where(_counter.kept_until > now_ms).order_by(_counter.last_at.desc())
    return [
        {
            "kind": row.kind,
            "email": row.email,
            "network": row.network,
            "drained_at": row.drained_at,
            "last_at": row.last_at,
        }
        for row in connection.execute(query)
    ]


def clear(connection: Connection, email: str | None, network: str | None) -> int:
    """Forget failures; what is familiar stays.

    :param email: only those to this account, of any where ``None``
    :param network: only those from this network, of any where ``None``
    :returns: how many counters there were
    """
    doomed = delete(schema.throttle).where(_counter.kind != FAMILIAR)
    if email is not None:
        doomed = doomed.where(_counter.email == email)
    if network is not None:
        doomed = doomed.where(_counter.network == network)
    return connection.execute(doomed).rowcount

"""Queries and changes of the mail users and of what is known of archived ones.

Each function takes a connection inside a transaction. Those that change something are run by
:meth:`Database.write`, so what they check holds until they have written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailusers_plugin.errors import UnknownUserError, UserExistsError
from mailusers_plugin.models import ADMIN, Account, Actor, ArchivedUser, Usage
from mailusers_plugin.store import schema, second_factors
from mailusers_plugin.store.lookups import Lookup
from mailusers_plugin.validation import parse_privileges, split_address

_users = schema.users.c
_archive = schema.archive.c
_BATCH: Final = 500


def account(email: str, password: str, privileges: str, quota: str, *factors: Any) -> Account:
    """Return an account, from columns as they are stored.

    :param factors: what its second factors are, see :data:`second_factors.STATE`; left out where that is not asked for
    """
    mark = second_factors.mark(*factors) if factors else ""
    return Account(email, password, parse_privileges(privileges), quota, mark)


_COLUMNS: Final = (_users.email, _users.password, _users.privileges, _users.quota)
FIND: Final = Lookup(
    select(*_COLUMNS, *second_factors.STATE).where(_users.email == bindparam("email")), account, "email"
)
"""Finds an active account by its address, with the mark of its second factors; see :meth:`Database.look_up`."""


def find(connection: Connection, email: str, *, lock: bool = False) -> Account | None:
    """Return an active account, ``None`` where there is none.

    :param lock: keep others from changing it until the transaction ends; on SQLite that is so in any case
    """
    query = select(*_COLUMNS).where(_users.email == email)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else account(*row)


def get(connection: Connection, email: str, *, lock: bool = False) -> Account:
    """Return an active account.

    :param lock: as in :func:`find`
    :raises UnknownUserError: if there is none
    """
    account = find(connection, email, lock=lock)
    if account is None:
        raise UnknownUserError(email)
    return account


def decoy_hash(connection: Connection, number: int) -> str | None:
    """Return somebody's password hash, chosen by a number, for spending the time of a verification.

    :param number: not negative; the same number gives the same account while the table stays
    """
    first, last = connection.execute(select(func.min(_users.id), func.max(_users.id))).one()
    if first is None:
        return None
    start = first + number % (last - first + 1)
    query = select(_users.password).where(_users.id >= start).order_by(_users.id).limit(1)
    return connection.execute(query).scalar()


def any_exists(connection: Connection) -> bool:
    """Tell whether there is any mail user."""
    return connection.execute(select(_users.id).limit(1)).first() is not None


def administrators(connection: Connection, *, lock: bool = False) -> tuple[str, ...]:
    """Return the addresses of the administrators; a partial index makes this independent of the others.

    :param lock: keep others from changing them until the transaction ends. To be asked for before any other lock, so
        that two transactions do not wait for each other
    """
    query = select(_users.email, _users.privileges).where(_users.privileges != "").order_by(_users.email)
    rows = connection.execute(query.with_for_update() if lock else query)
    return tuple(email for email, privileges in rows if ADMIN in parse_privileges(privileges))


def hold_additions(connection: Connection, *, exclusively: bool) -> None:
    """Let additions and what decides by who is *not* there wait for each other, until the transaction ends.

    Rows that do not exist cannot be locked: without this the first administrator could be made twice, and a mailbox
    deleted whose address is being added. On SQLite writers wait for each other in any case. To be asked for before
    any other lock.

    :param exclusively: wait for all others; without it only for those that do
    """
    if connection.dialect.name != "sqlite":
        # Rows that are always there, and that nothing but an upgrade changes.
        version = schema.version.c.version_num
        query = select(version).order_by(version).with_for_update(read=not exclusively)
        connection.execute(query).all()


def add(connection: Connection, account: Account) -> None:
    """Insert an account.

    :raises UserExistsError: if the address is in use
    """
    try:
        connection.execute(
            insert(schema.users).values(
                email=account.email,
                password=account.password_hash,
                privileges="\n".join(account.privileges),
                quota=account.quota,
            )
        )
    except IntegrityError:
        raise UserExistsError from None


def add_all(connection: Connection, added: Sequence[Account]) -> None:
    """Insert accounts, and drop our own records of those that were archived.

    :param added: at least one
    :raises UserExistsError: if an address is in use
    """
    values = [
        {
            "email": account.email,
            "password": account.password_hash,
            "privileges": "\n".join(account.privileges),
            "quota": account.quota,
        }
        for account in added
    ]
    try:
        connection.execute(insert(schema.users), values)
    except IntegrityError:
        raise UserExistsError from None
    for some in _batches([account.email for account in added]):
        connection.execute(delete(schema.archive).where(_archive.email.in_(some)))


def in_use(connection: Connection, emails: Sequence[str]) -> set[str]:
    """Return which of some addresses are those of active accounts."""
    found: set[str] = set()
    for some in _batches(emails):
        found.update(connection.execute(select(_users.email).where(_users.email.in_(some))).scalars())
    return found


def archived_records(connection: Connection, emails: Sequence[str]) -> dict[str, bool]:
    """Return which of some addresses we have a record of an archive of, and whether that is being deleted."""
    found: dict[str, bool] = {}
    for some in _batches(emails):
        query = select(_archive.email, _archive.purge_name).where(_archive.email.in_(some))
        found.update((email, name is not None) for email, name in connection.execute(query))
    return found


def archived_with_privileges(connection: Connection, emails: Sequence[str]) -> set[str]:
    """Return which of some addresses are those of archived accounts that had privileges."""
    found: set[str] = set()
    for some in _batches(emails):
        query = select(_archive.email).where(_archive.email.in_(some), _archive.privileges != "")
        found.update(connection.execute(query).scalars())
    return found


def _batches(emails: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(emails), _BATCH):
        yield emails[start : start + _BATCH]


def remove(connection: Connection, email: str) -> None:
    """Delete an account and its second factors, as the foreign key of the schema wants."""
    user_id = select(_users.id).where(_users.email == email).scalar_subquery()
    connection.execute(delete(schema.mfa).where(schema.mfa.c.user_id == user_id))
    connection.execute(delete(schema.users).where(_users.email == email))


def set_quota(connection: Connection, email: str, quota: str) -> None:
    """Store a quota."""
    connection.execute(update(schema.users).where(_users.email == email).values(quota=quota))


def set_privileges(connection: Connection, email: str, privileges: Sequence[str]) -> None:
    """Store the privileges."""
    connection.execute(
        update(schema.users).where(_users.email == email).values(privileges="\n".join(privileges))
    )


def set_password(connection: Connection, email: str, password_hash: str) -> None:
    """Store a password's hash."""
    connection.execute(update(schema.users).where(_users.email == email).values(password=password_hash))


def replace_hash(connection: Connection, email: str, old_hash: str, new_hash: str) -> bool:
    """Replace a hash of the same password by a stronger one, unless it was changed meanwhile."""
    result = connection.execute(
        update(schema.users)
        .where(_users.email == email, _users.password == old_hash)
        .values(password=new_hash)
    )
    return result.rowcount == 1


def addresses(connection: Connection) -> list[str]:
    """Return the active addresses by domain, then address."""
    found = connection.execute(select(_users.email)).scalars().all()
    return sorted(found, key=_by_domain)


def _by_domain(email: str) -> tuple[str, str]:
    return split_address(email)[1], email


def everybody(connection: Connection) -> list[tuple[str, tuple[str, ...], str]]:
    """Return address, privileges and quota of the active users, in no particular order.

    All rows are fetched at once: a read that is open while somebody commits keeps Postfix out on a rollback journal.
    """
    rows = connection.execute(select(_users.email, _users.privileges, _users.quota)).all()
    return [(email, parse_privileges(privileges), quota) for email, privileges, quota in rows]


def keep_archived(connection: Connection, account: Account, actor: Actor, archived_at: datetime) -> None:
    """Remember who archived an account, when, and what it had."""
    connection.execute(delete(schema.archive).where(_archive.email == account.email))
    connection.execute(
        insert(schema.archive).values(
            email=account.email,
            archived_at=archived_at,
            archived_by=actor.name,
            archived_via=actor.via,
            quota=account.quota,
            privileges="\n".join(account.privileges),
        )
    )


def archive_record(connection: Connection, email: str, *, lock: bool = False) -> Row[Any] | None:
    """Return our own record of an archived account.

    :param lock: as in :func:`find`
    """
    query = select(schema.archive).where(_archive.email == email)
    return connection.execute(query.with_for_update() if lock else query).first()


def forget_archived(connection: Connection, email: str) -> None:
    """Drop our own record of an archived account."""
    connection.execute(delete(schema.archive).where(_archive.email == email))


def begin_purge(connection: Connection, email: str, purge_name: str, started_at: datetime) -> str:
    """Remember that a mailbox is about to be deleted, and the name under which that happens.

    :returns: the name; an earlier purge that did not end keeps its own
    """
    record = archive_record(connection, email)
    if record is not None and record.purge_name is not None:
        return str(record.purge_name)
    if record is None:
        connection.execute(insert(schema.archive).values(email=email))
    connection.execute(
        update(schema.archive)
        .where(_archive.email == email)
        .values(purge_name=purge_name, purge_started_at=started_at)
    )
    return purge_name


def archive_records(connection: Connection) -> list[Row[Any]]:
    """Return our own records of all archived accounts."""
    return list(connection.execute(select(schema.archive)).all())


def archived_user(email: str, mailbox: str, record: Row[Any] | None, usage: Usage | None) -> ArchivedUser:
    """Put together what is known of an archived account."""
    if record is None:
        return ArchivedUser(email, mailbox, None, None, None, usage)
    return ArchivedUser(
        email,
        mailbox,
        record.quota,
        record.archived_at,
        record.archived_by,
        usage,
        purging=record.purge_name is not None,
    )

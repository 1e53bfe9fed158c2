"""What is known of the mailboxes' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mailusers_plugin.models import KnownSize, Measured, Usage
from mailusers_plugin.store import schema

_usage = schema.usage.c
_pass = schema.usage_pass.c
_BATCH: Final = 500


def known(connection: Connection) -> dict[str, Usage]:
    """Return all sizes by address."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.checked_at)
    return {email: Usage(*size) for email, *size in connection.execute(query).all()}


def of(connection: Connection, email: str) -> Usage | None:
    """Return one mailbox's size."""
    query = select(_usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.checked_at)
    row = connection.execute(query.where(_usage.email == email)).first()
    return None if row is None else Usage(*row)


def some(connection: Connection, emails: Iterable[str]) -> dict[str, Usage]:
    """Return some mailboxes' sizes by address."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.checked_at)
    rows = connection.execute(query.where(_usage.email.in_(list(emails)))).all()
    return {email: Usage(*size) for email, *size in rows}


def known_sizes(connection: Connection, emails: Sequence[str]) -> dict[str, KnownSize]:
    """Return what it takes to compare, of some mailboxes, by address."""
    query = select(_usage.email, _usage.box_bytes, _usage.messages, _usage.limit_bytes, _usage.mark)
    rows = connection.execute(query.where(_usage.email.in_(emails))).all()
    return {email: KnownSize(*size) for email, *size in rows}


def marks(connection: Connection, emails: Sequence[str]) -> dict[str, int | None]:
    """Return the marks of those mailboxes whose size is known, by address."""
    query = select(_usage.email, _usage.mark).where(_usage.email.in_(emails))
    return {row[0]: row[1] for row in connection.execute(query).all()}


def addresses_after(connection: Connection, email: str) -> list[str]:
    """Return the next addresses of which a size is known, by address, some hundred; none at the end.

    :param email: the last one before; empty for the first
    """
    query = select(_usage.email).where(_usage.email > email).order_by(_usage.email).limit(_BATCH)
    return list(connection.execute(query).scalars())


def users_after(connection: Connection, email: str, limit: int) -> list[str]:
    """Return the next active users' addresses, by address; none at the end. Takes the accounts' database.

    :param email: the last one before; empty for the first
    """
    users = schema.users.c
    query = select(users.email).where(users.email > email).order_by(users.email).limit(limit)
    return list(connection.execute(query).scalars())


def replace(
    connection: Connection, changed: Mapping[str, Usage | Measured], gone: Iterable[str] = ()
) -> None:
    """Store new sizes and drop those of mailboxes that are no more.

    :param changed: by address
    :param gone: addresses
    """
    # Of two the later one must see, and take away, what the earlier one has stored.
    connection.execute(select(_pass.position).with_for_update()).all()
    # In one order, so that two who do the same wait for each other and not both for ever.
    addresses = sorted((*changed, *gone))
    for start in range(0, len(addresses), _BATCH):
        connection.execute(delete(schema.usage).where(_usage.email.in_(addresses[start : start + _BATCH])))
    if changed:
        connection.execute(
            insert(schema.usage), [_values(email, changed[email]) for email in sorted(changed)]
        )


def _values(email: str, size: Usage | Measured) -> dict[str, object]:
    usage, mark = (size.usage, size.mark) if isinstance(size, Measured) else (size, None)
    return {
        "email": email,
        "box_bytes": usage.box_bytes,
        "messages": usage.messages,
        "limit_bytes": usage.limit_bytes,
        "checked_at": usage.checked_at,
        "mark": mark,
    }


def set_marks(connection: Connection, marks: Mapping[str, int | None]) -> None:
    """Store marks of mailboxes whose figures are the same as before.

    :param marks: by address
    """
    change = update(schema.usage).where(_usage.email == bindparam("of")).values(mark=bindparam("to"))
    connection.execute(change, [{"of": email, "to": marks[email]} for email in sorted(marks)])


def begin_pass(connection: Connection, source: str) -> str:
    """Begin to read all sizes.

    :param source: where they are read from; another one than before begins at the beginning
    :returns: the position of a pass that was interrupted; empty for the beginning
    """
    found = connection.execute(select(_pass.source, _pass.position)).one()
    if found.source == source:
        return str(found.position)
    connection.execute(update(schema.usage_pass).values(source=source, position="", began_at=None))
    return ""


def mark_pass(connection: Connection, position: str) -> None:
    """Say how far a pass is.

    :param position: where the next one goes on if this one ends here; empty for the beginning
    """
    connection.execute(update(schema.usage_pass).values(position=position))


def end_pass(connection: Connection, began_at: datetime | None) -> None:
    """Say that a pass came to its end.

    :param began_at: when it began, ``None`` where it was the rest of another one
    """
    change = update(schema.usage_pass).values(position="")
    connection.execute(change if began_at is None else change.values(began_at=began_at))


def last_pass(connection: Connection) -> tuple[str, datetime | None]:
    """Return the source that was read last, and when the last pass began that read everything, ``None`` for never.

    What is known of a mailbox was true at that time, however long before it was found out.
    """
    found = connection.execute(select(_pass.source, _pass.began_at)).one()
    return found.source, found.began_at

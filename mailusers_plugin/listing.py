"""The list of users: active and archived, grouped by domain, with sizes; and its form in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import ArchivedUser, Usage, User
from mailusers_plugin.store import accounts, usage
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.validation import (
    display_domain,
    display_percent,
    display_quota,
    display_size,
    quota_bytes,
    split_address,
)

UNKNOWN = "?"
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Domain:
    """The users of one domain.

    :ivar name: as stored (ASCII)
    :ivar users: active ones by address
    :ivar archived: archived ones by address
    """

    name: str
    users: list[User]
    archived: list[ArchivedUser]


class Listing:
    """Puts the list together, from the database and the mail store, outside the event loop."""

    def __init__(self, database: Database, state: Database, mailboxes: Mailboxes) -> None:
        """Take the three.

        :param state: where the sizes are
        """
        self._database = database
        self._state = state
        self._mailboxes = mailboxes

    async def domains(self) -> list[Domain]:
        """Return the domains by name, each with its users.

        :raises StorageError: if the mail store cannot be read
        """
        return await asyncio.to_thread(self._collect)

    async def json(self) -> list[bytes]:
        """Return the contract's JSON list in pieces of some 64 KiB.

        :raises StorageError: if the mail store cannot be read
        """
        return await asyncio.to_thread(lambda: list(_encode(self._collect())))

    async def user(self, email: str) -> User | None:
        """Return an active user, ``None`` where the address is archived or unknown."""
        account = await self._database.read(accounts.find, email)
        if account is None:
            return None
        return User(email, account.privileges, account.quota, await self._state.read(usage.of, email))

    async def archived(self, email: str) -> ArchivedUser | None:
        """Return one archived account, ``None`` where the address is active or unknown."""
        on_disk = await asyncio.to_thread(self._mailboxes.exists, email)
        if await self._database.read(accounts.find, email) is not None:
            return None
        record = await self._database.read(accounts.archive_record, email)
        if record is None and not on_disk:
            return None
        size = await self._state.read(usage.of, email)
        return accounts.archived_user(email, self._mailboxes.path(email), record, size)

    def _collect(self) -> list[Domain]:
        on_disk = self._mailboxes.scan().mailboxes
        sizes = self._state.read_now(usage.known)
        everybody, records = self._database.read_now(_read)
        domains: dict[str, Domain] = {}

        def domain_of(email: str) -> Domain:
            name = split_address(email)[1]
            return domains.setdefault(name, Domain(name, [], []))

        for email, privileges, quota in everybody:
            domain_of(email).users.append(User(email, privileges, quota, sizes.get(email)))
        active = {email for email, _, _ in everybody}
        kept = {record.email: record for record in records}
        for email in ({f"{local}@{domain}" for domain, local in on_disk} | kept.keys()) - active:
            path = self._mailboxes.path(email)
            found = accounts.archived_user(email, path, kept.get(email), sizes.get(email))
            domain_of(email).archived.append(found)
        for domain in domains.values():
            domain.users.sort(key=lambda user: user.email)
            domain.archived.sort(key=lambda user: user.email)
        return sorted(domains.values(), key=lambda domain: domain.name)


def _read(connection: Connection) -> tuple[list[tuple[str, tuple[str, ...], str]], list[Any]]:
    return accounts.everybody(connection), accounts.archive_records(connection)


def user_object(user: User) -> dict[str, Any]:
    """Return an active user as the contract shows it."""
    return {
        "email": user.email,
        "privileges": user.privileges,
        "status": "active",
        "quota": display_quota(user.quota),
        **_sizes(user.quota, user.usage),
    }


def archived_object(user: ArchivedUser) -> dict[str, Any]:
    """Return an archived user as the contract shows it, and with what we know besides."""
    return {
        "email": user.email,
        "privileges": (),
        "status": "inactive",
        "mailbox": user.mailbox,
        "quota": UNKNOWN if user.quota is None else display_quota(user.quota),
        **_sizes(user.quota or UNKNOWN, user.usage),
        "archived_at": user.archived_at and user.archived_at.isoformat(),
        "archived_by": user.archived_by,
        "purging": user.purging,
    }


def percent(quota: str, usage: Usage | None) -> str:
    """Return how full a mailbox is: empty where it has no limit, ``?`` where that is not known."""
    limit = quota_bytes(quota)
    if limit == 0:
        return ""
    if limit is None or usage is None:
        return UNKNOWN
    return display_percent(usage.box_bytes, limit)


def _sizes(quota: str, usage: Usage | None) -> dict[str, Any]:
    limit = quota_bytes(quota)
    return {
        "box_quota": UNKNOWN if limit is None else limit,
        "box_size": UNKNOWN if usage is None else display_size(usage.box_bytes),
        "box_size_bytes": None if usage is None else usage.box_bytes,
        "percent": percent(quota, usage),
        "size_checked_at": None if usage is None else usage.checked_at.isoformat(timespec="seconds"),
    }


def _encode(domains: Iterable[Domain]) -> Iterator[bytes]:
    """Encode user by user, so that no piece is larger than it need be."""
    pieces = [b"["]
    size = 0
    for number, domain in enumerate(domains):
        pieces.append(b"%s\n{" % (b"," if number else b""))
        pieces.append(b'"domain":%s,"users":[' % orjson.dumps(display_domain(domain.name)))
        objects = [user_object(user) for user in domain.users]
        objects += [archived_object(user) for user in domain.archived]
        for position, value in enumerate(objects):
            encoded = b"%s\n%s" % (b"," if position else b"", orjson.dumps(value))
            pieces.append(encoded)
            size += len(encoded)
            if size > _CHUNK_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
        pieces.append(b"]}")
    yield b"".join([*pieces, b"]\n"])

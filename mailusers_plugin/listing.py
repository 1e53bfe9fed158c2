"""The list of users: active and archived, grouped by domain, with sizes; and its form in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import orjson

from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import ArchivedUser, LinePage, ListState, User
from mailusers_plugin.store import accounts, directory_list, usage
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.snapshots import Snapshot, Snapshots
from mailusers_plugin.user_objects import place, placed
from mailusers_plugin.validation import display_domain, split_address

_DOMAIN: Final = itemgetter(0)
_LINES: Final = 500
"""In one part; to read and put together takes 0.5 ms, in which the event loop waits at most once."""
_ADDRESSES: Final = 3000


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
        self._snapshots = Snapshots(state)

    async def domains(self) -> list[Domain]:
        """Return the domains by name, each with its users.

        :raises StorageError: if the mail store cannot be read
        """
        return await asyncio.to_thread(self._collect)

    @asynccontextmanager
    async def everything(
        self, *, as_json: bool
    ) -> AsyncIterator[tuple[ListState | None, AsyncIterator[bytes]]]:
        """Give the whole list in parts of some 100 KB, as the directory is at this moment, and which state that is.

        :param as_json: the contract's JSON list, else the active users' addresses, one a line
        :raises UnavailableError: if the database is away, or too many lists are read at once
        """
        async with self._snapshots.open() as snapshot:
            state = await snapshot.read(directory_list.state)
            read = self._json_parts() if as_json else _text_parts()
            async with aclosing(_ahead(snapshot, read)) as parts:
                yield state, parts

    def _json_parts(self) -> Callable[[Connection], bytes | None]:
        written = JSONList(str(self._mailboxes.root))
        position = directory_list.START
        over = False

        def read(connection: Connection) -> bytes | None:
            nonlocal position, over
            if over:
                return None
            lines = directory_list.lines(connection, position, _LINES)
            part = written.part(lines)
            if len(lines) < _LINES:
                over = True
                return part + written.end()
            position = directory_list.position(lines[-1])
            return part

        return read

    def page(self, page: LinePage) -> bytes:
        """Return a page in the shape of the contract's JSON list."""
        # Sorted by something else a domain may come more than once: neighbours are together.
        written = JSONList(str(self._mailboxes.root))
        return written.part(page.lines) + written.end()

    def mailbox(self, email: str) -> str:
        """Return the directory of an address's mail, for showing it."""
        return self._mailboxes.path(email)

    def reading(self) -> int:
        """Return how many lists are being read."""
        return self._snapshots.count()

    def close(self) -> None:
        """End the lists that are being read. Blocks."""
        self._snapshots.close()

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


def _text_parts() -> Callable[[Connection], bytes | None]:
    position = ("", "")
    over = False

    def read(connection: Connection) -> bytes | None:
        nonlocal position, over
        if over:
            return None
        rows = directory_list.addresses(connection, position, _ADDRESSES)
        if len(rows) < _ADDRESSES:
            over = True
        else:
            position = rows[-1]
        return "".join([f"{email}\n" for _, email in rows]).encode()

    return read


async def _ahead(
    snapshot: Snapshot, read: Callable[[Connection], bytes | None]
) -> AsyncGenerator[bytes, None]:
    """Yield parts; while one is being sent the next one is read, but no more."""
    following = asyncio.ensure_future(snapshot.read(read))
    try:
        while (part := await following) is not None:
            following = asyncio.ensure_future(snapshot.read(read))
            yield part
    finally:
        following.add_done_callback(lambda future: future.cancelled() or future.exception())


class JSONList:
    """Puts the contract's JSON list together from lines of the directory that come some hundred at a time."""

    def __init__(self, mail_store: str) -> None:
        """Begin.

        :param mail_store: the folder of the domains' folders
        """
        self._place = place(mail_store)
        self._domain: str | None = None

    def part(self, lines: Iterable[tuple[str, str]]) -> bytes:
        """Return the next part.

        :param lines: domain and encoded user object of each, in the order of the list
        """
        pieces = []
        for domain, some in groupby(lines, key=_DOMAIN):
            users = ",\n".join(line for _, line in some)
            if domain == self._domain:
                pieces.append(f",\n{users}")
                continue
            name = orjson.dumps(display_domain(domain)).decode()
            before = "[" if self._domain is None else "]},"
            pieces.append(f'{before}\n{{"domain":{name},"users":[\n{users}')
            self._domain = domain
        return placed("".join(pieces).encode(), self._place)

    def end(self) -> bytes:
        """Return the last part."""
        return b"[]\n" if self._domain is None else b"]}]\n"

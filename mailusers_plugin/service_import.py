"""Adding many users at once: checking them, hashing their passwords, and one transaction for all."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mailusers_plugin import events, service_guard, validation
from mailusers_plugin.directory import Directory
from mailusers_plugin.dispatch import Dispatcher, ask_validators
from mailusers_plugin.errors import (
    InvalidInputError,
    MailUsersError,
    RestoreConsentError,
    UnavailableError,
    UserExistsError,
)
from mailusers_plugin.given_hashes import check_hash
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.import_models import Added, Candidate, Fault, Line, Outcome, Row
from mailusers_plugin.made_passwords import suggest_password
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.models import Account, Actor, AddRequest
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.service import Service
from mailusers_plugin.service_changes import DOMAIN_CONTROL
from mailusers_plugin.service_undo import PURGING
from mailusers_plugin.store import accounts, outbox
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.texts import N_

T = TypeVar("T")

_ATTEMPTS: Final = 5
_BUSY_SECONDS: Final = 0.5
_PRIVILEGE_SEPARATOR: Final = "|"
_WORKERS: Final = 8
"""Lines at once, at least. Fewer are hashed at once; the others wait for modules that look at new users."""
_TWO_PASSWORDS: Final = N_("A line has a password or the hash of one, not both.")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the addresses of a file.

    :ivar in_use: of active accounts
    :ivar records: our own of archived ones, and whether the mailbox is being deleted
    :ivar any_account: whether the box has any
    """

    in_use: set[str]
    records: dict[str, bool]
    any_account: bool


@dataclass(slots=True)
class FileSoFar:
    """What the lines before have said, where a file is checked piece by piece.

    :ivar first_line: takes an address and the line that it is on; returns the line on which it stands first
    :ivar has_user: whether one of them could be added
    """

    first_line: Callable[[str, int], int] = field(default_factory=lambda: dict[str, int]().setdefault)
    has_user: bool = False


class BulkAdd:
    """Adds many users as :meth:`mailusers_plugin.service.Service.add` adds one, by the same rules and words.

    :ivar threads: how many passwords are hashed at once
    :ivar workers: how many lines to prepare at once, so that every processor has something to hash
    """

    def __init__(
        self,
        service: Service,
        database: Database,
        passwords: Passwords,
        mailboxes: Mailboxes,
        manager: HookManager,
        dispatcher: Dispatcher,
        directory: Directory,
        *,
        validator_timeout_seconds: float = 30.0,
        known_schemes: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """Take what it works with.

        :param directory: told of the new users, so that the list shows them at once
        :param known_schemes: returns the password schemes that the local Dovecot knows, none where there is no
            Dovecot; may block
        :param validator_timeout_seconds: how long one ``mailusers_validate_add`` may take
        """
        self._service = service
        self._database = database
        self._passwords = passwords
        self._mailboxes = mailboxes
        self._manager = manager
        self._dispatcher = dispatcher
        self._directory = directory
        self._validator_timeout_seconds = validator_timeout_seconds
        self._ask_for_schemes = known_schemes
        self._known_schemes: Collection[str] | None = None
        # One more than are computed at once, so that no processor waits for the next. Somebody who logs in waits for
        # that one at the most.
        self._hashing = asyncio.Semaphore(passwords.threads + 1)
        self.threads = passwords.threads
        self.workers = max(_WORKERS, passwords.threads + 2)

    async def check(
        self, lines: Sequence[Line], so_far: FileSoFar | None = None, *, weak_hashes: bool = False
    ) -> list[Row]:
        """Check the lines of a file against the rules and the box, all faults of a line at once.

        :param so_far: kept from one piece of a file to the next, where it is not checked as a whole
        :param weak_hashes: whether hashes that are quick to guess are taken over
        :raises UnavailableError: if the database is away
        """
        emails = list(dict.fromkeys(line.email for line in lines if _may_be_known(line.email)))
        known = await self._database.read(_look_up, emails)
        return await asyncio.to_thread(self._check, lines, known, so_far or FileSoFar(), weak_hashes)

    async def check_as(self, actor: Actor, lines: Sequence[Line]) -> list[Row]:
        """Check the lines of a file as :meth:`check` does, and whether somebody may import them.

        :raises UnavailableError: if the database is away
        """
        rows = await self.check(lines)
        if actor.administers:
            return rows
        emails = list(dict.fromkeys(row.email for row in rows if row.archived))
        privileged = await self._database.read(accounts.archived_with_privileges, emails)
        return await asyncio.to_thread(service_guard.with_faults, rows, privileged)

    def _check(self, lines: Sequence[Line], known: _Known, so_far: FileSoFar, weak_hashes: bool) -> list[Row]:
        if self._known_schemes is None and any(line.password_hash for line in lines):
            self._known_schemes = self._ask_for_schemes()
        rows = []
        for line in lines:
            row = self._row(line, known, so_far, weak_hashes)
            so_far.has_user = so_far.has_user or not row.faults
            rows.append(row)
        return rows

    def _row(self, line: Line, known: _Known, so_far: FileSoFar, weak_hashes: bool) -> Row:
        faults = [] if line.fault is None else [line.fault]

        def checked(name: str, rule: Callable[[], T]) -> T | None:
            try:
                return rule()
            except MailUsersError as error:
                faults.append(Fault.of(name, error))
                return None

        email = line.email
        archived = False
        if checked("email", lambda: validation.check_new_address(email)) is not None:
            archived = email in known.records or self._mailboxes.exists(email)
            checked("email", lambda: _check_free(email, known, known.any_account or so_far.has_user))
            first = so_far.first_line(email, line.number)
            if first != line.number:
                text = N_("This address stands in line %(line)s already.")
                faults.append(Fault("email", text, {"line": first}))
        stored: str | None = line.password_hash
        if line.password and line.password_hash:
            faults.append(Fault("password", _TWO_PASSWORDS))
        elif line.password:
            checked("password", lambda: self._service.check_password(line.password))
        elif line.password_hash:
            schemes = self._known_schemes or ()
            stored = checked(
                "password", lambda: check_hash(line.password_hash, weak=weak_hashes, known=schemes)
            )
        quota = checked("quota", lambda: self._quota(line.quota))
        privileges = checked("privilege", lambda: self._privileges(line.privilege))
        return Row(
            line.number,
            email,
            line.password,
            line.quota if quota is None else quota,
            privileges or (),
            line.privilege,
            archived,
            tuple(faults),
            line.password_hash if stored is None else stored,
        )

    def _quota(self, quota: str) -> str:
        return validation.check_quota(quota) if quota else self._service.default_quota

    def _privileges(self, privilege: str) -> tuple[str, ...]:
        named = (name.strip() for name in privilege.replace("\n", _PRIVILEGE_SEPARATOR).split("|"))
        return validation.check_privileges((name for name in named if name), self._service.privileges)

    async def ask(self, actor: Actor, row: Row) -> None:
        """Let every module look at a new user.

        :raises MailUsersError: if one refuses
        """
        request = AddRequest(row.email, row.privileges, row.quota, actor)
        await ask_validators(self._manager, request, self._validator_timeout_seconds)

    async def ask_all(self, actor: Actor, rows: Iterable[Row]) -> dict[int, Fault]:
        """Let every module look at new users, some at a time.

        :param rows: without faults
        :returns: by line, why a module refuses the user
        """
        faults: dict[int, Fault] = {}
        if not any(True for _ in self._manager.validators()):
            return faults
        waiting = iter(rows)

        async def work() -> None:
            for row in waiting:
                try:
                    await self.ask(actor, row)
                except MailUsersError as error:
                    faults[row.number] = Fault.of("", error)

        async with asyncio.TaskGroup() as workers:
            for _ in range(self.workers):
                workers.create_task(work())
        return faults

    async def prepare(self, actor: Actor, row: Row, job_id: str, *, restore: bool) -> tuple[Candidate, str]:
        """Ask every module about a new user and make the password's hash.

        :param row: without faults
        :param job_id: of the import, a UUID in hexadecimal digits
        :param restore: whether the user may have an archived mailbox
        :returns: the user, and the password where one had to be made up, else empty
        :raises MailUsersError: if a module refuses
        """
        await self.ask(actor, row)
        made = suggest_password() if row.wants_password else ""
        stored = row.password_hash or await self.hash(made or row.password)
        return _candidate(row, stored, job_id, restore), made

    def prepare_now(self, row: Row, job_id: str, *, restore: bool) -> tuple[Candidate, str]:
        """Make the hash of a new user's password, in the calling thread; parameters and result as :meth:`prepare` has.

        :param row: without faults, and of which every module was asked
        """
        made = suggest_password() if row.wants_password else ""
        stored = row.password_hash or self._passwords.hash_now(made or row.password)
        return _candidate(row, stored, job_id, restore), made

    async def hash(self, password: str) -> str:
        """Return a new hash; waits while others need the processors."""
        async with self._hashing:
            while True:
                try:
                    return await self._passwords.hash(password)
                except UnavailableError:
                    await asyncio.sleep(_BUSY_SECONDS)

    async def add_all(self, actor: Actor, candidates: Sequence[Candidate], *, leave_out: bool) -> Added:
        """Add users in one transaction with their events: all, or nothing happens.

        :param candidates: at least one, found valid by :meth:`check`, each address once
        :param leave_out: whether those who cannot be added any more are left out; else nobody is added then
        :returns: who was added, and what is wrong with the others
        :raises UnavailableError: if the database is away
        """
        on_disk = await asyncio.to_thread(self._on_disk, candidates)
        await self._dispatcher.subscribe()
        for attempt in range(_ATTEMPTS):
            prepared = await asyncio.to_thread(_prepare, actor, candidates, on_disk)
            try:
                added = await self._database.write(_add_all, actor, candidates, prepared, on_disk, leave_out)
                break
            except UserExistsError:
                # Somebody was quicker, on a database that lets others write meanwhile: look once more.
                if attempt + 1 == _ATTEMPTS:
                    raise
        self._dispatcher.notify()
        return added

    async def show(self, emails: Sequence[str]) -> None:
        """Bring the list up to date."""
        await self._directory.refresh(emails)

    def _on_disk(self, candidates: Iterable[Candidate]) -> frozenset[str]:
        return frozenset(c.email for c in candidates if self._mailboxes.exists(c.email))


def _candidate(row: Row, stored: str, job_id: str, restore: bool) -> Candidate:
    return Candidate(
        row.number,
        row.email,
        stored,
        row.privileges,
        row.quota,
        row.archived and restore,
        event_id(job_id, row.number),
    )


def event_id(job_id: str, line: int) -> str:
    """Return the id of the event that tells of a line's user.

    :param job_id: of the import, a UUID in hexadecimal digits
    """
    return uuid.uuid5(uuid.UUID(hex=job_id), str(line)).hex


def _may_be_known(email: str) -> bool:
    return validation.ACCOUNT_CHARACTERS.fullmatch(email) is not None


def _look_up(connection: Connection, emails: Sequence[str]) -> _Known:
    return _Known(
        accounts.in_use(connection, emails),
        accounts.archived_records(connection, emails),
        accounts.any_exists(connection),
    )


def _check_free(email: str, known: _Known, any_account: bool) -> None:
    """Check that an address can be had.

    :param any_account: whether there is one already, or one is added before
    """
    if any_account and validation.is_domain_control_address(email):
        raise InvalidInputError(DOMAIN_CONTROL)
    if email in known.in_use:
        raise UserExistsError
    if known.records.get(email):
        raise InvalidInputError(PURGING)


def _event(actor: Actor, candidate: Candidate, restored: bool) -> events.UserAdded:
    return events.UserAdded(
        id=candidate.event_id,
        email=candidate.email,
        privileges=candidate.privileges,
        quota=candidate.quota,
        quota_bytes=validation.quota_bytes(candidate.quota) or 0,
        restored=restored,
        **events.by(actor),
    )


def _prepare(
    actor: Actor, candidates: Iterable[Candidate], on_disk: frozenset[str]
) -> dict[str, dict[str, Any]]:
    """Return the events' columns by address, made before the transaction begins so that it is short."""
    return {c.email: outbox.values(_event(actor, c, c.restore or c.email in on_disk)) for c in candidates}


def _add_all(
    connection: Connection,
    actor: Actor,
    candidates: Sequence[Candidate],
    prepared: Mapping[str, dict[str, Any]],
    on_disk: frozenset[str],
    leave_out: bool,
) -> Added:
    accounts.hold_additions(connection, exclusively=False)
    emails = [candidate.email for candidate in candidates]
    known = _look_up(connection, emails)
    privileged = set() if actor.administers else accounts.archived_with_privileges(connection, emails)
    faults: dict[int, Fault] = {}
    outcomes: dict[int, Outcome] = {}
    new: list[Account] = []
    told: list[Mapping[str, Any]] = []
    for candidate in candidates:
        email = candidate.email
        restored = email in known.records or email in on_disk
        try:
            _check_free(email, known, known.any_account or bool(new))
            service_guard.check_giving(actor, candidate.privileges)
            service_guard.check_restoring(actor, privileged & {email})
            if restored and not candidate.restore:
                raise RestoreConsentError
        except MailUsersError as error:
            faults[candidate.number] = Fault.of("email", error)
            continue
        outcomes[candidate.number] = Outcome.RESTORED if restored else Outcome.ADDED
        new.append(Account(email, candidate.password_hash, candidate.privileges, candidate.quota))
        as_prepared = restored == (candidate.restore or email in on_disk)
        told.append(prepared[email] if as_prepared else outbox.values(_event(actor, candidate, restored)))
    if faults and not leave_out:
        return Added({}, faults)
    if new:
        accounts.add_all(connection, new)
        outbox.append_all(connection, told)
    return Added(outcomes, faults)

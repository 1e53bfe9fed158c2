"""What the parts of an import hand to each other: lines, what is wrong with them, what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.models import Actor

_NOT_KEPT: Final = "…"


class JobState(StrEnum):
    """How far an import is."""

    READY = "ready"
    """It was checked and waits for somebody's decision."""
    RUNNING = "running"
    """Passwords are being hashed; nothing has been added."""
    ADDING = "adding"
    """All users are being added, in one transaction. It cannot be cancelled any more."""
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """A line could not be added and none was to be left out; nothing was imported."""
    INTERRUPTED = "interrupted"
    """The server ended before anything was added, or the file was forgotten after its time."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of it."""
        return self not in OPEN_STATES


OPEN_STATES: Final = (JobState.READY, JobState.RUNNING, JobState.ADDING)
BUSY_STATES: Final = (JobState.RUNNING, JobState.ADDING)


class Outcome(StrEnum):
    """What became of a line."""

    PLANNED = "planned"
    ADDED = "added"
    RESTORED = "restored"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line.

    :ivar name: of the field: ``email``, ``password``, ``quota`` or ``privilege``, empty for the whole line
    :ivar template: in English, with ``%(name)s`` for each value, to be translated
    :ivar values: what is filled in
    """

    name: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, error: MailUsersError) -> Self:
        """Return what an error says of a field."""
        return cls(name, error.template, error.values)

    @property
    def message(self) -> str:
        """The text in English."""
        return self.template % self.values if self.values else self.template

    def for_keeping(self) -> Fault:
        """Return it without what was in the file: where columns are mixed up, that may be a password."""
        values = {name: v if isinstance(v, int) else _NOT_KEPT for name, v in self.values.items()}
        return Fault(self.name, self.template, values)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, as it was read.

    :ivar number: of the text line on which it begins, from 1
    :ivar password: empty where there is a hash of it, or one is to be made up
    :ivar fault: what is wrong with the line as such
    :ivar password_hash: that another system has made
    """

    number: int
    email: str
    password: str = field(repr=False)
    quota: str
    privilege: str
    fault: Fault | None = None
    password_hash: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A line that was checked.

    :ivar email: as in the file, without spaces around it
    :ivar quota: to be stored; as in the file where it is wrong
    :ivar privileges: to be stored; none where one is wrong
    :ivar privilege: as in the file
    :ivar archived: whether there is an archived mailbox of the address
    :ivar faults: what is wrong, empty where the user can be added
    :ivar password_hash: to be stored, where another system has made it
    """

    number: int
    email: str
    password: str = field(repr=False)
    quota: str
    privileges: tuple[str, ...]
    privilege: str
    archived: bool
    faults: tuple[Fault, ...]
    password_hash: str = field(default="", repr=False)

    @property
    def wants_password(self) -> bool:
        """Whether one is to be made up."""
        return not (self.password or self.password_hash)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user who is about to be added.

    :ivar number: of the line
    :ivar restore: whether the user may have an archived mailbox
    :ivar event_id: under which the addition is told; the same each time, so that a crash cannot hide whether it was
    """

    number: int
    email: str
    password_hash: str = field(repr=False)
    privileges: tuple[str, ...]
    quota: str
    restore: bool
    event_id: str


@dataclass(frozen=True, slots=True)
class Added:
    """What adding came to.

    :ivar outcomes: by line, of the users who were added; none where nothing was imported
    :ivar faults: by line, what kept others from being added
    """

    outcomes: Mapping[int, Outcome]
    faults: Mapping[int, Fault]


@dataclass(frozen=True, slots=True)
class ResultLine:
    """A line of the result file.

    :ivar password: the one that was made up, empty where the file had one
    :ivar faults: why it was left out
    """

    number: int
    email: str
    outcome: Outcome
    password: str = field(repr=False)
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What is kept of a line for some days.

    :ivar made_password: whether the file had no password for it
    """

    number: int
    email: str
    made_password: bool
    outcome: Outcome
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """An import, as it is kept.

    :ivar id: cannot be guessed
    :ivar name: of the file
    :ivar actor: who uploaded it
    :ivar owner: the process that has its content in memory
    :ivar seen_at: when that process last said so
    :ivar total: lines in the file
    :ivar wanted: how many of them are being added
    :ivar prepared: how many passwords of those are hashed
    :ivar added: how many users were added
    :ivar fault: why nothing was imported
    :ivar fault_line: of the file, ``0`` where it is no single line's fault
    """

    id: str
    name: str
    actor: Actor
    created_at: datetime
    owner: str
    seen_at: datetime
    state: JobState
    total: int
    wanted: int = 0
    prepared: int = 0
    added: int = 0
    ended_at: datetime | None = None
    fault: Fault | None = None
    fault_line: int = 0

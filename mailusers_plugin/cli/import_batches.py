"""What the parts of the command's import hand to each other: what was decided, what was found, lines together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mailusers_plugin.cli.import_result import ResultRow
from mailusers_plugin.import_models import Candidate, Fault, Outcome, Row
from mailusers_plugin.models import ADMIN
from mailusers_plugin.validation import ACCOUNT_CHARACTERS


@dataclass(frozen=True, slots=True)
class Choices:
    """What somebody has decided.

    :ivar leave_out: whether lines that cannot be imported are left out; else nothing is imported with one of them
    :ivar restore: whether the users may have the archived mailboxes of their addresses; if not, their lines are left
        out. ``None`` where nobody has said
    :ivar weak_hashes: whether hashes that are quick to guess are taken over
    :ivar batch_lines: lines in one transaction
    """

    leave_out: bool
    restore: bool | None
    weak_hashes: bool
    batch_lines: int


@dataclass(slots=True)
class Found:
    """What is in the file, behind the lines that were imported before.

    :ivar lines: all of them
    :ivar faulty: with errors
    :ivar archived: of the good ones, those whose addresses have an archived mailbox
    :ivar administrators: of the good ones, those that become administrators
    :ivar made: of the good ones, those for which passwords are made up
    :ivar hashes: of the good ones, those whose passwords another system has hashed
    :ivar ignored: names of columns that mean nothing to us
    """

    lines: int = 0
    faulty: int = 0
    archived: int = 0
    administrators: int = 0
    made: int = 0
    hashes: int = 0
    ignored: tuple[str, ...] = ()

    def importable(self, choices: Choices) -> int:
        """Return how many lines can be imported."""
        return self.lines - self.faulty - (self.archived if choices.restore is False else 0)

    def count(self, row: Row) -> None:
        """Count a line."""
        self.lines += 1
        if row.faults:
            self.faulty += 1
            return
        self.archived += row.archived
        self.administrators += ADMIN in row.privileges
        self.made += row.wants_password
        self.hashes += bool(row.password_hash)


@dataclass(slots=True)
class Batch:
    """Lines of one transaction.

    :ivar rows: all of them, also those that are left out
    :ivar candidates: those that are to be added, in order
    :ivar made: the passwords that were made up
    :ivar faults: of those that are left out
    """

    rows: Sequence[Row]
    candidates: list[Candidate] = field(default_factory=list)
    made: dict[int, str] = field(default_factory=dict, repr=False)
    faults: dict[int, str] = field(default_factory=dict)

    def result_row(self, row: Row, outcome: Outcome | None) -> ResultRow:
        """Return a line of the result. Where columns are mixed up, a password may stand for the address.

        :param outcome: ``None`` where the user was not added
        """
        fault = self.faults.get(row.number, "")
        if outcome is None or fault:
            return ResultRow(row.number, shown_address(row), Outcome.LEFT_OUT.value, "", fault)
        return ResultRow(row.number, shown_address(row), outcome.value, self.made.get(row.number, ""), "")


def shown_address(row: Row) -> str:
    """Return a line's address where it is one: where columns are mixed up, a password may stand for it."""
    return row.email if ACCOUNT_CHARACTERS.fullmatch(row.email) else ""


def with_fault(row: Row, fault: Fault) -> Row:
    """Return a line with one more fault."""
    return replace(row, faults=(*row.faults, fault))


def in_words(faults: Sequence[Fault]) -> str:
    """Return what is wrong, in English and without anything that was in the file."""
    return " ".join(fault.for_keeping().message for fault in faults)

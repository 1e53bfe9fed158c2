"""What ``mailusers user import`` says. A password, or what may be one in the wrong column, is in none of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mailusers_plugin.cli.common import printable
from mailusers_plugin.cli.import_batches import Choices, Found, in_words, shown_address
from mailusers_plugin.cli.import_journal import Journal
from mailusers_plugin.import_models import Row

NOTHING_CHANGED: Final = "Nothing was changed."


def _count(number: int, what: str, more: str) -> str:
    return f"{number} {what if number == 1 else more}"


def _lines(number: int) -> str:
    return _count(number, "line", "lines")


def _users(number: int) -> str:
    return _count(number, "user", "users")


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def fault_line(row: Row) -> str:
    """Return what is wrong with a line."""
    address = shown_address(row)
    return f"Line {row.number}{f' ({address})' if address else ''}: {in_words(row.faults)}"


def of_the_check(found: Found, choices: Choices) -> Iterator[str]:
    """Yield what is in a file."""
    good = found.importable(choices)
    yield f"{_lines(found.lines)}: {good} can be imported, {found.faulty} {_have(found.faulty)} errors."
    if found.archived:
        yield f"{_lines(found.archived)} with addresses that have an archived mailbox" + (
            ": say --restore or --no-restore." if choices.restore is None else "."
        )
    for number, what in (
        (found.administrators, "of them administrators"),
        (found.made, "for whom passwords are made up, into the file of --result"),
        (found.hashes, "with passwords that another system has hashed"),
    ):
        if number:
            yield f"{_users(number)} {what}."
    if found.ignored:
        yield f"Columns that mean nothing here: {printable(', '.join(found.ignored))}."


def faulty(found: Found, *, goes_on: bool) -> str:
    """Say that lines have errors and none is left out."""
    changed = "Nothing more was imported." if goes_on else NOTHING_CHANGED
    advice = "Leave" if goes_on else "Mend the file, or leave"
    return f"{_lines(found.faulty)} {_have(found.faulty)} errors. {changed} {advice} such lines out with --leave-out."


def archived(found: Found) -> str:
    """Say that somebody has to decide about archived mailboxes."""
    return (
        f"{_lines(found.archived)} with addresses that have an archived mailbox. Say --restore to give the mailboxes "
        "to the new users, or --no-restore to leave those lines out."
    )


def no_result(found: Found) -> str:
    """Say that there is no place for passwords."""
    return (
        f"{_lines(found.made)} without a password. Passwords are made up for them: say with --result FILE where they "
        "are to be written."
    )


def already_done(journal: Journal) -> str:
    """Say that nothing is left to be done."""
    return (
        f"This file was imported by the import that began at {journal.began_at}: {_users(journal.added)} added, "
        f"{_lines(journal.left_out)} left out. To import it once more, say --again."
    )


def going_on(journal: Journal) -> str:
    """Say that an import goes on."""
    return f"The import that began at {journal.began_at} goes on behind line {journal.begun_line}."


def so_far(journal: Journal) -> str:
    """Say how far an import came, and how it goes on."""
    if not journal.begun_line:
        return NOTHING_CHANGED
    return (
        f"{_users(journal.added)} {'was' if journal.added == 1 else 'were'} added so far, up to line "
        f"{journal.done_line} of the file. Run the same command again to go on"
        + (f"; the passwords that were made up are in {journal.result}." if journal.result else ".")
    )


def interrupted(journal: Journal) -> str:
    """Say that it was ended."""
    return f"Interrupted. {so_far(journal)}"


def of_the_run(journal: Journal, added: int, seconds: float) -> Iterator[str]:
    """Yield what came of an import.

    :param added: users who were added just now
    """
    text = f"{_users(journal.added)} added"
    if journal.restored:
        text += f", {journal.restored} of them with the mailbox from the archive"
    yield f"{text}; {_lines(journal.left_out)} left out."
    if seconds >= 1:
        yield f"{_users(added)} in {seconds:.1f} s, {added / seconds:.0f} a second."
    if journal.result:
        yield f"What became of each line is in {journal.result}."

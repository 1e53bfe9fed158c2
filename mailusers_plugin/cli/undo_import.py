"""``mailusers user undo-import``: archives those whom an import has added."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

import click

from mailusers_plugin.cli.common import actor, box_options, open_runtime, printable
from mailusers_plugin.cli.hook_wait import tell_all_hooks
from mailusers_plugin.cli.import_result import HEAD
from mailusers_plugin.cli.progress import progress
from mailusers_plugin.errors import InvalidInputError, MailUsersError, UnavailableError, UnknownUserError
from mailusers_plugin.import_models import Outcome
from mailusers_plugin.settings import Settings

_AT_ONCE: Final = 200
"""Users who are archived in one transaction, where the database can do that."""
_OUTCOMES: Final = (Outcome.ADDED.value, Outcome.RESTORED.value)


@click.command("undo-import")
@click.argument("result", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="RESULT")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until a server that runs has told all hooks.")
@box_options
def undo_import(result: Path, yes: bool, wait: bool, settings: Settings) -> None:
    """Archive those whom an import has added; RESULT is its result file. Mailboxes stay."""
    with _added(result) as emails:
        count = sum(1 for _ in emails)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInputError("There is no terminal to ask. Say --yes.")
        click.confirm(f"Archive {count} users?", abort=True)
    sys.exit(asyncio.run(_undo(settings, result, count, wait=wait)))


async def _undo(settings: Settings, result: Path, count: int, *, wait: bool) -> int:
    done = gone = failed = 0
    async with open_runtime(settings) as runtime:
        with progress("Archiving", count, "users") as bar, _added(result) as emails:
            while some := list(islice(emails, _AT_ONCE)):
                answers = await asyncio.gather(
                    *(runtime.service.archive(actor(), email) for email in some), return_exceptions=True
                )
                for email, answer in zip(some, answers, strict=True):
                    if isinstance(answer, UnavailableError):
                        raise answer
                    if isinstance(answer, UnknownUserError):
                        gone += 1
                    elif isinstance(answer, MailUsersError):
                        failed += 1
                        bar.say(printable(f"{email}: {answer.message}"))
                    elif isinstance(answer, BaseException):
                        raise answer
                    else:
                        done += 1
                bar.show(done + gone + failed)
        click.echo(f"{done} users archived; {gone} were not there any more, {failed} could not be archived.")
        await tell_all_hooks(runtime, wait=wait)
    return 1 if failed else 0


@contextmanager
def _added(result: Path) -> Iterator[Iterator[str]]:
    """Give the addresses of those whom an import has added.

    :raises InvalidInputError: if it is no result file
    """
    try:
        with result.open(encoding="utf-8-sig", newline="") as file:
            yield _addresses(result, file)
    except (UnicodeDecodeError, csv.Error, OSError):
        raise InvalidInputError(f"{result} is not the result file of an import, or is damaged.") from None


def _addresses(result: Path, file: TextIO) -> Iterator[str]:
    rows = csv.reader(file, strict=True)
    if tuple(next(rows, ())) != HEAD:
        raise InvalidInputError(f"{result} is not the result file of an import.")
    for row in rows:
        if len(row) == len(HEAD) and row[2] in _OUTCOMES:
            # The apostrophe keeps a spreadsheet from taking it for a formula.
            yield row[1].removeprefix("'")

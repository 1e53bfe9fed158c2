"""``mailusers user import``: many users from a file."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from mailusers_plugin.cli import import_words as words
from mailusers_plugin.cli.common import actor, box_options, open_runtime
from mailusers_plugin.cli.hook_wait import ended_gently, tell_all_hooks
from mailusers_plugin.cli.import_batches import Choices, Found
from mailusers_plugin.cli.import_journal import Journal, Journals
from mailusers_plugin.cli.import_result import ResultFile, pending_path
from mailusers_plugin.cli.import_source import Source
from mailusers_plugin.cli.import_stream import LineFaultError, StreamImport
from mailusers_plugin.cli.progress import Progress, progress
from mailusers_plugin.errors import InvalidInputError, MailUsersError, UnavailableError
from mailusers_plugin.import_models import Row
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store.seen_lines import SeenLines

_SHOWN_FAULTS: Final = 20
"""Where the import itself is refused; ``--dry-run`` shows all."""
MAX_BATCH: Final = 20_000
EX_INTERRUPTED: Final = 75
"""As for something that is busy: the same command goes on later."""


class InterruptedImportError(Exception):
    """Somebody has ended the import; the text says how to go on."""


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Check every line, print all errors, and change nothing.")
@click.option("--leave-out", is_flag=True, help="Import the other lines where some have errors.")
@click.option(
    "--restore/--no-restore",
    default=None,
    help="Give archived mailboxes to the new users of their addresses, or leave those lines out.",
)
@click.option(
    "--result",
    type=click.Path(path_type=Path, dir_okay=False),
    help="New file for what became of each line, and for the passwords that are made up; readable by its owner.",
)
@click.option("--weak-hashes", is_flag=True, help="Take over password hashes that are quick to guess, too.")
@click.option(
    "--batch",
    default=2000,
    show_default=True,
    metavar="LINES",
    type=click.IntRange(1, MAX_BATCH),
    help="Lines in one transaction.",
)
@click.option("--again", is_flag=True, help="Forget that this file was imported before, wholly or in part.")
@click.option("--wait", is_flag=True, help="Wait until a server that runs has told all hooks.")
@box_options
def import_(file: str, settings: Settings, **options: Any) -> None:
    """Add the users of a CSV file; - reads standard input. Run again after an interruption, it goes on.

    Nothing is changed while lines have errors, unless they are left out. docs/import.md describes the file.
    """
    try:
        # There may be none, such as under a service manager.
        with Source(file, sys.stdin.buffer if sys.stdin else io.BytesIO()) as source:
            code = asyncio.run(_run(settings, source, options))
    except InterruptedImportError as ended:
        click.echo(str(ended), err=True)
        code = EX_INTERRUPTED
    except asyncio.CancelledError:
        click.echo("Ended. Run the same command again to go on.", err=True)
        code = EX_INTERRUPTED
    sys.exit(code)


async def _run(settings: Settings, source: Source, options: dict[str, Any]) -> int:
    async with open_runtime(settings) as runtime:
        journals = Journals(settings.storage_root / "mailusers" / "imports")
        if options["dry_run"]:
            return await _Import(runtime, journals, source, options).try_out()
        with journals.locked():
            await _Import(runtime, journals, source, options).run()
        await tell_all_hooks(runtime, wait=options["wait"])
        return 0


class _Import:
    """One call of the command."""

    def __init__(self, runtime: Runtime, journals: Journals, source: Source, options: dict[str, Any]) -> None:
        self._runtime = runtime
        self._journals = journals
        self._source = source
        self._choices = Choices(
            options["leave_out"], options["restore"], options["weak_hashes"], options["batch"]
        )
        found = None if options["again"] else journals.find(source.digest)
        self._goes_on = found is not None
        self._journal = found or Journal(digest=source.digest, name=source.name)
        self._result: Path | None = options["result"] and options["result"].absolute()
        self._faults = 0

    async def try_out(self) -> int:
        """Check only; return the exit code."""
        if self._journal.ended_at:
            click.echo(words.already_done(self._journal))
            return 0
        with self._work() as work:
            await work.recover(None, None)
            found = await self._check(work, lambda _, row: click.echo(words.fault_line(row)))
            if work.stopping:
                raise InterruptedImportError(words.NOTHING_CHANGED)
        for line in words.of_the_check(found, self._choices):
            click.echo(line)
        click.echo(words.NOTHING_CHANGED)
        return 1 if found.faulty and not self._choices.leave_out else 0

    async def run(self) -> None:
        """Check, and import."""
        journal = self._journal
        if journal.ended_at:
            click.echo(words.already_done(journal))
            if journal.result:
                # All is in the result. It is left only where the command was killed in its last moment.
                pending_path(Path(journal.result)).unlink(missing_ok=True)
            return
        if self._goes_on:
            click.echo(words.going_on(journal), err=True)
        with ExitStack() as stack:
            work = stack.enter_context(self._work())
            result: ResultFile | None = None
            if journal.result:
                result = stack.enter_context(self._old_result())
            await work.recover(self._journals, result)
            found = await self._check(work, self._say_fault)
            if work.stopping:
                raise InterruptedImportError(words.interrupted(journal))
            self._refuse(found, result)
            if result is None and self._result is not None:
                result = stack.enter_context(ResultFile(self._result))
                journal.result, journal.result_bytes = str(self._result), result.size
            self._journals.save(journal)
            await self._add(work, found, result)

    @contextmanager
    def _work(self) -> Iterator[StreamImport]:
        runtime = self._runtime
        with SeenLines() as seen:
            work = StreamImport(
                runtime.bulk,
                runtime.database,
                runtime.state,
                actor(),
                self._source,
                self._choices,
                self._journal,
                seen,
            )
            with ended_gently(work.stop):
                yield work

    def _old_result(self) -> ResultFile:
        path = Path(self._journal.result)
        if self._result not in (None, path):
            raise InvalidInputError(
                f"The result file of the import that goes on is {path}. Name that one, or none. To begin anew, say "
                "--again."
            )
        return ResultFile(path, self._journal.result_bytes)

    async def _check(self, work: StreamImport, on_fault: Callable[[Progress, Row], None]) -> Found:
        with progress("Checking", self._source.size) as bar:
            return await work.check(lambda row: on_fault(bar, row), bar.show)

    def _say_fault(self, bar: Progress, row: Row) -> None:
        self._faults += 1
        if self._faults <= _SHOWN_FAULTS:
            bar.say(words.fault_line(row))
        elif self._faults == _SHOWN_FAULTS + 1:
            bar.say("More lines have errors; --dry-run prints all.")

    def _refuse(self, found: Found, result: ResultFile | None) -> None:
        """Stop before anything is changed where somebody has to decide first.

        :raises InvalidInputError: saying what
        """
        choices = self._choices
        if found.faulty and not choices.leave_out:
            raise InvalidInputError(words.faulty(found, goes_on=self._goes_on))
        if found.archived and choices.restore is None:
            raise InvalidInputError(words.archived(found))
        if found.made and result is None and self._result is None:
            raise InvalidInputError(words.no_result(found))
        if not found.importable(choices) and not self._goes_on:
            raise InvalidInputError("There is no line that could be imported.")

    async def _add(self, work: StreamImport, found: Found, result: ResultFile | None) -> None:
        journal = self._journal
        before, began = journal.added, time.monotonic()
        try:
            with progress("Adding", found.lines, "users") as bar:
                await work.run(self._journals, result, bar.show)
        except LineFaultError as error:
            if journal.done_line:
                raise InvalidInputError(f"{error.message} {words.so_far(journal)}") from error
            # Nothing is left behind of an import that has done nothing.
            self._journals.discard(journal)
            if result is not None:
                result.discard()
            raise InvalidInputError(f"{error.message} {words.NOTHING_CHANGED}") from error
        except MailUsersError as error:
            text = f"{error.message} {words.so_far(journal)}"
            if isinstance(error, UnavailableError):
                raise UnavailableError(text, error.retry_after_seconds) from error
            raise InvalidInputError(text) from error
        if not journal.ended_at:
            raise InterruptedImportError(words.interrupted(journal))
        if result is not None:
            await asyncio.to_thread(result.end)
        for line in words.of_the_run(journal, journal.added - before, time.monotonic() - began):
            click.echo(line)

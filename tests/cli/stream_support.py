"""What the tests of the command's import share: one that runs in this process, step by step."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mailusers_plugin.cli.import_batches import Choices, Found
from mailusers_plugin.cli.import_journal import Journal, Journals
from mailusers_plugin.cli.import_result import ResultFile
from mailusers_plugin.cli.import_source import Source
from mailusers_plugin.cli.import_stream import StreamImport
from mailusers_plugin.import_models import Row
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store.seen_lines import SeenLines
from tests.support import CONSOLE


@dataclass
class Stream:
    """An import by the command, without the command."""

    runtime: Runtime
    folder: Path
    text: str
    batch_lines: int = 3
    leave_out: bool = False
    restore: bool | None = None
    weak_hashes: bool = False
    faulty: list[Row] = field(default_factory=list)
    during: Callable[[StreamImport, int], None] = lambda _work, _done: None

    @property
    def result_path(self) -> Path:
        """Where the result is."""
        return self.folder / "result.csv"

    def journal(self) -> Journal | None:
        """Return what is kept of it."""
        with Source("-", io.BytesIO(self.text.encode())) as source:
            return Journals(self.folder / "journals").find(source.digest)

    async def run(self) -> Found:
        """Check, and import or go on."""
        journals = Journals(self.folder / "journals")
        with ExitStack() as stack:
            source = stack.enter_context(Source("-", io.BytesIO(self.text.encode())))
            seen = stack.enter_context(SeenLines())
            stack.enter_context(journals.locked())
            journal = journals.find(source.digest) or Journal(digest=source.digest, name=source.name)
            size = journal.result_bytes if journal.result else None
            result = stack.enter_context(ResultFile(self.result_path, size))
            if not journal.result:
                journal.result, journal.result_bytes = str(self.result_path), result.size
            journals.save(journal)
            runtime = self.runtime
            choices = Choices(self.leave_out, self.restore, self.weak_hashes, self.batch_lines)
            work = StreamImport(
                runtime.bulk, runtime.database, runtime.state, CONSOLE, source, choices, journal, seen
            )
            await work.recover(journals, result)
            found = await work.check(self.faulty.append, lambda _: None)
            if self.leave_out or not found.faulty:
                await work.run(journals, result, lambda done: self.during(work, done))
            return found

    def faults(self) -> list[tuple[int, str]]:
        """Return what was wrong with lines when they were checked."""
        return [(row.number, " ".join(fault.message for fault in row.faults)) for row in self.faulty]

    def results(self) -> list[tuple[str, ...]]:
        """Return line, address, result and error of each line of the result."""
        rows = csv.DictReader(self.result_path.read_text(encoding="utf-8-sig").splitlines())
        return [(row["line"], row["address"], row["result"], row["error"]) for row in rows]

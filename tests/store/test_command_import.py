"""The command's import on every database."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailusers_plugin.cli.import_stream import LineFaultError, StreamImport
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN, Account
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts, outbox
from tests.cli.stream_support import Stream
from tests.support import BOSS, CONSOLE, PASSWORD, make_mailbox


def text(*numbers: int, more: str = "") -> str:
    """Return a file."""
    return "".join(f"user{number}@example.org\n" for number in numbers) + more


async def events(runtime: Runtime) -> list[str]:
    """Return whom the events tell of, in order."""
    return [entry.email for entry in await runtime.database.read(outbox.after, 0, 1000)]


async def test_in_batches(runtime: Runtime, tmp_path: Path) -> None:
    """Everybody is added with an event each, in the order of the file, in as many transactions as it takes."""
    stream = Stream(runtime, tmp_path, text(*range(1, 11)))
    found = await stream.run()
    assert (found.lines, found.faulty, found.made) == (10, 0, 10)
    emails = [f"user{number}@example.org" for number in range(1, 11)]
    assert sorted(await runtime.service.addresses()) == sorted(emails)
    assert await events(runtime) == emails
    assert [row[1:] for row in stream.results()] == [(email, "added", "") for email in emails]
    assert len(await runtime.directory.entries(emails)) == 10


async def test_goes_on_after_a_transaction_of_which_it_was_not_told(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection breaks after a commit, the users are found by their events, then and by the next call."""
    stream = Stream(runtime, tmp_path, text(1, 2, 3, 4, 5, 6, 7))
    add_all = runtime.bulk.add_all
    failures = 0

    async def broken(*arguments: object, **named: object) -> object:
        nonlocal failures
        await add_all(*arguments, **named)  # type: ignore[arg-type]
        failures += 1
        raise UnavailableError("gone")

    monkeypatch.setattr(runtime.bulk, "add_all", broken)
    monkeypatch.setattr("mailusers_plugin.cli.import_stream._RETRY_SECONDS", 0.01)
    await stream.run()
    assert failures == 3
    assert len(await events(runtime)) == 7
    assert [row[2] for row in stream.results()] == ["added"] * 7


async def test_goes_on_after_an_end_between_commit_and_book_keeping(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call knows whom the last one has added, and adds only the others."""
    stream = Stream(runtime, tmp_path, text(1, 2, 3, 4, 5, 6, 7))

    class EndError(Exception):
        pass

    def end(*_: object) -> None:
        raise EndError

    with monkeypatch.context() as patch:
        patch.setattr(StreamImport, "_count", end)
        with pytest.raises(EndError):
            await stream.run()
    assert await events(runtime) == ["user1@example.org", "user2@example.org", "user3@example.org"]
    # Somebody has removed one of them meanwhile: that is nobody who is to be added again.
    await runtime.service.archive(CONSOLE, "user2@example.org")
    found = await stream.run()
    assert found.lines == 4
    assert len(await runtime.service.addresses()) == 6
    assert [row[:3] for row in stream.results()] == [
        (str(number), f"user{number}@example.org", "added") for number in range(1, 8)
    ]
    journal = stream.journal()
    assert journal is not None
    assert (journal.added, journal.left_out, bool(journal.ended_at)) == (7, 0, True)


async def test_somebody_is_quicker(runtime: Runtime, tmp_path: Path) -> None:
    """A line that cannot be imported any more ends it, with what was added before, or is left out; then it goes on."""
    await runtime.service.add(CONSOLE, BOSS, PASSWORD, (ADMIN,))
    stream = Stream(runtime, tmp_path, text(1, 2, 3, 4, 5, 6, 7))

    def add_meanwhile(_work: StreamImport, done: int) -> None:
        if done == 1:
            account = Account("user5@example.org", "hash", (), "0")
            runtime.database.write_now(accounts.add, account)

    stream.during = add_meanwhile
    with pytest.raises(LineFaultError, match="Line 5: User already exists"):
        await stream.run()
    assert len(await runtime.service.addresses()) == 5
    stream.leave_out, stream.during = True, lambda _work, _done: None
    found = await stream.run()
    assert (found.lines, found.faulty) == (4, 1)
    assert len(await runtime.service.addresses()) == 8
    assert stream.results()[4] == ("5", "user5@example.org", "left out", "User already exists.")


async def test_archived_mailboxes(runtime: Runtime, tmp_path: Path) -> None:
    """Mailboxes of the archive are given away only with consent; without, their lines are left out."""
    make_mailbox(runtime.settings.mailboxes, "user2@example.org")
    refusing = Stream(runtime, tmp_path, text(1, 2), restore=False)
    (tmp_path / "other").mkdir()
    assert (await refusing.run()).archived == 1
    assert [row[2] for row in refusing.results()] == ["added", "left out"]
    giving = Stream(runtime, tmp_path / "other", text(2, 3), restore=True)
    assert (await giving.run()).archived == 1
    assert [row[2] for row in giving.results()] == ["restored", "added"]

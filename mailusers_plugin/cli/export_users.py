"""``mailusers user export``: all users as a file, and for moving to another box with their passwords' hashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from mailusers_plugin import csv_text, export_rows
from mailusers_plugin.cli.common import box_options, run_in_box
from mailusers_plugin.cli.files import file_options, written
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.models import Account, Entry
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import account_pages, usage
from mailusers_plugin.user_objects import entry_object

_AT_ONCE: Final = 2000
Accounts = Sequence[tuple[Account, Entry]]


@click.command("export")
@file_options("csv", "json")
@click.option(
    "--with-hashes",
    is_flag=True,
    help="Also the passwords' hashes, so that users keep their passwords in another box. Wants --output.",
)
@box_options
def export(form: str, output: Path | None, with_hashes: bool, settings: Settings) -> None:
    """Write all active users as CSV or JSON; 'user import' reads the CSV."""
    if with_hashes and output is None:
        raise InvalidInputError(
            "Hashes are written into a file that only its owner can read: say --output FILE."
        )

    async def work(runtime: Runtime) -> int:
        count = 0
        encode = _csv if form == "csv" else _json
        with written(output) as file:
            begin, between, end = _frame(form, with_hashes=with_hashes)
            file.write(begin)
            async for some in _everybody(runtime):
                piece = (between if count else b"") + encode(runtime, some, with_hashes)
                await asyncio.to_thread(file.write, piece)
                count += len(some)
            file.write(end)
        return count

    count = run_in_box(settings, work)
    click.echo(f"{count} {'user was' if count == 1 else 'users were'} written.", err=True)


async def _everybody(runtime: Runtime) -> AsyncIterator[Accounts]:
    """Yield all active users, some at a time, so that many take no more memory than few."""
    last = ""
    while found := await runtime.database.read(account_pages.behind, last, _AT_ONCE):
        last = found[-1].email
        sizes = await runtime.state.read(usage.some, [account.email for account in found])
        yield [
            (one, Entry(one.email, True, one.privileges, one.quota, sizes.get(one.email))) for one in found
        ]


def _frame(form: str, *, with_hashes: bool) -> tuple[bytes, bytes, bytes]:
    """Return what stands before, between and behind what is encoded at once."""
    if form == "json":
        return b"[\n", b",\n", b"\n]\n"
    return export_rows.head(*([export_rows.HASH_COLUMN] if with_hashes else [])).encode(), b"", b""


def _csv(_runtime: Runtime, users: Accounts, with_hashes: bool) -> bytes:
    rows = (
        [*export_rows.cells(entry), *([account.password_hash] if with_hashes else [])]
        for account, entry in users
    )
    return csv_text.lines(rows).encode()


def _json(runtime: Runtime, users: Accounts, with_hashes: bool) -> bytes:
    def encode(account: Account, entry: Entry) -> bytes:
        shown = entry_object(entry, runtime.listing.mailbox(entry.email))
        if with_hashes:
            shown[export_rows.HASH_COLUMN] = account.password_hash
        return orjson.dumps(shown)

    return b",\n".join(encode(account, entry) for account, entry in users)

"""``mailusers audit``: who did what, and whether anybody has tampered with that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from mailusers_plugin import trail_rows
from mailusers_plugin.cli.common import actor, box_options, print_json, printable, run_in_box
from mailusers_plugin.cli.files import file_options, written
from mailusers_plugin.errors import InvalidInputError, MailUsersError
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit as trail
from mailusers_plugin.store import audit_chain, audit_guard
from mailusers_plugin.trail_models import Head, Kept, TrailFilter, Verdict

F = TypeVar("F", bound=Callable[..., Any])

_UNGUARDED: Final = (
    "The database does not refuse to change entries: its triggers are missing. Run 'mailusers audit protect'."
)


class WrongTrailError(MailUsersError):
    """The audit trail is not what was written."""


def _filters(function: F) -> F:
    """Add the options that say which entries are meant."""
    for name, text in (
        ("--until", "Up to this day (UTC), or before this time with its zone."),
        ("--since", "From this day (UTC) or time with its zone on."),
        ("--type", "Of this type, such as QuotaChanged or LoginRefused."),
        ("--actor", "By whom: an address, or a system's user."),
        ("--email", "About this address."),
    ):
        function = click.option(name, default="", metavar=name.strip("-").upper(), help=text)(function)
    return function


def _wanted(given: dict[str, str]) -> TrailFilter:
    return TrailFilter(
        given["email"],
        given["actor"],
        given["type"],
        trail_rows.parse_time(given["since"]),
        trail_rows.parse_time(given["until"], end=True),
    )


@click.group()
def audit() -> None:
    """The audit trail: who did what, from where, and whether it is what was written."""


@audit.command("list")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many at the most."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@_filters
@box_options
def list_(limit: int, as_json: bool, settings: Settings, **given: str) -> None:
    """List entries, newest first."""
    found = run_in_box(settings, lambda runtime: runtime.state.read(trail.page, _wanted(given), None, limit))
    if as_json:
        print_json([entry.as_dict() for entry in found.entries])
        return
    for entry in found.entries:
        click.echo(printable(_line(entry)))


def _line(entry: Kept) -> str:
    by = f"by {entry.actor or '-'} ({entry.via or '-'}{f' from {entry.ip}' if entry.ip else ''})"
    detail = json.dumps(entry.detail, sort_keys=True, ensure_ascii=False)
    return f"{entry.time:%Y-%m-%d %H:%M:%SZ} {entry.type} {entry.email or '-'} {by} {detail}"


@audit.command()
@click.option(
    "--head",
    "noted",
    metavar="HEAD",
    help="What 'audit head' printed some time ago: also check that everything up to there is as it was then.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@box_options
def verify(noted: str | None, as_json: bool, settings: Settings) -> None:
    """Check that no entry was changed, deleted, inserted or moved; exit code 1 where one was.

    Without --head it cannot tell that the newest entries were cut off and the chain's own record of its end was
    changed to match, or that everything from some entry on was made anew.
    """
    verdict = run_in_box(settings, lambda runtime: runtime.state.read(audit_chain.verify, _head(noted)))
    fault = verdict.fault
    if as_json:
        print_json(
            {
                "right": fault is None,
                "checked": verdict.checked,
                "pruned_up_to": verdict.anchor.seq,
                "head": str(verdict.head),
                "guarded": verdict.guarded,
                "fault": None if fault is None else {"seq": fault.seq, "text": fault.text},
            }
        )
    if not verdict.guarded:
        click.echo(f"Warning: {_UNGUARDED}", err=True)
    if fault is not None:
        raise WrongTrailError(_wrong(verdict))
    if not as_json:
        pruned = f" Those up to {verdict.anchor.seq} were pruned." if verdict.anchor.seq else ""
        click.echo(f"All {verdict.checked} entries are as they were written.{pruned}")
        click.echo(f"Head: {verdict.head}")


def _head(noted: str | None) -> Head | None:
    if noted is None:
        return None
    found = Head.parse(noted)
    if found is None:
        raise InvalidInputError(
            "The head is what 'mailusers audit head' printed: a number, a colon and a hash."
        )
    return found


def _wrong(verdict: Verdict) -> str:
    fault = verdict.fault
    if fault is None or fault.seq is None:
        return f"The audit trail was tampered with. {fault.text if fault else ''}"
    return f"The audit trail was tampered with at entry {fault.seq}. {fault.text}"


@audit.command()
@box_options
def head(settings: Settings) -> None:
    """Print how the trail ends now, to be noted down elsewhere and given to 'audit verify --head'."""
    click.echo(str(run_in_box(settings, lambda runtime: runtime.state.write(audit_chain.head))))


@audit.command()
@file_options("csv", "jsonl")
@_filters
@box_options
def export(form: str, output: Path | None, settings: Settings, **given: str) -> None:
    """Write entries as CSV or as lines of JSON, newest first."""
    wanted = _wanted(given)

    async def work(runtime: Runtime) -> int:
        count = 0
        encode = trail_rows.csv_lines if form == "csv" else trail_rows.json_lines
        with written(output) as file:
            file.write(trail_rows.head().encode() if form == "csv" else b"")
            async for some in trail_rows.everything(runtime.state, wanted):
                await asyncio.to_thread(file.write, encode(some))
                count += len(some)
        return count

    count = run_in_box(settings, work)
    click.echo(f"{count} {'entry was' if count == 1 else 'entries were'} written.", err=True)


@audit.command()
@click.option(
    "--before", required=True, metavar="TIME", help="A day (UTC), or a time with its zone: older entries go."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--force", is_flag=True, help="Also where the trail was tampered with, of which the traces may go."
)
@box_options
def prune(before: str, yes: bool, force: bool, settings: Settings) -> None:
    """Delete old entries; that this was done stands in the trail, and 'audit verify' goes on from there.

    The heads that were noted down before cannot be checked any more: note down a new one afterwards.
    """
    time = trail_rows.parse_time(before)
    if time is None:
        raise InvalidInputError("Say before which day: --before 2026-01-31.")

    async def work(runtime: Runtime) -> int:
        verdict = await runtime.state.read(audit_chain.verify)
        if verdict.fault is not None and not force:
            raise WrongTrailError(f"{_wrong(verdict)} Nothing was deleted; --force does it all the same.")
        last = await runtime.state.read(audit_chain.cut, time)
        count = (last.seq or 0) - (verdict.anchor.seq or 0)
        if count > 0 and not yes:
            question = f"Delete {count} entries that are older than {time:%Y-%m-%d %H:%M} UTC for good?"
            await asyncio.to_thread(lambda: click.confirm(question, abort=True))
        return await runtime.trail.prune(last, time, actor())

    count = run_in_box(settings, work)
    click.echo(f"{count} {'entry was' if count == 1 else 'entries were'} deleted.")


@audit.command()
@box_options
def protect(settings: Settings) -> None:
    """Make the database refuse to change entries, where it does not: its triggers are missing."""
    if not run_in_box(settings, lambda runtime: runtime.state.write(audit_guard.put)):
        raise WrongTrailError(
            "The database does not let this user make triggers. Let an administrator of it set "
            "log_bin_trust_function_creators = 1, or grant TRIGGER, and try again."
        )
    click.echo("The database refuses to change and to delete entries.")

"""``mailusers events``: what happened, and who has been told."""

from __future__ import annotations

import click

from mailusers_plugin.cli.common import box_options, print_json, printable, run_in_box, tell_hooks
from mailusers_plugin.models import Change
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import deliveries, planning


@click.group()
def events() -> None:
    """Events and their delivery to the hooks."""


@events.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also deliveries that are done.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many at the most."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@box_options
def list_(show_all: bool, limit: int, as_json: bool, settings: Settings) -> None:
    """List deliveries that are pending or failed, newest first."""
    found = run_in_box(
        settings,
        lambda runtime: runtime.state.read(deliveries.listing, unfinished_only=not show_all, limit=limit),
    )
    if as_json:
        print_json(found)
        return
    for row in found:
        state = f"{row['state']} after {row['attempts']}" if row["state"] else "nobody wants it"
        line = f"{row['time']:%Y-%m-%d %H:%M:%SZ} {row['id']} {row['type']} {row['email']} -> "
        line += f"{row['implementation'] or '-'}: {state}"
        click.echo(printable(line + (f": {row['error']}" if row["error"] else "")))


@events.command()
@click.argument("event_id", required=False)
@click.option("--implementation", metavar="NAME", help="Only those for this module.")
@box_options
def retry(event_id: str | None, implementation: str | None, settings: Settings) -> None:
    """Try failed deliveries again: all, or those of one event."""

    async def work(runtime: Runtime) -> tuple[int, bool]:
        ids = await runtime.state.write(deliveries.retry_failed, event_id, implementation)
        return len(ids), await tell_hooks(runtime, Change(tuple(ids)))

    count, told = run_in_box(settings, work)
    click.echo(
        f"{count} deliveries were tried again{'.' if told else '; not all succeeded, see events list.'}"
    )


@events.command()
@click.argument("implementation")
@box_options
def forget(implementation: str, settings: Settings) -> None:
    """Drop a module that is not installed any more, with the deliveries that wait for it."""
    count = run_in_box(settings, lambda runtime: runtime.state.write(planning.forget, implementation))
    click.echo(f"{count} unfinished deliveries were dropped.")

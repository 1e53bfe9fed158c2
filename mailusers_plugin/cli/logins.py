"""``mailusers session`` and ``mailusers throttle``: who is logged in, and who may not try for now."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from mailusers_plugin.cli.common import box_options, note, print_json, printable, run_in_box
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import sessions as stored
from mailusers_plugin.store import throttle as counters


@click.group()
def session() -> None:
    """Sessions: who is logged in to the panel, and with what."""


@session.command("list")
@click.argument("email", required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@box_options
def list_(email: str | None, as_json: bool, settings: Settings) -> None:
    """List the sessions of a user, or of everybody, the one that was used last first."""
    found = run_in_box(settings, lambda runtime: runtime.authenticator().live_sessions(email))
    if as_json:
        print_json(
            [
                {
                    "id": stored.id_of(one),
                    "email": one.email,
                    "kind": one.kind,
                    "began": one.created_at,
                    "used": one.used_at,
                    "address": one.address,
                    "agent": one.agent,
                }
                for one in found
            ]
        )
        return
    for one in found:
        line = f"{stored.id_of(one)} {one.email} {one.kind} from {one.address or '?'}, "
        line += f"begun {one.created_at:%Y-%m-%d %H:%M:%SZ}, used {one.used_at:%Y-%m-%d %H:%M:%SZ}"
        click.echo(printable(line + (f", {one.agent}" if one.agent else "")))


@session.command()
@click.argument("email")
@click.argument("session_id", required=False)
@click.option("--all", "end_all", is_flag=True, help="End all of them.")
@box_options
def end(email: str, session_id: str | None, end_all: bool, settings: Settings) -> None:
    """End one session of a user, or all of them."""
    if (session_id is None) == (not end_all):
        raise InvalidInputError(
            "Say which session is to end, by its id from 'mailusers session list', or --all."
        )

    async def work(runtime: Runtime) -> int:
        authenticator = runtime.authenticator()
        if session_id is None:
            count = await authenticator.end_sessions(email)
            await note(runtime, "SessionEnded", email, id="all")
            return count
        if not await authenticator.end_session_by_id(email, session_id):
            raise InvalidInputError("There is no such session. It may have ended already.")
        await note(runtime, "SessionEnded", email, id=session_id)
        return 1

    click.echo(f"{run_in_box(settings, work)} sessions were ended.")


@click.group()
def throttle() -> None:
    """Throttling of log-ins: what has failed lately."""


@throttle.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@box_options
def list_failures(as_json: bool, settings: Settings) -> None:
    """List which accounts and networks log-ins failed for, the last failure first.

    Of each it is said how many failures are remembered; they are forgotten one by one.
    """
    now_ms = int(time.time() * 1000)

    async def work(runtime: Runtime) -> list[dict[str, object]]:
        steps = runtime.throttle.steps_ms
        return [
            {
                "kind": row["kind"],
                "email": row["email"],
                "network": row["network"],
                "failures": -(-max(0, row["drained_at"] - now_ms) // steps[row["kind"]])
                if row["kind"] in steps
                else 0,
                "last": datetime.fromtimestamp(row["last_at"] // 1000, UTC),
            }
            for row in await runtime.state.read(counters.listing, now_ms)
        ]

    found = run_in_box(settings, work)
    if as_json:
        print_json(found)
        return
    for row in found:
        who = " ".join(str(row[name]) for name in ("email", "network") if row[name])
        click.echo(printable(f"{row['last']:%Y-%m-%d %H:%M:%SZ} {row['kind']} {who}: {row['failures']}"))


@throttle.command()
@click.argument("email", required=False)
@click.option("--network", help="Only failures from this address or network, as 'list' shows it.")
@click.option("--all", "clear_all", is_flag=True, help="Forget everything.")
@box_options
def clear(email: str | None, network: str | None, clear_all: bool, settings: Settings) -> None:
    """Forget failures, so that log-ins to an account or from a network are let through again."""
    if clear_all == (email is not None or network is not None):
        raise InvalidInputError("Say what is to be forgotten: an account, --network, or --all.")

    async def work(runtime: Runtime) -> int:
        count = await runtime.state.write(counters.clear, email, network)
        await note(runtime, "ThrottleCleared", email or "", network=network)
        return count

    click.echo(f"{run_in_box(settings, work)} counters were cleared.")

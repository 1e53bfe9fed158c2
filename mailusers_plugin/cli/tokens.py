"""``mailusers token``: API tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from mailusers_plugin.auth.tokens import Token, Tokens
from mailusers_plugin.cli.common import box_options, note, print_json, printable, run_in_box
from mailusers_plugin.permissions import SCOPES
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings


@click.group()
def token() -> None:
    """Create, list and revoke API tokens, by which programs use the API in somebody's name."""


@token.command()
@click.option("--owner", metavar="EMAIL", required=True, help="The administrator in whose name it acts.")
@click.option("--name", required=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(list(SCOPES)),
    help="What it may do; may be repeated.",
)
@click.option("--days", type=float, help="After which it expires; the setting token_days where left out.")
@click.option("--no-expiry", is_flag=True, help="Let it never expire.")
@click.option(
    "--network",
    "networks",
    metavar="NETWORK",
    multiple=True,
    help="From where it may be used, such as 192.0.2.0/24 or 2001:db8::1; may be repeated. From everywhere by default.",
)
@click.option(
    "--of-host",
    is_flag=True,
    help="The owner is somebody of a panel with a log-in of its own, not a mail user.",
)
@box_options
def create(
    owner: str,
    name: str,
    scopes: tuple[str, ...],
    days: float | None,
    no_expiry: bool,
    networks: tuple[str, ...],
    of_host: bool,
    settings: Settings,
) -> None:
    """Make a token and print it, this once: it is stored nowhere."""
    if no_expiry and days is not None:
        raise click.UsageError("Give --days or --no-expiry, not both.")

    async def make(runtime: Runtime) -> tuple[Token, str]:
        tokens: Tokens = runtime.tokens(of_host=of_host)
        wanted = None if no_expiry else tokens.days if days is None else days
        made, key = await tokens.create(owner, name, scopes, days=wanted, networks=networks)
        await note(runtime, "TokenCreated", owner, id=made.id, name=made.name, scopes=list(made.scopes))
        return made, key

    made, key = run_in_box(settings, make)
    click.echo(f"{made.id}: {_until(made)}. The token is not shown again:", err=True)
    click.echo(key)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Everything, for scripts.")
@box_options
def list_(as_json: bool, settings: Settings) -> None:
    """List the tokens, the newest first; never the tokens themselves."""

    async def everything(runtime: Runtime) -> list[Token]:
        return list(await runtime.tokens().everything())

    found = run_in_box(settings, everything)
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    for one in found:
        networks = f"from {', '.join(one.networks)}  " if one.networks else ""
        used = "not used yet"
        if one.used_at is not None:
            used = f"used {one.used_at:%Y-%m-%d %H:%M} UTC {one.used_from}".rstrip()
        line = f"{one.id}  {one.owner}  {' '.join(one.scopes)}  {networks}{_until(one)}  {used}  {one.name}"
        click.echo(printable(line))


@token.command()
@click.argument("token_id", metavar="ID")
@box_options
def revoke(token_id: str, settings: Settings) -> None:
    """Make a token invalid at once and for good. ID is the one that 'mailusers token list' prints first."""

    async def work(runtime: Runtime) -> None:
        await runtime.tokens().revoke(token_id)
        await note(runtime, "TokenRevoked", id=token_id)

    run_in_box(settings, work)
    click.echo("OK")


def _until(one: Token) -> str:
    if one.expires_at is None:
        return "never expires"
    over = one.expires_at <= datetime.now(UTC)
    return f"{'expired' if over else 'expires'} {one.expires_at:%Y-%m-%d %H:%M} UTC"


def _as_json(one: Token) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "owner": one.owner,
        "of_host": one.owner_id is None,
        "scopes": list(one.scopes),
        "networks": list(one.networks),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "used_at": one.used_at,
        "used_from": one.used_from,
    }

"""``mailusers mfa``: the second factor of somebody who is locked out."""

from __future__ import annotations

import click

from mailusers_plugin.auth.second_factor import FactorStatus
from mailusers_plugin.cli.common import box_options, note, print_json, printable, run_in_box
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import sessions


@click.group()
def mfa() -> None:
    """Second factors of users who log in to the page and the API."""


@mfa.command()
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Everything, for scripts.")
@box_options
def status(email: str, as_json: bool, settings: Settings) -> None:
    """Show which second factors a user has, and how many recovery codes are left; never a secret."""
    found = run_in_box(settings, lambda runtime: runtime.second_factors.status(email))
    if as_json:
        factors = [{"id": factor.id, "type": factor.type, "label": factor.label} for factor in found.factors]
        print_json({"email": email, "factors": factors, "recovery_codes": found.codes})
        return
    _say(found)


def _say(found: FactorStatus) -> None:
    if not found.factors:
        click.echo("no second factor")
        return
    for factor in found.factors:
        click.echo(printable(f"{factor.id:>6}  {factor.type}  {factor.label or ''}").rstrip())
    click.echo(f"recovery codes left: {found.codes}")


@mfa.command()
@click.argument("email")
@click.option(
    "--id", "number", type=click.IntRange(1, 2**31 - 1), help="Only this one; 'status' shows the ids."
)
@box_options
def disable(email: str, number: int | None, settings: Settings) -> None:
    """Remove all second factors of a user, or one; the password alone logs in then. The user's sessions end."""

    async def work(runtime: Runtime) -> int:
        removed = await runtime.second_factors.disable(email, number)
        if removed:
            await runtime.state.write(sessions.end_all, email)
            await note(runtime, "SecondFactorRemoved", email, id=number or "all")
        return removed

    if not run_in_box(settings, work):
        which = f"no second factor {number}" if number else "no second factor"
        raise InvalidInputError(f"{email} has {which}.")
    click.echo("second factor removed")


@mfa.command()
@click.argument("email")
@box_options
def codes(email: str, settings: Settings) -> None:
    """Make new recovery codes for a user, and print them; the old ones end."""

    async def work(runtime: Runtime) -> list[str]:
        made = await runtime.second_factors.new_codes(email)
        await note(runtime, "RecoveryCodesMade", email)
        return made

    for code in run_in_box(settings, work):
        click.echo(code)

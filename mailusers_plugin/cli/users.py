"""``mailusers user``: the mail users."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from mailusers_plugin.cli.common import box_options, change_in_box, print_json, printable, run_in_box
from mailusers_plugin.cli.export_users import export
from mailusers_plugin.cli.import_users import import_
from mailusers_plugin.cli.undo_import import undo_import
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.settings import Settings
from mailusers_plugin.settings_browser import CLI
from mailusers_plugin.user_objects import archived_object, user_object
from mailusers_plugin.validation import check_password, display_domain, display_quota


@click.group()
def user() -> None:
    """List, add, change and remove mail users."""


def _password(from_stdin: bool, settings: Settings) -> str:
    """Read a password: one line of standard input, or asked for twice. It is never an argument."""
    if from_stdin:
        return check_password(sys.stdin.readline().rstrip("\r\n"), settings.password_min_length)
    if not sys.stdin.isatty():
        raise InvalidInputError("There is no terminal to ask for the password. Use --password-stdin.")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return check_password(password, settings.password_min_length)


_password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
_policy_option = click.option(
    "--policy/--no-policy",
    default=None,
    help="Ask more of the password than its length, or not. [default: as password_policy says of cli]",
)


def _with_policy(settings: Settings, policy: bool | None) -> Settings:
    """Return the settings as the option wants them."""
    if policy is None:
        return settings
    others = tuple(place for place in settings.password_policy if place != CLI)
    return replace(settings, password_policy=(*others, CLI) if policy else others)


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Everything, for scripts.")
@box_options
def list_(as_json: bool, settings: Settings) -> None:
    """List the users by domain; archived ones behind the active ones."""
    domains = run_in_box(settings, lambda runtime: runtime.listing.domains())
    if as_json:
        print_json(
            [
                {
                    "domain": display_domain(domain.name),
                    "users": [user_object(u) for u in domain.users]
                    + [archived_object(u) for u in domain.archived],
                }
                for domain in domains
            ]
        )
        return
    for domain in domains:
        for active in domain.users:
            _print_row(user_object(active), ", ".join(active.privileges))
        for archived in domain.archived:
            _print_row(archived_object(archived), "archived")


def _print_row(found: dict[str, Any], note: str) -> None:
    quota = "unlimited" if found["quota"] == "0" else found["quota"]
    row = f"{found['email']:<40} {found['box_size']:>8} {found['percent']:>5} {quota:>10}  {note}"
    click.echo(printable(row).rstrip())


@user.command()
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@click.option("--quota", help="Such as 500M or 5G; 0 for unlimited.")
@_password_option
@_policy_option
@box_options
def add(
    email: str, admin: bool, quota: str | None, password_stdin: bool, policy: bool | None, settings: Settings
) -> None:
    """Add a mail user, or restore an archived one with the old mailbox."""
    password = _password(password_stdin, settings)
    privileges = (ADMIN,) if admin else ()
    change_in_box(
        _with_policy(settings, policy),
        lambda runtime, actor: runtime.service.add(actor, email, password, privileges, quota, place=CLI),
        make=True,
    )
    click.echo("mail user added")


@user.command()
@click.argument("email")
@box_options
def remove(email: str, settings: Settings) -> None:
    """Archive a mail user: the account goes, the mailbox stays."""
    change_in_box(settings, lambda runtime, actor: runtime.service.archive(actor, email))
    click.echo("mail user removed")


@user.command()
@click.argument("email")
@click.option("--confirm", metavar="EMAIL", help="The address again; asked for where it is missing.")
@box_options
def purge(email: str, confirm: str | None, settings: Settings) -> None:
    """Delete an archived mailbox for good."""
    if confirm is None:
        if not sys.stdin.isatty():
            raise InvalidInputError("There is no terminal to ask. Repeat the address with --confirm.")
        confirm = click.prompt(f"This deletes all mail of {email} for good. Type the address to confirm")
    typed = confirm
    change_in_box(settings, lambda runtime, actor: runtime.service.purge(actor, email, typed))
    click.echo("mail user purged")


@user.command()
@click.argument("email")
@_password_option
@_policy_option
@box_options
def password(email: str, password_stdin: bool, policy: bool | None, settings: Settings) -> None:
    """Set a password; open sessions end."""
    new = _password(password_stdin, settings)
    change_in_box(
        _with_policy(settings, policy),
        lambda runtime, actor: runtime.service.set_password(actor, email, new, place=CLI),
    )
    click.echo("OK")


@user.command()
@click.argument("email")
@click.argument("quota", required=False)
@box_options
def quota(email: str, quota: str | None, settings: Settings) -> None:
    """Show a quota, or set it: 500M, 5G, bytes as digits, or 0 for unlimited."""
    if quota is None:
        account = run_in_box(settings, lambda runtime: runtime.service.account(email))
        click.echo(printable(display_quota(account.quota)))
        return
    change_in_box(settings, lambda runtime, actor: runtime.service.set_quota(actor, email, quota))
    click.echo("OK")


@user.command("make-admin")
@click.argument("email")
@box_options
def make_admin(email: str, settings: Settings) -> None:
    """Make a user an administrator."""
    change_in_box(settings, lambda runtime, actor: runtime.service.add_privileges(actor, email, (ADMIN,)))
    click.echo("OK")


@user.command("remove-admin")
@click.argument("email")
@box_options
def remove_admin(email: str, settings: Settings) -> None:
    """Make an administrator a normal user."""
    change_in_box(settings, lambda runtime, actor: runtime.service.remove_privileges(actor, email, (ADMIN,)))
    click.echo("OK")


for command in (import_, export, undo_import):
    user.add_command(command)

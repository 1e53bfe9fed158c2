"""The command ``mailusers`` and its groups."""

from __future__ import annotations

import sys
from typing import Any

import click

from mailusers_plugin._version import __version__
from mailusers_plugin.cli.api_key import api_key
from mailusers_plugin.cli.audit import audit
from mailusers_plugin.cli.backup import backup, restore
from mailusers_plugin.cli.common import EX_TEMPFAIL
from mailusers_plugin.cli.database import database
from mailusers_plugin.cli.doctor import doctor
from mailusers_plugin.cli.events import events
from mailusers_plugin.cli.fail2ban import fail2ban
from mailusers_plugin.cli.logins import session, throttle
from mailusers_plugin.cli.mail_config import dovecot, postfix
from mailusers_plugin.cli.mfa import mfa
from mailusers_plugin.cli.serve import serve, settings
from mailusers_plugin.cli.tokens import token
from mailusers_plugin.cli.users import user
from mailusers_plugin.errors import MailUsersError, UnavailableError


class _Group(click.Group):
    """Turns our errors into a message on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UnavailableError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(EX_TEMPFAIL)
        except MailUsersError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mailusers")
def main() -> None:
    """Manage the mail users of a box.

    Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 75 something is busy or away, try again later.
    """


for command in (
    serve,
    user,
    mfa,
    token,
    api_key,
    events,
    audit,
    session,
    throttle,
    doctor,
    backup,
    restore,
    database,
    dovecot,
    postfix,
    fail2ban,
    settings,
):
    main.add_command(command)

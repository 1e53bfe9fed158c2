"""``mailusers api-key``: the system API key."""

from __future__ import annotations

from contextlib import suppress

import click

from mailusers_plugin.auth.api_key import rotate_api_key
from mailusers_plugin.cli.common import box_options, note, printable, run_in_box
from mailusers_plugin.errors import ConfigurationError, MailUsersError
from mailusers_plugin.settings import Settings


@click.group("api-key")
def api_key() -> None:
    """Replace the system API key, by which whoever can read its file may do everything."""


@api_key.command()
@box_options
def rotate(settings: Settings) -> None:
    """Put a new key into the file. The old one is refused at once, also by panels that run."""
    path = settings.api_key_path
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"There is no folder {path.parent}. Name another box with --storage-root; a new box makes its key itself."
        )
    link = rotate_api_key(path)
    with suppress(MailUsersError):
        # The old key is gone, whatever comes of this.
        run_in_box(settings, lambda runtime: note(runtime, "ApiKeyRotated"))
    click.echo(f"There is a new API key in {path}. Programs that use the old one have to read it anew.")
    if link:
        click.echo(
            f"{path} was a link to {printable(link)}. It is a file now; what the link led to is as it was, and holds "
            "no key any more.",
            err=True,
        )

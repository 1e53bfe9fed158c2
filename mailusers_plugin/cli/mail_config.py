"""``mailusers dovecot-config`` and ``mailusers postfix-config``: what the mail servers must be told of a box."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mailusers_plugin.cli.common import box_options, print_json
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.mailserver import dovecot_config, fragments, postfix_config
from mailusers_plugin.mailserver.fragments import Fragment
from mailusers_plugin.settings import Settings
from mailusers_plugin.store.place import find_place

F = TypeVar("F", bound=Callable[..., Any])
_folder = click.Path(path_type=Path, file_okay=False)


def _fragment_options(function: F) -> F:
    """Add what both commands have in common; the command gets the password, and returns the fragments."""

    @click.option(
        "--password-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="File, mode 0600, with the password of the mail server's own database user. With --write only.",
    )
    @click.option("--write", is_flag=True, help="Write the files, instead of printing them. None may exist.")
    @click.option("--json", "as_json", is_flag=True, help="For scripts.")
    @functools.wraps(function)
    def wrapped(*args: Any, password_file: Path | None, write: bool, as_json: bool, **kwargs: Any) -> None:
        if password_file is not None and not write:
            raise InvalidInputError("A password is never printed. Say --write, or leave --password-file out.")
        password = None if password_file is None else fragments.read_password(password_file)
        found: Sequence[Fragment] = function(*args, password=password, **kwargs)
        if write:
            for path in fragments.write(found):
                click.echo(f"{path} was written.", err=True)
            found = [fragment for fragment in found if fragment.part]
        if as_json:
            print_json([_as_object(fragment) for fragment in found])
        else:
            click.echo("\n".join(_as_text(fragment) for fragment in found), nl=False)

    return wrapped  # type: ignore[return-value]


def _as_object(fragment: Fragment) -> dict[str, Any]:
    return {
        "path": fragment.path,
        "owner": fragment.owner,
        "mode": f"{fragment.mode:04o}",
        "part": fragment.part,
        "text": fragment.text,
    }


def _as_text(fragment: Fragment) -> str:
    what = "add to" if fragment.part else f"{fragment.owner} {fragment.mode:04o}"
    return f"# ---- {fragment.path} ({what})\n{fragment.text}"


@click.command("dovecot-config")
@click.option(
    "--folder",
    type=_folder,
    default=dovecot_config.FOLDER,
    show_default=True,
    help="Dovecot's configuration.",
)
@click.option(
    "--queue-folder",
    "queue",
    type=_folder,
    default=dovecot_config.QUEUE,
    show_default=True,
    help="Postfix's queue_directory, in which it meets Dovecot.",
)
@_fragment_options
@box_options
def dovecot(folder: Path, queue: Path, password: str | None, settings: Settings) -> list[Fragment]:
    """Print what Dovecot must be told to serve the box's users: files, owners, modes.

    On PostgreSQL and MariaDB also the statements that make a database user for it, who may read what it needs only.
    The box is not opened.
    """
    place = find_place(settings.database_url)
    return dovecot_config.dovecot_fragments(
        place, settings, folder=folder.absolute(), queue=queue.absolute(), password=password
    )


@click.command("postfix-config")
@click.option(
    "--folder",
    type=_folder,
    default=postfix_config.FOLDER,
    show_default=True,
    help="Postfix's configuration.",
)
@_fragment_options
@box_options
def postfix(folder: Path, password: str | None, settings: Settings) -> list[Fragment]:
    """Print what Postfix must be told to take the box's mail: files, owners, modes, and lines of main.cf.

    On PostgreSQL and MariaDB also the statements that make a database user for it, who may read what it needs only.
    The box is not opened.
    """
    place = find_place(settings.database_url)
    return postfix_config.postfix_fragments(
        place, settings.storage_root, folder=folder.absolute(), password=password
    )

"""``mailusers database``: moving a box from one database to another."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mailusers_plugin.cli.common import PASSWORD_SEEN, set_up_logging
from mailusers_plugin.errors import ConfigurationError, InvalidInputError, UnavailableError
from mailusers_plugin.server_lock import ServerLock
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import copying
from mailusers_plugin.store.box import make_folders, open_box
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.place import has_password, read_url, without_password

OWN_FILES: Final = "sqlite"
_LINE_SECONDS: Final = 10.0
"""Where nobody watches, a line is written this often, beside the first and the last one of a table."""


@click.group()
def database() -> None:
    """Where the accounts are kept."""


@database.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--storage-root", type=click.Path(path_type=Path), help="Folder of the box.")
@click.option(
    "--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file with settings."
)
def copy(source: str, target: str, storage_root: Path | None, config: Path | None) -> None:
    """Copy a box with all that belongs to it into another database, and verify that.

    FROM and TO are each 'sqlite' for the files in the box, a database URL without a password, 'env:NAME' for a URL in
    an environment variable, or 'file:PATH' for one in a file of mode 0600.

    Stop every panel first. FROM stays as it is, and nothing can be changed in it meanwhile. TO must be empty. What was
    interrupted is begun anew by the same command; until it has ended nobody can open TO. Then set 'database' to TO.
    """
    set_up_logging(logging.CRITICAL)
    settings = Settings.load(file=config, storage_root=storage_root)
    from_settings = replace(settings, database=_read_url(source))
    to_settings = replace(settings, database=_read_url(target))
    _check_two(from_settings, to_settings)
    if ServerLock(settings.storage_root / "mailusers" / "server.lock").is_shared():
        raise UnavailableError("A panel is running on this box. Stop it, and run this again.")
    with closing(open_box(from_settings)) as opened:
        others = opened.accounts.read_now(copying.other_sessions)
        if others:
            raise UnavailableError(
                f"{others} other connections with the panel's user are open in FROM. Stop every panel and command that "
                "uses it, on all machines, and run this again."
            )
        _begin(to_settings, _name(from_settings))
        with closing(open_box(to_settings, copying=True)) as new:
            with progress() as report:
                sums = copying.copy_rows(opened, new, report)
            new.accounts.write_now(copying.end)
    for name, found in sums.items():
        click.echo(f"{name:<24}{found.rows:>10} rows  {found.checksum}")
    click.echo("Everything was copied and read back: counts and checksums are equal.")


def _begin(settings: Settings, source: str) -> None:
    if settings.database:
        with closing(Database(settings.database_url)) as found:
            found.write_now(copying.begin, source)
        return
    state = settings.storage_root / "mailusers" / "state.sqlite"
    # With the right owners from the start.
    make_folders(settings)
    with closing(Database(settings.database_url, shared=False)) as found:
        again = found.read_now(copying.interrupted) is not None
        if not again and state.exists():
            raise ConfigurationError(f"The target is not empty: there is {state}. Move it away.")
        found.write_now(copying.begin, source)


def _read_url(word: str) -> str:
    """Return the URL that an argument stands for, empty for the box's own files."""
    kind, _, name = word.partition(":")
    if word == OWN_FILES:
        return ""
    if kind == "env":
        if not os.environ.get(name):
            raise InvalidInputError(f"The environment has no variable {name}.")
        url = os.environ[name].strip()
    elif kind == "file":
        url = _read_file(Path(name))
    else:
        url = word
        if has_password(url):
            raise InvalidInputError(
                f"{PASSWORD_SEEN} Put the URL into a file of mode 0600 and say file:PATH, or env:NAME for a variable. "
                "Change that password."
            )
    return url if url != OWN_FILES and read_url(url) else ""


def _read_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise ConfigurationError(
                    f"Others may read {path}, in which a password may be. Run: chmod 600 {path}"
                )
            return opened.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"The file {path} cannot be read: {reason}.") from None


def _name(settings: Settings) -> str:
    return without_password(settings.database_url)


def _check_two(source: Settings, target: Settings) -> None:
    one, other = read_url(source.database_url), read_url(target.database_url)
    if one.get_backend_name() == other.get_backend_name() == "sqlite":
        raise InvalidInputError(
            "Both are SQLite, whose files can be copied as they are: docs/storage.md says how. Name another database."
        )
    if (one.host, one.port, one.database) == (other.host, other.port, other.database):
        raise InvalidInputError("FROM and TO are the same database.")
    if one.get_backend_name() == "sqlite" and not Path(one.database or "").exists():
        raise ConfigurationError(
            f"There is no box in {source.storage_root}. Name another folder with --storage-root."
        )


@contextmanager
def progress() -> Iterator[copying.Report]:
    """Show how far it is: bars on a terminal, else a line now and then."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield _Lines().report
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield report


class _Lines:
    """Writes lines to standard error."""

    def __init__(self) -> None:
        self._written_at = time.monotonic()

    def report(self, what: str, done: int, total: int) -> None:
        """Write a line at the end of a table that has rows, and where the last one is some time ago."""
        now = time.monotonic()
        if (done == total and total) or now - self._written_at >= _LINE_SECONDS:
            self._written_at = now
            click.echo(f"{what}: {done} of {total}", err=True)

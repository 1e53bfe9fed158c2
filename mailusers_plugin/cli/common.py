"""What the commands share: the options that name the box, opening it, printing."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.models import Actor, Change
from mailusers_plugin.request_log import TEXT, RequestFilter, formatter
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import deliveries
from mailusers_plugin.store.place import has_password

EX_TEMPFAIL: Final = 75
"""sysexits.h: try again later."""
_HOOK_SECONDS: Final = 10.0

PASSWORD_SEEN: Final = (
    "A password on a command line can be read by everybody on the machine, and stays in the shell's history."
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def refuse_password(_context: click.Context, _parameter: click.Parameter, url: str | None) -> str | None:
    """Refuse a database URL with a password, as the callback of an option: see proc(5), ``/proc/PID/cmdline``.

    :raises click.BadParameter: if it has one
    :raises ConfigurationError: if it is no URL
    """
    if url and has_password(url):
        raise click.BadParameter(
            f"{PASSWORD_SEEN} Put the URL into a file of mode 0600 and say --config FILE, or into the environment as "
            "MAILUSERS_DATABASE. Change that password."
        )
    return url


database_option = click.option(
    "--database",
    metavar="URL",
    callback=refuse_password,
    help="SQLAlchemy URL of the accounts, without a password.",
)


def box_options(function: F) -> F:
    """Add the options that say which box is meant; the command gets them as ``settings``."""

    @click.option("--storage-root", type=click.Path(path_type=Path), help="Folder of the box.")
    @database_option
    @click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="TOML file with settings.",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, storage_root: Any, database: Any, config: Any, **kwargs: Any) -> Any:
        settings = Settings.load(file=config, storage_root=storage_root, database=database)
        return function(*args, settings=settings, **kwargs)

    return wrapped  # type: ignore[return-value]


def set_up_logging(level: int, kind: str = TEXT) -> None:
    """Log to standard error; the migrations' chatter only from warnings on.

    :param kind: how a line is written, one of :data:`mailusers_plugin.request_log.FORMATS`
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(kind))
    handler.addFilter(RequestFilter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


def actor() -> Actor:
    """Return who runs the command: the system's user, or who became root by sudo."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return Actor(name, "cli")


@asynccontextmanager
async def open_runtime(settings: Settings, *, make: bool = False) -> AsyncIterator[Runtime]:
    """Open the box for one command.

    :param make: make the box where there is none; otherwise a mistyped folder is an error, not a new box
    :raises ConfigurationError: if there is no box
    """
    if not make and not settings.database and not settings.database_path.exists():
        raise ConfigurationError(
            f"There is no box in {settings.storage_root}. Name another folder with --storage-root, or make a box "
            "with 'mailusers serve' or 'mailusers user add'."
        )
    # What fails is said once, by the error; a hook's own trouble is in 'mailusers events list'.
    set_up_logging(logging.CRITICAL)
    runtime = await asyncio.to_thread(Runtime, settings)
    try:
        yield runtime
    finally:
        await runtime.stop()


def run_in_box(settings: Settings, work: Callable[[Runtime], Awaitable[T]], *, make: bool = False) -> T:
    """Open the box, do something in it, close it.

    :param make: make the box where there is none
    :param work: gets the opened box
    :raises MailUsersError: what the work raises, or opening
    """

    async def run() -> T:
        async with open_runtime(settings, make=make) as runtime:
            return await work(runtime)

    return asyncio.run(run())


async def tell_hooks(runtime: Runtime, change: Change) -> bool:
    """See that the hooks are told of a change: by the server where one runs, else from here.

    :returns: whether all have been told, and none has failed
    """
    if not change.event_ids:
        return True
    if not runtime.server_runs():
        await runtime.dispatcher.start()
    ended = await runtime.service.wait_for_hooks(change, _HOOK_SECONDS, tried=True)
    return ended and not await runtime.state.read(deliveries.count_failed, change.event_ids)


def change_in_box(
    settings: Settings, work: Callable[[Runtime, Actor], Coroutine[Any, Any, Change]], *, make: bool = False
) -> None:
    """Make a change and see that the hooks are told: by the server where one runs, else from here.

    :param make: make the box where there is none
    :param work: makes the change
    :raises MailUsersError: what the work raises, or opening
    """

    async def run(runtime: Runtime) -> None:
        change = await work(runtime, actor())
        if not await tell_hooks(runtime, change):
            click.echo(
                "Done. Some hooks have not been told yet: see 'mailusers events list'.",
                err=True,
            )

    run_in_box(settings, run, make=make)


def print_json(value: Any) -> None:
    """Print for scripts; times as ISO 8601."""
    click.echo(json.dumps(value, indent=2, default=_as_text, ensure_ascii=False))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def printable(text: str) -> str:
    """Return text of foreign origin without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


async def note(runtime: Runtime, type_: str, email: str = "", **detail: Any) -> None:
    """Write into the audit trail what no event tells.

    :param type_: what happened, such as ``SessionEnded``
    :param email: whom it is about
    :param detail: JSON values; never a secret
    """
    await runtime.trail.note(type_, email=email, actor=actor().name, via="cli", detail=detail)

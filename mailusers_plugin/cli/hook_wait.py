"""Ends long commands gently, and sees that the hooks are told of very many changes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from mailusers_plugin.cli.progress import progress
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import backlog

_LOOK_SECONDS: Final = 0.5


@contextmanager
def ended_gently(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end something at a good place, and the second at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    was_told = False

    def end() -> None:
        nonlocal was_told
        if was_told and task is not None:
            task.cancel()
            return
        was_told = True
        click.echo("Ending …", err=True)
        stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def tell_all_hooks(runtime: Runtime, *, wait: bool) -> None:
    """See that the hooks are told of everything: by the server where one runs, else from here.

    What is not told when somebody ends it is told by the next server, or the next command that changes something.

    :param wait: whether a server is waited for
    :raises UnavailableError: if a database is away
    """
    names = list(runtime.manager.implementations())
    served = runtime.server_runs()
    if not names or (served and not wait):
        return
    failed_before = await runtime.state.read(backlog.count_unsettled, names)
    newest = await runtime.database.read(backlog.newest_event)
    if newest is None:
        return
    if not served:
        await runtime.dispatcher.start()
    stopped = asyncio.Event()
    total = 0
    with progress("Telling hooks", 0, "calls") as bar, ended_gently(stopped.set):
        while not stopped.is_set():
            is_taken_over = await runtime.state.read(backlog.is_taken_over, newest)
            left = await runtime.state.read(backlog.count_untried, names)
            if is_taken_over and not left:
                break
            total = max(total, left)
            bar.show(total - left, total)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stopped.wait()
            except TimeoutError:
                continue
    if stopped.is_set():
        click.echo("The hooks that were not told are told by the next server.", err=True)
    elif await runtime.state.read(backlog.count_unsettled, names) > failed_before:
        click.echo("Some hooks have not been told yet: see 'mailusers events list'.", err=True)

"""``python -m tests.crash --kills 300``: many more kills than the suite has time for."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from tests.crash.storm import Storm
from tests.servers.databases import mariadb, postgresql

ENGINES: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "sqlite": lambda: nullcontext(""),
    "postgresql": postgresql,
    "mariadb": mariadb,
}


@click.command()
@click.option("--kills", default=300, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option(
    "--seed", type=int, help="The number that an earlier run has printed, to choose the same again."
)
@click.option("--engine", type=click.Choice(list(ENGINES)), default="sqlite", show_default=True)
def main(kills: int, seed: int | None, engine: str) -> None:
    """Kill a server with SIGKILL again and again while clients change users, and compare everything."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"seed {seed}, {engine}")
    with tempfile.TemporaryDirectory(prefix="mailusers-crash-") as folder, ENGINES[engine]() as url:
        click.echo(Storm(Path(folder), url, seed).survive(kills))


if __name__ == "__main__":
    main()

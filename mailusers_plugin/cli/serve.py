"""``mailusers serve`` and ``mailusers settings``."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from mailusers_plugin.cli.common import database_option, print_json, set_up_logging
from mailusers_plugin.settings import NAMES, Settings, explain, show


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where to listen. [default: 127.0.0.1:10222]")
@click.option("--storage-root", type=click.Path(path_type=Path), help="Folder of the box.")
@database_option
@click.option("--prefix", metavar="PATH", help="Path in front of every route. [default: /admin]")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file.")
@click.option("--demo", is_flag=True, help="Serve a throw-away box with made-up users, for a first look.")
def serve(config: Path | None, demo: bool, **arguments: Any) -> None:
    """Run the panel until it gets SIGTERM or Ctrl-C."""
    # The panel brings Tornado with it, which the other commands do not need.
    from mailusers_plugin import panel

    if not demo:
        settings = Settings.load(file=config, **arguments)
        set_up_logging(logging.INFO, settings.log_format)
        panel.run(settings, _say)
        return
    from mailusers_plugin.demo import make_demo

    folder = tempfile.mkdtemp(prefix="mailusers-demo-")
    try:
        arguments["storage_root"] = folder
        settings = Settings.load(file=config, doveadm=(), **arguments)
        set_up_logging(logging.INFO, settings.log_format)
        panel.run(settings, _say, lambda s: make_demo(s, _say))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(line: str) -> None:
    click.echo(line)


@click.command()
@click.option("--storage-root", type=click.Path(path_type=Path), help="Folder of the box.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML file.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def settings(storage_root: Path | None, config: Path | None, as_json: bool) -> None:
    """Print every setting, its value, and where the value comes from."""
    sources = Settings.sources(file=config, arguments={"storage_root": storage_root})
    if as_json:
        print_json(
            {n: {"value": show(n, v), "source": s, "about": explain(n)} for n, (v, s) in sources.items()}
        )
        return
    for name in NAMES:
        value, source = sources[name]
        click.echo(f"{name} = {show(name, value)!r}  ({source})")

"""``mailusers fail2ban-config``: what bans those who guess passwords."""

from __future__ import annotations

from pathlib import Path

import click

from mailusers_plugin.mailserver import fail2ban_config, fragments


@click.command("fail2ban-config")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=fail2ban_config.FOLDER,
    show_default=True,
    help="fail2ban's configuration.",
)
@click.option(
    "--unit",
    "units",
    multiple=True,
    default=(fail2ban_config.UNIT,),
    show_default=True,
    help="The panel's unit, whose journal is read. May be given several times.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that the panel's output goes to, where that is not the journal.",
)
@click.option("--write", is_flag=True, help="Write the files, instead of printing them. None may exist.")
def fail2ban(folder: Path, units: tuple[str, ...], log_file: Path | None, write: bool) -> None:
    """Print a filter and a jail with which fail2ban bans addresses whose log-ins fail again and again.

    A Mail-in-a-Box needs neither: its own filter matches the same lines.
    """
    found = fail2ban_config.fail2ban_fragments(
        folder=folder.absolute(), units=units, log_file=None if log_file is None else log_file.absolute()
    )
    if write:
        for path in fragments.write(found):
            click.echo(f"{path} was written.", err=True)
        return
    click.echo(
        "\n".join(f"# ---- {one.path} ({one.owner} {one.mode:04o})\n{one.text}" for one in found), nl=False
    )

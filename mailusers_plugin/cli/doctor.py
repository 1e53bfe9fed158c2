"""``mailusers doctor``."""

from __future__ import annotations

import logging
import sys

import click

from mailusers_plugin import diagnosis
from mailusers_plugin.cli.common import box_options, print_json, printable, set_up_logging
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.settings import Settings


@click.command()
@click.option("--fix", is_flag=True, help="Mend Postfix's look-ups: behind proxymap, with a short throttle.")
@click.option(
    "--wal", is_flag=True, help="With --fix: share the folder with Postfix and use a write-ahead log."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@box_options
def doctor(fix: bool, wal: bool, as_json: bool, settings: Settings) -> None:
    """Look the box over and say what to do. Exit code 1 if something does not work."""
    set_up_logging(logging.CRITICAL)
    if wal and not fix:
        raise InvalidInputError("--wal changes something; say --fix --wal.")
    if fix:
        for done in diagnosis.mend(settings, write_ahead_log=wal):
            click.echo(done, err=as_json)
    findings = list(diagnosis.examine(settings))
    if as_json:
        print_json([{"level": f.level, "what": f.what, "says": f.says, "advice": f.advice} for f in findings])
    else:
        for finding in findings:
            click.echo(printable(f"{finding.level:<8}{finding.what}: {finding.says}"))
            if finding.advice:
                click.echo(printable(f"        {finding.advice}"))
    if any(finding.level is diagnosis.Level.ERROR for finding in findings):
        sys.exit(1)

"""What stands on a command line is seen by everybody on the machine: no command takes a secret there."""

from __future__ import annotations

import click
import pytest

from mailusers_plugin.cli import main
from tests.cli.support import Shell
from tests.generate_docs import commands

SECRET = "a-secret-nobody-sees"
COMMANDS = [context for context in commands(main) if not isinstance(context.command, click.Group)]
SECRETS = ("pass", "secret", "key", "code")


@pytest.mark.parametrize("context", COMMANDS, ids=lambda context: context.command_path)
def test_no_command_takes_a_secret(context: click.Context) -> None:
    """What is called like a secret is a switch, or names a file."""
    for parameter in context.command.params:
        name = " ".join((parameter.name or "", *parameter.opts))
        if any(word in name for word in SECRETS):
            assert getattr(parameter, "is_flag", False) or isinstance(parameter.type, click.Path), name


@pytest.mark.parametrize(
    "context",
    [context for context in COMMANDS if any("--database" in one.opts for one in context.command.params)],
    ids=lambda context: context.command_path,
)
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://panel:{SECRET}@127.0.0.1:1/mail",
        f"postgresql+psycopg://panel@127.0.0.1:1/mail?password={SECRET}",
        f"mariadb+pymysql://panel@127.0.0.1:1/mail?passwd={SECRET}",
    ],
)
def test_a_database_with_a_password_is_refused(shell: Shell, context: click.Context, url: str) -> None:
    """It is said where to put it, and not repeated."""
    path = context.command_path.split()[1:]
    needed = [
        "1" if parameter.type is click.INT else "word"
        for parameter in context.command.params
        if isinstance(parameter, click.Argument) and parameter.required
    ]
    result = shell.run(*path, "--database", url, *needed)
    assert result.exit_code == 2
    assert "MAILUSERS_DATABASE" in result.output
    assert SECRET not in result.output


def test_a_database_without_a_password(shell: Shell) -> None:
    """The same option takes a URL that has none."""
    result = shell.run("user", "list", "--database", f"sqlite:///{shell.storage}/mail/users.sqlite")
    assert (result.exit_code, result.stdout) == (0, "")
    result = shell.run("user", "list", "--database", "nonsense")
    assert result.exit_code != 0
    assert "That is no database URL" in result.output

"""Mail servers that are configured by what ``mailusers dovecot-config`` and ``postfix-config`` print."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.servers.command import mailusers
from tests.servers.databases import mariadb, postgresql
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.support import run_sql, run_sql_on

PASSWORDS = {
    "panel": "the-password.of/the+panel=",
    "mailusers_dovecot": "the-password.of/dovecot+=~",
    "mailusers_postfix": "the-password.of/postfix+=~",
}
SET_UP = {
    # What docs/databases.md says for a server on the same machine.
    "postgresql": (
        "CREATE ROLE mailusers LOGIN PASSWORD '{password}'",
        "CREATE DATABASE mail OWNER mailusers ENCODING 'UTF8' TEMPLATE template0",
    ),
    "mariadb": (
        "CREATE DATABASE IF NOT EXISTS mail CHARACTER SET utf8mb4",
        "CREATE USER 'mailusers'@'localhost' IDENTIFIED BY '{password}'",
        "GRANT ALL PRIVILEGES ON mail.* TO 'mailusers'@'localhost'",
    ),
}


@dataclass(frozen=True)
class Site:
    """A database for a box, and those who may use it.

    :ivar engine: its name
    :ivar storage: folder of the box
    :ivar url: with the panel's password; empty for SQLite
    :ivar administrator_url: of the same database; empty for SQLite
    """

    engine: str
    storage: Path
    url: str = ""
    administrator_url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name the database."""
        return {"MAILUSERS_DATABASE": self.url} if self.url else {}

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run one statement, with question marks, as an administrator of the database."""
        if self.administrator_url:
            return run_sql_on(self.administrator_url, statement, *parameters)
        return run_sql(self.storage / "mail" / "users.sqlite", statement, *parameters)

    def url_of(self, role: str) -> str:
        """Return the URL with which another user of the database logs in."""
        url = make_url(self.url).set(username=role, password=PASSWORDS[role])
        return url.render_as_string(hide_password=False)


@contextlib.contextmanager
def database_site(engine: str, storage: Path) -> Iterator[Site]:
    """Give a database that is set up as the documentation says."""
    if engine == "sqlite":
        yield Site(engine, storage)
        return
    server = postgresql("the-password.of.postgres") if engine == "postgresql" else mariadb()
    with server as root_url:
        for statement in SET_UP[engine]:
            _run_outside(root_url, statement.format(password=PASSWORDS["panel"]))
        root = make_url(root_url).set(database="mail")
        url = root.set(username="mailusers", password=PASSWORDS["panel"])
        yield Site(
            engine,
            storage,
            url.render_as_string(hide_password=False),
            root.render_as_string(hide_password=False),
        )


def _run_outside(url: str, statement: str) -> None:
    """Run a statement that PostgreSQL does not take inside a transaction."""
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(statement)


@contextlib.contextmanager
def fragment_system(
    site: Site, *, dovecot_config: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Dovecot, Postfix]]:
    """Run Dovecot and Postfix over a box that exists, as the printed fragments configure them."""
    variables = {**site.environment, **(environment or {})}

    def command(name: str, role: str, folder: Path, *more: str) -> str:
        password_file = folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(PASSWORDS[role] + "\n")
        arguments = (
            "--folder",
            str(folder),
            "--write",
            "--json",
            "--password-file",
            str(password_file),
            *more,
        )
        return mailusers(site.storage, name, *arguments, **variables)

    def postfix_part(folder: Path) -> str:
        (main,) = json.loads(command("postfix-config", "mailusers_postfix", folder))
        assert main["path"] == str(folder / "main.cf")
        _grant(site, folder / "mailusers-postfix.sql")
        return str(main["text"])

    postfix = Postfix(site.storage, box_config=postfix_part)
    private = postfix.queue_dir / "private"
    private.mkdir(mode=0o700)
    shutil.chown(private, "postfix")

    def dovecot_part(folder: Path) -> str:
        (folder / "conf.d").mkdir()
        queue = ("--queue-folder", str(postfix.queue_dir))
        assert json.loads(command("dovecot-config", "mailusers_dovecot", folder, *queue)) == []
        _grant(site, folder / "mailusers-dovecot.sql")
        return f"!include {folder}/conf.d/*.conf"

    with (
        contextlib.closing(postfix),
        Dovecot(site.storage, box_config=dovecot_part, extra_config=dovecot_config) as dovecot,
        postfix,
    ):
        yield dovecot, postfix


def _grant(site: Site, file: Path) -> None:
    """Run the statements of a file as the comment in it says, as an administrator."""
    if site.engine == "sqlite":
        assert not file.exists()
        return
    url = make_url(site.administrator_url)
    where = ("-h", str(url.host), f"-{'p' if site.engine == 'postgresql' else 'P'}", str(url.port))
    if site.engine == "postgresql":
        command = [
            "psql",
            "-v",
            "ON_ERROR_STOP=1",
            *where,
            "-U",
            str(url.username),
            "-d",
            "mail",
            "-f",
            str(file),
        ]
        environment = {**os.environ, "PGPASSWORD": str(url.password)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
    else:
        command = ["mariadb", "--no-defaults", *where, "-u", str(url.username), "mail"]
        with file.open("rb") as statements:
            subprocess.run(command, stdin=statements, check=True, capture_output=True)

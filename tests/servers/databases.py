"""Private PostgreSQL and MariaDB servers, on ports and in folders of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port, wait_for_port
from tests.servers.processes import end_group


@contextmanager
def _folder(owner: str) -> Iterator[Path]:
    """Give a folder that belongs to a system user, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"mailusers-{owner}-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        shutil.chown(data, owner, owner)
        yield data
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for_port(
            command[0],
            port,
            is_alive=lambda: process.poll() is None,
            log_text=lambda: log.read_text(errors="replace"),
        )
        yield
    finally:
        end_group(process.pid)
        process.wait(30)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run PostgreSQL; give the SQLAlchemy URL of an empty database."""
    (binaries,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    with _folder("postgres") as data:
        as_postgres = ("runuser", "-u", "postgres", "--")
        initialise = (str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-E", "UTF8", "--no-sync")
        subprocess.run([*as_postgres, *initialise], check=True, capture_output=True, cwd="/")
        port = free_port()
        server = (
            "setpriv",
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            str(binaries / "postgres"),
        )
        options = ("-D", str(data), "-h", LOOPBACK, "-p", str(port), "-k", str(data))
        with _running([*server, *options], port, data.parent / "log"):
            yield f"postgresql+psycopg://postgres@{LOOPBACK}:{port}/postgres"


@contextmanager
def mariadb() -> Iterator[str]:
    """Run MariaDB; give the SQLAlchemy URL of an empty database."""
    with _folder("mysql") as data:
        initialise = ("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}")
        subprocess.run(
            [*initialise, "--auth-root-authentication-method=normal"], check=True, capture_output=True
        )
        port = free_port()
        options = (
            f"--datadir={data}",
            f"--socket={data}/sock",
            f"--port={port}",
            f"--bind-address={LOOPBACK}",
        )
        command = ["mariadbd", "--no-defaults", "--user=mysql", *options]
        with _running(command, port, data.parent / "log"):
            create = "CREATE DATABASE mail CHARACTER SET utf8mb4"
            client = ("mariadb", "--no-defaults", "-u", "root", f"--socket={data}/sock", "-e", create)
            subprocess.run(client, check=True, capture_output=True)
            yield f"mariadb+pymysql://root@{LOOPBACK}:{port}/mail?charset=utf8mb4"

"""Private PostgreSQL and MariaDB servers, on ports and in folders of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.processes import listening

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 2**30


def _place() -> Path:
    """Return a place in memory where there is one with room, since making databases is mostly waiting for a disk."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return _MEMORY if in_memory else Path("/tmp")


@contextmanager
def _folder(owner: str) -> Iterator[Path]:
    """Give a folder that belongs to a system user, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"mailusers-{owner}-", dir=_place()))
    try:
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        shutil.chown(data, owner, owner)
        yield data
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql(password: str = "") -> Iterator[str]:
    """Run PostgreSQL; give the SQLAlchemy URL of an empty database.

    :param password: of the superuser; everybody needs one then
    """
    (binaries,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    with _folder("postgres") as data:
        as_postgres = ("runuser", "-u", "postgres", "--")
        initialise = (str(binaries / "initdb"), "-D", str(data), "-E", "UTF8", "--no-sync")
        known = data.parent / "password"
        known.write_text(f"{password}\n")
        asked = ("-A", "scram-sha-256", f"--pwfile={known}") if password else ("-A", "trust")
        subprocess.run([*as_postgres, *initialise, *asked], check=True, capture_output=True, cwd="/")
        port = free_port()
        server = (
            "setpriv",
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            str(binaries / "postgres"),
        )
        options = ("-D", str(data), "-h", LOOPBACK, "-p", str(port), "-k", str(data))
        # What is in a test's database need not survive a power failure.
        quick = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
        with listening([*server, *options, *quick], port, data.parent / "log"):
            user = f"postgres:{password}" if password else "postgres"
            yield f"postgresql+psycopg://{user}@{LOOPBACK}:{port}/postgres"


@contextmanager
def mariadb() -> Iterator[str]:
    """Run MariaDB; give the SQLAlchemy URL of an empty database."""
    with _folder("mysql") as data:
        # A MariaDB that starts removes what looks like temporary tables from its folder for them: also another's.
        temporary = data.parent / "temporary"
        temporary.mkdir(mode=0o700)
        shutil.chown(temporary, "mysql", "mysql")
        folders = (f"--datadir={data}", f"--tmpdir={temporary}")
        initialise = ("mariadb-install-db", "--no-defaults", "--user=mysql", *folders)
        made = subprocess.run(
            [*initialise, "--auth-root-authentication-method=normal"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{made.stdout}")
        port = free_port()
        options = (
            *folders,
            f"--socket={data}/sock",
            f"--port={port}",
            f"--bind-address={LOOPBACK}",
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-innodb-doublewrite",
            "--innodb-flush-method=nosync",
        )
        command = ["mariadbd", "--no-defaults", "--user=mysql", *options]
        with listening(command, port, data.parent / "log"):
            create = "CREATE DATABASE mail CHARACTER SET utf8mb4"
            client = ("mariadb", "--no-defaults", "-u", "root", f"--socket={data}/sock", "-e", create)
            subprocess.run(client, check=True, capture_output=True)
            yield f"mariadb+pymysql://root@{LOOPBACK}:{port}/mail?charset=utf8mb4"

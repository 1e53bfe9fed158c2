"""Pieces of configuration for the mail servers: what stands in which file, and with which right to read it."""

from __future__ import annotations

import base64
import grp
import hashlib
import hmac
import os
import pwd
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, DatabasePlace
from mailusers_plugin.errors import ConfigurationError, StorageError

DOVECOT_ROLE: Final = "mailusers_dovecot"
POSTFIX_ROLE: Final = "mailusers_postfix"
_PASSWORD: Final = re.compile(r"[A-Za-z0-9._~+/=-]{12,128}")
"""What stands in three notations unquoted, and means the same in each."""
_FOLDER: Final = re.compile(r"/[A-Za-z0-9._~+/=@,:-]*")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._/:-]+")
_SCRAM_ROUNDS: Final = 4096
"""PostgreSQL's own ``scram_iterations``."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A file, or a part of one.

    :ivar path: where it belongs
    :ivar text: what stands in it
    :ivar owner: ``user:group`` that it should have
    :ivar mode: that it should have
    :ivar part: whether the file has other things in it too, so that the text is to be added by hand
    """

    path: Path
    text: str
    owner: str = "root:root"
    mode: int = 0o644
    part: bool = False


def placeholder(role: str) -> str:
    """Return what stands for a password that is not known."""
    return f"PASSWORD-OF-{role}"


def check_password(password: str) -> str:
    """Return a password that can stand in every file as it is.

    :raises ConfigurationError: if it cannot; without the password
    """
    if not _PASSWORD.fullmatch(password):
        raise ConfigurationError(
            "The database password cannot be used: it must be 12 to 128 of the characters A-Z a-z 0-9 . _ ~ + / = -. "
            "Make one with: openssl rand -base64 24"
        )
    return password


def check_place(place: DatabasePlace, storage_root: Path) -> None:
    """Refuse names that would mean something else in a configuration file or a query.

    :raises ConfigurationError: naming what
    """
    for what, value, allowed in (
        ("storage_root", str(storage_root), _FOLDER),
        ("The database's file", str(place.file) if place.file != Path() else "/", _FOLDER),
        ("The database's name", place.name or "x", _NAME),
        ("The database's host", place.host or "x", _HOST),
    ):
        if not allowed.fullmatch(value):
            raise ConfigurationError(
                f"{what} is {value!r}, which cannot stand in the mail servers' configuration as it is. Choose a name "
                "of letters, digits, hyphens and underscores."
            )


def grants(
    place: DatabasePlace,
    role: str,
    columns: Mapping[str, Sequence[str]],
    password: str | None,
    more: Sequence[str] = (),
) -> str:
    """Return the statements that make a database user who may read some columns, and nothing else.

    :param columns: by table
    :param password: ``None`` for a placeholder; else only what the server can check it by stands in the statements,
        since a server may log those that fail
    :param more: what else is to be granted, such as ``INSERT ON mailusers_usage``
    """
    if place.engine == MARIADB:
        client = "localhost" if place.is_local else "%"
        user = f"'{role}'@'{client}'"
        known = (
            f"BY '{placeholder(role)}'" if password is None else f"BY PASSWORD '{_mariadb_hash(password)}'"
        )
        lines = [
            f"-- As an administrator: mariadb {place.name} < THIS-FILE",
            f"-- {client!r} is where the mail servers connect from, as MariaDB sees it.",
            f"CREATE USER IF NOT EXISTS {user} IDENTIFIED {known};",
            f"ALTER USER {user} IDENTIFIED {known};",
        ]
    else:
        user = role
        known = placeholder(role) if password is None else _scram_verifier(password)
        lines = [
            f"-- As an administrator: psql -v ON_ERROR_STOP=1 -d {place.name} -f THIS-FILE",
            f"DO $$ BEGIN CREATE ROLE {user}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
            f"ALTER ROLE {user} LOGIN NOINHERIT PASSWORD '{known}';",
            f'GRANT CONNECT ON DATABASE "{place.name}" TO {user};',
        ]
    lines += [f"GRANT SELECT ({', '.join(names)}) ON {table} TO {user};" for table, names in columns.items()]
    lines += [f"GRANT {right} TO {user};" for right in more]
    return "\n".join(lines) + "\n"


def _mariadb_hash(password: str) -> str:
    """Return what ``mysql_native_password`` stores: https://mariadb.com/kb/en/password/."""
    # MariaDB stores nothing else.
    twice = hashlib.sha1(hashlib.sha1(password.encode()).digest())  # noqa: S324  # nosec B324
    return f"*{twice.hexdigest().upper()}"


def _scram_verifier(password: str, salt: bytes | None = None) -> str:
    """Return what PostgreSQL stores of a password (RFC 5803): it can be checked with it, but nobody can log in."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def read_password(file: Path) -> str:
    """Return the password in a file's first line. Blocks.

    :raises ConfigurationError: if the file cannot be read, others may read it too, or the password is not possible
    """
    try:
        with file.open(encoding="utf-8") as opened:
            readable = stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077
            first = opened.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"The password file {file} cannot be read: {reason}.") from None
    if readable:
        raise ConfigurationError(f"Others may read the password file {file}. Run: chmod 600 {file}")
    return check_password(first)


def write(fragments: Sequence[Fragment]) -> list[Path]:
    """Write the fragments that are whole files. Blocks.

    Each is readable by nobody else while it is written; then, for root only, it gets its owner and mode.

    :returns: the files
    :raises StorageError: if one exists, or cannot be written; then none is left
    """
    written: list[Path] = []
    try:
        for fragment in fragments:
            if not fragment.part:
                descriptor = os.open(
                    fragment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
                )
                written.append(fragment.path)
                with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                    opened.write(fragment.text)
                    if os.geteuid() == 0:
                        _hand_over(opened.fileno(), fragment)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        advice = "Move it away first." if isinstance(error, FileExistsError) else "Nothing was written."
        raise StorageError(
            f"{error.filename or fragment.path} cannot be written: {error.strerror}. {advice}"
        ) from None
    return written


def _hand_over(descriptor: int, fragment: Fragment) -> None:
    user, _, group = fragment.owner.partition(":")
    with suppress(KeyError):
        # Where there is no such group there is no such mail server, and the file stays root's.
        os.fchown(descriptor, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
        os.fchmod(descriptor, fragment.mode)


def connect_words(place: DatabasePlace, role: str, password: str | None) -> str:
    """Return how Dovecot is told where the database is (``connect =``)."""
    if place.engine not in (POSTGRESQL, MARIADB):
        return str(place.file)
    known = placeholder(role) if password is None else password
    return f"host={place.host} port={place.port} dbname={place.name} user={role} password={known}"

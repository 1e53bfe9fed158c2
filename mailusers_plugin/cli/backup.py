"""``mailusers backup`` and ``mailusers restore``: a box in one file."""

from __future__ import annotations

import io
import json
import logging
import os
import tarfile
import tempfile
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from mailusers_plugin._version import __version__
from mailusers_plugin.cli.common import box_options, set_up_logging
from mailusers_plugin.cli.database import progress
from mailusers_plugin.errors import ConfigurationError, InvalidInputError, UnavailableError
from mailusers_plugin.server_lock import ServerLock
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import backups, copying
from mailusers_plugin.store.box import open_box

_MANIFEST: Final = "manifest.json"
_API_KEY: Final = "api.key"
_FORMAT: Final = 1


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@box_options
def backup(settings: Settings, file: Path) -> None:
    """Write the accounts and all that belongs to them into FILE, also while the panel runs.

    FILE must not be there yet, and nobody else can read it: it holds password hashes and the system API key. Mail is
    not in it; copy the mailboxes as you copy other files, or with 'doveadm backup'.
    """
    set_up_logging(logging.CRITICAL)
    if not settings.database and not settings.database_path.exists():
        raise ConfigurationError(
            f"There is no box in {settings.storage_root}. Name another folder with --storage-root."
        )
    if file.exists():
        raise InvalidInputError(f"{file} is there already. Name a file that is not.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as name:
            folder = Path(name)
            with closing(open_box(settings)) as store:
                rows = backups.make(store, folder)
            _put_in_key(settings, folder)
            _pack(folder, file, rows)
    except OSError as error:
        raise ConfigurationError(f"{file} could not be written: {error.strerror or error}.") from None
    active, archived = rows.values()
    click.echo(f"{file}: {active} active and {archived} archived users, {file.stat().st_size / 1e6:.1f} MB")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Take away what the box has now; it is backed up first.")
@box_options
def restore(settings: Settings, file: Path, replace: bool) -> None:
    """Make the box what it was when FILE was made by 'mailusers backup'.

    Stop every panel first. The backup is verified before anything is changed. Where the box has accounts, --replace is
    needed; they are written to a backup of their own beside FILE. A backup from any database fits into any other.
    """
    set_up_logging(logging.CRITICAL)
    if ServerLock(settings.storage_root / "mailusers" / "server.lock").is_shared():
        raise UnavailableError("A panel is running on this box. Stop it, and run this again.")
    try:
        with tempfile.TemporaryDirectory(prefix="mailusers-restore-", dir=file.parent) as name:
            folder = Path(name)
            made = _unpack(file, folder)
            backups.check(folder)
            with closing(open_box(settings, copying=True)) as store:
                others = store.accounts.read_now(copying.other_sessions)
                if others:
                    raise UnavailableError(
                        f"{others} other connections with the panel's user are open in the database. Stop every panel "
                        "and command that uses it, on all machines, and run this again."
                    )
                if backups.is_used(store):
                    if not replace:
                        raise InvalidInputError(
                            "This box has accounts already. Say --replace to take them away, or name another folder."
                        )
                    kept = _beside(file)
                    with tempfile.TemporaryDirectory(prefix=".mailusers-before-", dir=file.parent) as before:
                        rows = backups.make(store, Path(before))
                        _put_in_key(settings, Path(before))
                        _pack(Path(before), kept, rows)
                    click.echo(f"What the box had is in {kept}.")
                with progress() as report:
                    backups.put_back(folder, store, report)
            _take_out_key(settings, folder)
    except OSError as error:
        raise ConfigurationError(f"{file} could not be put back: {error.strerror or error}.") from None
    click.echo(f"The box is what it was on {made:%Y-%m-%d at %H:%M:%S} UTC. Start the panel.")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")


def _put_in_key(settings: Settings, folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / _API_KEY).write_bytes(settings.api_key_path.read_bytes())


def _take_out_key(settings: Settings, folder: Path) -> None:
    """Put the key where there is none; one that is there stays, for whoever has the old one may be the reason."""
    key = folder / _API_KEY
    if key.exists() and not settings.api_key_path.exists():
        settings.api_key_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            settings.api_key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(key.read_bytes())


def _pack(folder: Path, file: Path, rows: dict[str, int]) -> None:
    """Write a folder into a file that is either there with everything in it, or not at all."""
    names = [name for name in (*backups.FILES, _API_KEY) if (folder / name).exists()]
    manifest = {
        "format": _FORMAT,
        "version": __version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
        "sha256": {name: backups.digest(folder / name) for name in names},
    }
    draft = folder / "draft.tar"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened, tarfile.open(fileobj=opened, mode="w") as tar:
        text = json.dumps(manifest, indent=2).encode()
        head = tarfile.TarInfo(_MANIFEST)
        head.size, head.mode = len(text), 0o600
        tar.addfile(head, io.BytesIO(text))
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = (folder / name).stat().st_size, 0o600
            with (folder / name).open("rb") as content:
                tar.addfile(entry, content)
    with draft.open("rb") as written:
        os.fsync(written.fileno())
    # Unlike a rename, a link fails where somebody else has made the file meanwhile.
    os.link(draft, file)


def _unpack(file: Path, folder: Path) -> datetime:
    """Write the content of a backup into a folder and verify it.

    :returns: when it was made
    :raises ConfigurationError: if it is no backup, or is not whole
    """
    try:
        with tarfile.open(file, "r:") as tar:
            manifest = json.loads(_content(tar, _MANIFEST))
            if manifest["format"] != _FORMAT:
                raise ConfigurationError(
                    f"{file} was made by version {manifest['version']}, in a format that this version does not know. "
                    "Use that version, or a newer one."
                )
            wanted: dict[str, str] = manifest["sha256"]
            if not set(backups.FILES) <= set(wanted) <= {*backups.FILES, _API_KEY}:
                raise ValueError(sorted(wanted))
            for name, digest in wanted.items():
                with (folder / name).open("wb") as written:
                    (folder / name).chmod(0o600)
                    source: Any = _member(tar, name)
                    while chunk := source.read(2**20):
                        written.write(chunk)
                if backups.digest(folder / name) != digest:
                    raise ConfigurationError(
                        f"{name} in {file} is not what was written. Take another backup."
                    )
            return datetime.fromisoformat(manifest["made_at"])
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{file} is no backup of this command, or it is not whole.") from None


def _member(tar: tarfile.TarFile, name: str) -> Any:
    found = tar.extractfile(tar.getmember(name))
    if found is None:
        raise KeyError(name)
    return found


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    content: bytes = _member(tar, name).read(2**20)
    return content

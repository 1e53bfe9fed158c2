"""The system API key: a file that only its owner can read; whoever can read it may do everything."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import ConfigurationError

_log = logging.getLogger("mailusers_plugin.auth")

_MAX_BYTES: Final = 4096
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022

_Seen = tuple[int, ...]


class APIKey:
    """The key as it is now, wherever the file comes from: a panel that runs knows a new one with the next request."""

    def __init__(self, path: Path) -> None:
        """Read the key, making the file where there is none.

        :raises ConfigurationError: if it cannot be read or made, is empty, or others can read it
        """
        self._path = path
        self._lock = threading.Lock()
        load_api_key(path)
        self._looked = False
        self._seen: _Seen | None = None
        self._key: str | None = None

    def matches(self, candidate: str) -> bool:
        """Tell whether something is the key. Blocks, for the file's properties are asked each time."""
        with self._lock:
            self._look()
            key = self._key
        return key is not None and is_api_key(candidate, key)

    def _look(self) -> None:
        """Read the file where it is not the one that was read before; a file that cannot be used lets nobody in."""
        try:
            seen: _Seen | None = _properties(self._path.stat())
        except OSError:
            seen = None
        if self._looked and seen == self._seen:
            return
        self._looked, self._seen, self._key = True, seen, None
        try:
            self._key, self._seen = _read(self._path)
        except ConfigurationError as error:
            _log.error("Nobody is let in by the system API key: %s", error)


def load_api_key(path: Path) -> str:
    """Read the key, making the file where there is none.

    :param path: the file
    :raises ConfigurationError: if it cannot be read or made, is empty, or others can read it
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _make(path)
    except OSError as error:
        raise ConfigurationError(f"The API key file {path} cannot be read or made: {error}.") from None
    return _read(path)[0]


def rotate_api_key(path: Path) -> str:
    """Put a file with a new key in the place of the old one, in one step: there is no moment without a key.

    A link in its place is replaced and not followed. Root gives the new file to whom the old one, or else the folder,
    belongs, so that a panel that runs as somebody else can go on reading it.

    :returns: where the link led that was there, empty where there was none
    :raises ConfigurationError: if the file cannot be replaced, or others could replace it too
    """
    try:
        folder = path.parent.stat()
        if folder.st_mode & _OTHERS_WRITE:
            # Sticky or not: whoever may write there could put a key of their own into the place of a missing one.
            raise ConfigurationError(
                f"Others can put files into the folder of the API key. Run: chmod go-w {path.parent}"
            )
        link, owner = "", folder
        with suppress(FileNotFoundError):
            old = path.lstat()
            if stat.S_ISLNK(old.st_mode):
                link = str(path.readlink())
            elif stat.S_ISREG(old.st_mode):
                owner = old
            else:
                raise ConfigurationError(f"The API key file {path} is not a file. Move it out of the way.")
        draft = _draft(path, (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None)
        try:
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigurationError(f"The API key file {path} cannot be replaced: {error}.") from None
    return link


def is_api_key(candidate: str, key: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(candidate.encode("utf-8", "surrogatepass"), key.encode())


def _properties(found: os.stat_result) -> _Seen:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode


def _read(path: Path) -> tuple[str, _Seen]:
    """Return the key and the properties of the very file that it was read from."""
    try:
        # Not to wait for the other end, should it be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(f"The API key file {path} is not a file. Move it out of the way.")
            key = os.read(descriptor, _MAX_BYTES).decode("ascii").strip()
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The API key file {path} cannot be read or made: {error}.") from None
    if found.st_mode & _OTHERS:
        raise ConfigurationError(f"The API key file {path} can be read by others. Run: chmod 600 {path}")
    if not key:
        raise ConfigurationError(f"The API key file {path} is empty. Delete it, so that a new one is made.")
    return key, _properties(found)


def _make(path: Path) -> None:
    """Write a new key so that the file is never there without it."""
    draft = _draft(path)
    try:
        # Unlike a rename, a link fails where another process has made the file meanwhile.
        os.link(draft, path)
    finally:
        draft.unlink()


def _draft(path: Path, owner: tuple[int, int] | None = None) -> Path:
    """Return a file with a new key beside the one that is meant.

    :param owner: user and group to whom it is given
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        draft.unlink()
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

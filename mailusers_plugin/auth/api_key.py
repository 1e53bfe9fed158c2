"""The system API key: a file that only its owner can read; whoever can read it may do everything."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from mailusers_plugin.errors import ConfigurationError


def load_api_key(path: Path) -> str:
    """Read the key, making the file where there is none.

    :param path: the file
    :raises ConfigurationError: if it cannot be read or made, is empty, or others can read it
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _make(path)
        mode = path.stat().st_mode
        key = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The API key file {path} cannot be read or made: {error}.") from None
    if mode & 0o077:
        raise ConfigurationError(f"The API key file {path} can be read by others. Run: chmod 600 {path}")
    if not key:
        raise ConfigurationError(f"The API key file {path} is empty. Delete it, so that a new one is made.")
    return key


def _make(path: Path) -> None:
    """Write a new key so that the file is never there without it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        # Unlike a rename, a link fails where another process has made the file meanwhile.
        os.link(draft, path)
    finally:
        draft.unlink()


def is_api_key(candidate: str, key: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(candidate.encode(), key.encode())

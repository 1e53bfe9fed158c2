"""What an API token looks like: ``mu_``, 43 characters that hold 256 random bits, and 6 that check them.

The beginning and the checksum let a program that looks for secrets in files tell a token from other text without
asking anybody, and a token with a mistake in it is refused without asking the database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import zlib
from typing import Final

BEGINNING: Final = "mu_"
PATTERN: Final = re.compile(r"mu_[0-9A-Za-z]{49}", re.ASCII)
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BYTES: Final = 32
_KEY_LENGTH: Final = 43
"""62 ** 43 is just above 2 ** 256."""
_CHECK_LENGTH: Final = 6
"""62 ** 6 is above 2 ** 32."""
_MAX_BASIC: Final = 1024
"""A longer Basic credential holds no token: nothing of it is decoded to look."""


def new_key() -> str:
    """Return a new token."""
    body = BEGINNING + _digits(int.from_bytes(secrets.token_bytes(_BYTES)), _KEY_LENGTH)
    return body + _check(body)


def is_key(text: str) -> bool:
    """Tell whether a text can be a token."""
    return PATTERN.fullmatch(text) is not None and _check(text[:-_CHECK_LENGTH]) == text[-_CHECK_LENGTH:]


def hash_key(key: str) -> str:
    """Return what is stored of a token. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(key.encode("ascii")).hexdigest()


def key_in(header: str) -> str | None:
    """Return the token in an ``Authorization`` header, ``None`` where there is none.

    It stands behind ``Bearer``, or is the password behind ``Basic``, whatever the user name is, also an empty one. What
    begins as a token and is damaged is returned behind ``Bearer``; behind ``Basic`` it may be a password and is none.
    """
    scheme, _, credential = header.partition(" ")
    kind, credential = scheme.lower(), credential.strip()
    if kind == "bearer":
        return credential if credential.startswith(BEGINNING) else None
    if kind != "basic" or len(credential) > _MAX_BASIC:
        return None
    try:
        password = base64.b64decode(credential, validate=True).partition(b":")[2].decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return password if is_key(password) else None


def _check(body: str) -> str:
    return _digits(zlib.crc32(body.encode("ascii")), _CHECK_LENGTH)


def _digits(number: int, length: int) -> str:
    found = ""
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        found = _ALPHABET[digit] + found
    return found

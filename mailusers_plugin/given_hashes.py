"""Passwords that another system has hashed: which are taken over, and how they are stored.

Only what Dovecot was seen to verify, in exactly the form that it has there: a hash that is cut off or mistyped would
lock its user out, and one that takes a minute to compute would hold up everybody else's log-in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Final

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_

WEAK: Final = frozenset(
    ("MD5-CRYPT", "SSHA", "SSHA256", "SSHA512", "SHA", "SHA1", "SHA256", "SHA512"),
)
"""Schemes of which a stolen hash is guessed at millions of tries a second and more."""
_CLEAR: Final = frozenset(("PLAIN", "CLEARTEXT", "PLAIN-TRUNC"))

_PREFIX: Final = re.compile(r"\{([A-Za-z0-9-]{1,32})\}", re.ASCII)
_SALT: Final = "[!-#%-9;-~]"
"""What may stand in a salt of crypt(5): anything printable but a dollar sign and a colon."""
_END: Final = "[./A-Za-z0-9]"
_ARGON2: Final = (
    r"v=19\$m=(?P<memory>[0-9]{1,7}),t=(?P<time>[0-9]{1,3}),p=(?P<lanes>[0-9]{1,3})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}"
)
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    scheme: re.compile(form, re.ASCII)
    for scheme, form in (
        ("ARGON2ID", rf"\$argon2id\${_ARGON2}"),
        ("ARGON2I", rf"\$argon2i\${_ARGON2}"),
        ("BLF-CRYPT", rf"\$2[aby]\$(?P<cost>[0-9]{{2}})\${_END}{{53}}"),
        ("SHA512-CRYPT", rf"\$6\$(?:rounds=(?P<rounds>[0-9]{{4,9}})\$)?{_SALT}{{1,16}}\${_END}{{86}}"),
        ("SHA256-CRYPT", rf"\$5\$(?:rounds=(?P<rounds>[0-9]{{4,9}})\$)?{_SALT}{{1,16}}\${_END}{{43}}"),
        ("PBKDF2", rf"\$1\${_SALT}{{1,64}}\$(?P<rounds>[0-9]{{1,9}})\$[0-9a-f]{{40}}"),
        ("MD5-CRYPT", rf"\$1\${_SALT}{{1,8}}\${_END}{{22}}"),
    )
}
_DIGEST_BYTES: Final[Mapping[str, int]] = {
    "SSHA": 20,
    "SSHA256": 32,
    "SSHA512": 64,
    "SHA": 20,
    "SHA1": 20,
    "SHA256": 32,
    "SHA512": 64,
}
_MAX_SALT_BYTES: Final = 64
_BARE: Final = (
    ("$argon2id$", "ARGON2ID"),
    ("$argon2i$", "ARGON2I"),
    ("$2", "BLF-CRYPT"),
    ("$6$", "SHA512-CRYPT"),
    ("$5$", "SHA256-CRYPT"),
    ("$1$", "MD5-CRYPT"),
)
"""How hashes begin that need no name of the scheme; ``$1$`` is PBKDF2 only where that is said."""
_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    # 128 MiB is what passes with Dovecot's default vsz_limit of 256M.
    "memory": (8, 128 * 1024),
    "time": (1, 20),
    "lanes": (1, 16),
    # Each step doubles the time; 15 takes some 3 s.
    "cost": (4, 15),
    # SHA-512 does a million in 1 to 2 s.
    "rounds": (1, 2_000_000),
}

_UNKNOWN: Final = N_(
    "This is no hash that can be taken over. It begins with the name of a scheme of Dovecot, such as {SHA512-CRYPT}."
)
_DAMAGED: Final = N_("This hash is damaged, or is not one of %(scheme)s.")
_COSTLY: Final = N_("This hash would take too long at each log-in, or too much memory.")
_IN_CLEAR: Final = N_("This is a password in clear. Put it into the column password, so that it is hashed.")
_QUICK: Final = N_(
    "Hashes of %(scheme)s are quick to guess. Leave the cell empty, or import the file with the command "
    "mailusers user import --weak-hashes."
)
_NOT_HERE: Final = N_("The Dovecot of this server does not know the scheme %(scheme)s.")


def check_hash(given: str, *, weak: bool, known: Collection[str] = ()) -> str:
    """Check a hash that another system has made.

    :param given: with Dovecot's name of the scheme in front, or in a form that tells the scheme by itself
    :param weak: whether one that is quick to guess is taken as well
    :param known: the schemes that the local Dovecot knows; none where that is not known
    :returns: the hash as it is stored, with the name of its scheme
    :raises InvalidInputError: if it cannot be taken over; what was given is not in the message
    """
    match = _PREFIX.match(given)
    scheme = match[1].upper() if match else ""
    body = given[match.end() :] if match else given
    if scheme in ("", "CRYPT"):
        scheme = next((name for start, name in _BARE if body.startswith(start)), "")
    if scheme in _CLEAR:
        raise InvalidInputError(_IN_CLEAR)
    if scheme in _FORMS:
        found = _FORMS[scheme].fullmatch(body)
        if found is None:
            raise InvalidInputError(_DAMAGED, scheme=scheme)
        for name, text in found.groupdict().items():
            low, high = _LIMITS[name]
            if text is not None and not low <= int(text) <= high:
                raise InvalidInputError(_COSTLY)
    elif scheme in _DIGEST_BYTES:
        if not _is_digest(scheme, body):
            raise InvalidInputError(_DAMAGED, scheme=scheme)
    else:
        raise InvalidInputError(_UNKNOWN)
    if scheme in WEAK and not weak:
        raise InvalidInputError(_QUICK, scheme=scheme)
    if known and scheme not in known:
        raise InvalidInputError(_NOT_HERE, scheme=scheme)
    return f"{{{scheme}}}{body}"


def _is_digest(scheme: str, body: str) -> bool:
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return False
    salt_bytes = len(raw) - _DIGEST_BYTES[scheme]
    return 0 < salt_bytes <= _MAX_SALT_BYTES if scheme.startswith("SS") else salt_bytes == 0

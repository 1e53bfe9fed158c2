"""Makes passwords for those who have not thought of one."""

from __future__ import annotations

import secrets
from typing import Final

ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""For passwords that people read and type: without l, I and 1, o, O and 0."""
GROUPS: Final = 5
GROUP_LENGTH: Final = 4


def suggest_password() -> str:
    """Return a new password of more than 110 bits: groups of letters and digits that are hard to confuse."""
    # One number for all of it: to ask the system for each character takes as long as a tenth of some hashes.
    number = secrets.randbelow(len(ALPHABET) ** (GROUPS * GROUP_LENGTH))
    characters = []
    for _ in range(GROUPS * GROUP_LENGTH):
        number, chosen = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[chosen])
    return "-".join("".join(characters[n::GROUPS]) for n in range(GROUPS))

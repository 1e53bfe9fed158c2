"""One-time codes: by the clock (TOTP, RFC 6238) and recovery codes, as numbers and texts; nothing is stored here."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from typing import Final

import pyotp

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_

STEP_SECONDS: Final = 30
"""RFC 6238, section 4.1; also what Mail-in-a-Box takes."""
_SECRET: Final = re.compile(r"[A-Z2-7]{32}", re.ASCII)
"""160 bits, as RFC 4226 recommends in section 4 and Mail-in-a-Box demands."""
_TOTP: Final = re.compile(r"[0-9]{6}", re.ASCII)
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what is taken for something else when it is read from paper: i, l, o, 0 and 1."""
_RECOVERY_CHARACTERS: Final = 16
"""Of 31: 79 bits, so many that even of a plain hash nobody finds the code."""
_RECOVERY: Final = re.compile(rf"[{_ALPHABET}]{{{_RECOVERY_CHARACTERS}}}", re.ASCII)
RECOVERY_CODES: Final = 10
"""How many there are at a time."""


def new_secret() -> str:
    """Return a new secret in base32."""
    return pyotp.random_base32(32)


def check_secret(secret: str) -> str:
    """Check a secret that is to be stored.

    :raises InvalidInputError: if it is not one; in the words of Mail-in-a-Box
    """
    if not secret.strip():
        raise InvalidInputError(N_("No secret provided."))
    if not _SECRET.fullmatch(secret):
        raise InvalidInputError(N_("Secret should be a 32 characters base32 string"))
    return secret


def totp_code(given: str) -> str:
    """Return a code as it is stored, without the spaces that apps show; empty where it is not of this kind."""
    code = re.sub(r"[\s-]", "", given)
    return code if _TOTP.fullmatch(code) else ""


def recovery_code(given: str) -> str:
    """Return a recovery code without its dashes; empty where it is not of this kind."""
    code = re.sub(r"[\s-]", "", given).lower()
    return code if _RECOVERY.fullmatch(code) else ""


def step_of(
    secret: str, code: str, drift_steps: int, used: Iterable[str], now: float | None = None
) -> int | None:
    """Return the time step for which a code is right and not used up, ``None`` where there is none.

    A code is good once, and so is every one before it: of those that were used only the last is stored, and an older
    one that somebody has looked at must not work after it.

    :param secret: in base32, as it is stored
    :param code: six digits
    :param drift_steps: how many steps earlier and later it may be for
    :param used: the codes that were used last
    :param now: in seconds since the epoch; the clock's time by default
    """
    current = int((time.time() if now is None else now) // STEP_SECONDS)
    try:
        totp = pyotp.TOTP(secret)
        codes = {
            step: totp.generate_otp(step)
            for step in range(max(0, current - drift_steps), current + drift_steps + 1)
        }
    except (binascii.Error, ValueError):
        # Stored by another program, and no app could make a code of it either.
        return None
    last = max((step for step, own in codes.items() for old in used if _equal(own, old)), default=-1)
    return max((step for step, own in codes.items() if step > last and _equal(own, code)), default=None)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def provisioning_uri(secret: str, email: str, issuer: str) -> str:
    """Return what an app reads from the QR code.

    :param issuer: whose account it is; an app shows it beside the address
    """
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def new_recovery_codes() -> list[str]:
    """Return new recovery codes, as they are shown: in groups of four."""
    return [_new_recovery_code() for _ in range(RECOVERY_CODES)]


def _new_recovery_code() -> str:
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_CHARACTERS))
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def hash_recovery_code(email: str, code: str) -> str:
    """Return what is stored of a recovery code.

    :param code: as :func:`recovery_code` returns it
    """
    return hashlib.sha256(f"recovery:{email}:{code}".encode()).hexdigest()

"""Dovecot's password schemes as handlers for passlib's ``CryptContext``.

Dovecot stores ``{SCHEME}hash`` (https://doc.dovecot.org/2.3/configuration_manual/authentication/password_schemes/).
Where passlib's own handler computes the same it is wrapped with the prefix; the others are written here:

* the crypt(3) family goes through the C library, which takes half the time of passlib's Python code and
  releases the interpreter lock, so that the event loop is not held up by a log-in;
* bcrypt uses the ``bcrypt`` package directly, because stock passlib 1.7.4 fails with bcrypt 5;
* Dovecot's PBKDF2 notation is its own.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable
from typing import Any, ClassVar, Final

import bcrypt
from passlib import hash as passlib_hash
from passlib.utils import handlers as uh

SHA512_ROUNDS: Final = 5000
"""What Dovecot's ``doveadm pw`` uses, and the default of crypt(5); passlib's own default takes a second."""
BCRYPT_COST: Final = 12
"""Two to the power of this many rounds. OWASP asks for 10 at least (Password Storage Cheat Sheet)."""
BCRYPT_MAX_BYTES: Final = 72
"""bcrypt reads no more of a password than this."""
CRYPT_MAX_BYTES: Final = 511
"""The C library's crypt(3), which Dovecot calls, refuses longer ones (``CRYPT_MAX_PASSPHRASE_SIZE``)."""
ARGON2_MEMORY_KIB: Final = 19456
ARGON2_TIME_COST: Final = 2
ARGON2_PARALLELISM: Final = 1
"""OWASP's minimum for Argon2id. More memory can exceed Dovecot's ``vsz_limit``, which fails log-ins silently."""

_BCRYPT: Final = re.compile(r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}", re.ASCII)
_SALT_CHARACTERS: Final = string.ascii_letters + string.digits + "./"
_CRYPT_DATA_BYTES: Final = 32768
"""``sizeof(struct crypt_data)`` in libxcrypt."""


def _load_crypt() -> Callable[[bytes, bytes], str | None] | None:
    """Return the C library's re-entrant crypt, or ``None`` where there is none of libxcrypt's kind."""
    try:
        function = ctypes.CDLL("libcrypt.so.1").crypt_rn
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]

    def crypt(secret: bytes, setting: bytes) -> str | None:
        data = ctypes.create_string_buffer(_CRYPT_DATA_BYTES)
        result = function(secret, setting, data, _CRYPT_DATA_BYTES)
        return None if result is None else result.decode("ascii")

    return crypt


_crypt = _load_crypt()


def as_bytes(secret: str | bytes) -> bytes:
    """Return a password as the mail server sees it: UTF-8."""
    return secret.encode() if isinstance(secret, str) else secret


class _Scheme(uh.MinimalHandler):  # type: ignore[misc]  # passlib publishes no types
    """A scheme with ``{PREFIX}`` in front of what :meth:`matches` understands."""

    prefix: ClassVar[str] = ""
    setting_kwds: ClassVar[tuple[str, ...]] = ()
    context_kwds: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def identify(cls, hash: str | bytes) -> bool:
        text = hash.decode() if isinstance(hash, bytes) else hash
        return text.startswith(cls.prefix)

    @classmethod
    def verify(cls, secret: str | bytes, hash: str | bytes, **_: Any) -> bool:
        text = hash.decode() if isinstance(hash, bytes) else hash
        return cls.matches(as_bytes(secret), text.removeprefix(cls.prefix))

    @classmethod
    def hash(cls, secret: str | bytes, **_: Any) -> str:
        return cls.prefix + cls.compute(as_bytes(secret))

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        return False

    @classmethod
    def compute(cls, secret: bytes) -> str:
        raise ValueError(f"{cls.prefix} is only verified, new passwords are not stored in it")


class _Crypt(_Scheme):
    """Whatever the C library's crypt(3) knows, as Dovecot's ``{CRYPT}`` does."""

    name = "dovecot_crypt"
    prefix = "{CRYPT}"
    starts: ClassVar[tuple[str, ...]] = ("$",)
    fallback: ClassVar[tuple[Any, ...]] = (
        passlib_hash.sha512_crypt,
        passlib_hash.sha256_crypt,
        passlib_hash.md5_crypt,
    )

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        if b"\0" in secret or not stored.startswith(cls.starts) or not stored.isascii():
            return False
        if stored.startswith("$2"):
            return bcrypt_matches(secret, stored)
        if _crypt is not None:
            computed = _crypt(secret, stored.encode())
            return computed is not None and hmac.compare_digest(computed, stored)
        return any(h.verify(secret, stored) for h in cls.fallback if h.identify(stored))


class _Sha512Crypt(_Crypt):
    name = "dovecot_sha512_crypt"
    prefix = "{SHA512-CRYPT}"
    starts = ("$6$",)

    @classmethod
    def compute(cls, secret: bytes) -> str:
        if _crypt is not None:
            salt = "".join(secrets.choice(_SALT_CHARACTERS) for _ in range(16))
            computed = _crypt(secret, f"$6${salt}$".encode())
            if computed is not None:
                return computed
        handler: Any = passlib_hash.sha512_crypt
        return str(handler.using(rounds=SHA512_ROUNDS).hash(secret))


class _BareSha512Crypt(_Sha512Crypt):
    """No prefix: Mail-in-a-Box's ``default_pass_scheme`` is SHA512-CRYPT."""

    name = "dovecot_default"
    prefix = ""

    @classmethod
    def identify(cls, hash: str | bytes) -> bool:
        text = hash.decode() if isinstance(hash, bytes) else hash
        return text.startswith("$6$")


class _Sha256Crypt(_Crypt):
    name = "dovecot_sha256_crypt"
    prefix = "{SHA256-CRYPT}"
    starts = ("$5$",)


class _Md5Crypt(_Crypt):
    name = "dovecot_md5_crypt"
    prefix = "{MD5-CRYPT}"
    starts = ("$1$",)


def bcrypt_matches(secret: bytes, stored: str) -> bool:
    """Verify a bcrypt hash as crypt(3) does, which reads the first 72 bytes and no more."""
    if not _BCRYPT.fullmatch(stored):
        # bcrypt before 4.3 does not raise but panics.
        return False
    try:
        return bcrypt.checkpw(secret[:BCRYPT_MAX_BYTES], stored.encode())
    except ValueError:
        return False


class _BlfCrypt(_Scheme):
    name = "dovecot_blf_crypt"
    prefix = "{BLF-CRYPT}"

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        return bcrypt_matches(secret, stored)

    @classmethod
    def compute(cls, secret: bytes) -> str:
        if len(secret) > BCRYPT_MAX_BYTES:
            raise ValueError(f"bcrypt takes at most {BCRYPT_MAX_BYTES} bytes")
        return bcrypt.hashpw(secret, bcrypt.gensalt(BCRYPT_COST)).decode("ascii")


class _Pbkdf2(_Scheme):
    """``$1$<salt>$<rounds>$<hex of HMAC-SHA1>``, Dovecot's own notation."""

    name = "dovecot_pbkdf2"
    prefix = "{PBKDF2}"
    _form: ClassVar[re.Pattern[str]] = re.compile(r"\$1\$([^$]*)\$([0-9]{1,8})\$([0-9a-f]{40})", re.ASCII)

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        match = cls._form.fullmatch(stored)
        if match is None or int(match[2]) < 1:
            return False
        computed = hashlib.pbkdf2_hmac("sha1", secret, match[1].encode(), int(match[2]))
        return hmac.compare_digest(computed.hex(), match[3])


class _Digest(_Scheme):
    """``base64(digest || salt)``: Dovecot's SSHA family, and its SHA family, which has no salt."""

    algorithm: ClassVar[str]

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        try:
            raw = base64.b64decode(stored, validate=True)
        except (binascii.Error, ValueError):
            return False
        size = hashlib.new(cls.algorithm, usedforsecurity=False).digest_size
        computed = hashlib.new(cls.algorithm, secret + raw[size:], usedforsecurity=False).digest()
        return len(raw) >= size and hmac.compare_digest(computed, raw[:size])


class _Plain(_Scheme):
    name = "dovecot_plain"
    prefix = "{PLAIN}"

    @classmethod
    def matches(cls, secret: bytes, stored: str) -> bool:
        return hmac.compare_digest(secret, stored.encode())


def _digest(label: str, algorithm: str) -> type[_Digest]:
    name = "dovecot_" + label.lower()
    return type(name, (_Digest,), {"name": name, "prefix": f"{{{label}}}", "algorithm": algorithm})


def _argon2(label: str, variant: str) -> Any:
    argon2: Any = passlib_hash.argon2
    handler = argon2.using(
        type=variant,
        memory_cost=ARGON2_MEMORY_KIB,
        time_cost=ARGON2_TIME_COST,
        parallelism=ARGON2_PARALLELISM,
    )
    return uh.PrefixWrapper("dovecot_" + label.lower(), handler, prefix=f"{{{label}}}")


HANDLERS: Final[dict[str, Any]] = {
    "ARGON2ID": _argon2("ARGON2ID", "ID"),
    "ARGON2I": _argon2("ARGON2I", "I"),
    "BLF-CRYPT": _BlfCrypt,
    "SHA512-CRYPT": _Sha512Crypt,
    "SHA256-CRYPT": _Sha256Crypt,
    "MD5-CRYPT": _Md5Crypt,
    "CRYPT": _Crypt,
    "PBKDF2": _Pbkdf2,
    "SSHA": _digest("SSHA", "sha1"),
    "SSHA256": _digest("SSHA256", "sha256"),
    "SSHA512": _digest("SSHA512", "sha512"),
    "SHA": _digest("SHA", "sha1"),
    "SHA1": _digest("SHA1", "sha1"),
    "SHA256": _digest("SHA256", "sha256"),
    "SHA512": _digest("SHA512", "sha512"),
    "PLAIN": _Plain,
    "": _BareSha512Crypt,
}
"""Handlers by Dovecot's name of the scheme; the empty name is a hash without a prefix."""

STRENGTH: Final[dict[str, int]] = {
    "ARGON2ID": 4,
    "ARGON2I": 3,
    "BLF-CRYPT": 3,
    "SHA512-CRYPT": 2,
    "PBKDF2": 1,
}
"""Order of the schemes that resist guessing, for deciding whether a log-in may replace a hash; others are 0."""

NEW_SCHEMES: Final = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT")
"""Those in which new passwords may be stored."""

"""The rules for addresses, passwords, privileges and quotas. Pure functions; the texts are the contract's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

import idna
from email_validator import EmailNotValidError, validate_email

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_

MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 1024
"""Characters. NIST SP 800-63B asks for at least 64; the bound keeps a hash from costing more than it should."""
MAX_EMAIL_LENGTH: Final = 254
"""Octets in a forward path without its brackets (RFC 5321, section 4.5.3.1.3)."""
MAX_QUOTA_BYTES: Final = 2**63 - 1
"""Dovecot keeps a quota in a signed 64-bit number."""

ACCOUNT_CHARACTERS: Final = re.compile(r"[a-z0-9_.-]+@[a-z0-9_.-]+", re.ASCII)
_QUOTA: Final = re.compile(r"([0-9]+)([GM]?)", re.ASCII)
_QUOTA_UNITS: Final = {"": 1, "M": 2**20, "G": 2**30}
_STORED_QUOTA: Final = re.compile(r"([0-9]{1,19})([bkKmMgGtT]?)", re.ASCII)
_STORED_UNITS: Final = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

DOMAIN_CONTROL_LOCAL_PARTS: Final = frozenset(
    ("admin", "administrator", "postmaster", "hostmaster", "webmaster", "abuse")
)
"""Addresses at which a certificate authority accepts proof of control over a domain
(CA/Browser Forum Baseline Requirements, 3.2.2.4.4), and ``abuse`` (RFC 2142)."""


def split_address(email: str) -> tuple[str, str]:
    """Split an address at its last ``@`` into local part and domain.

    :param email: an address; without an ``@`` it is all domain
    """
    local_part, _, domain = email.rpartition("@")
    return local_part, domain


def display_domain(domain: str) -> str:
    """Return a domain as people write it: Unicode in place of ``xn--`` labels, where that is valid IDNA.

    :param domain: as stored
    """
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except UnicodeError:
        return domain


def stored_domain(domain: str) -> str:
    """Return a domain as it is stored, from how people write it; unchanged where it is no valid IDNA.

    :param domain: in either form, in any case
    """
    try:
        return idna.encode(domain.lower()).decode("ascii") if not domain.isascii() else domain.lower()
    except UnicodeError:
        return domain.lower()


def check_new_address(email: str) -> str:
    """Check the address of a new account.

    :param email: as the caller sent it
    :returns: the address
    :raises InvalidInputError: with the contract's text for what is wrong
    """
    if not email.strip():
        raise InvalidInputError(N_("No email address provided."))
    try:
        validate_email(email, allow_smtputf8=False, check_deliverability=False, strict=True)
    except EmailNotValidError:
        raise InvalidInputError(N_("Invalid email address.")) from None
    if len(email) > MAX_EMAIL_LENGTH or not ACCOUNT_CHARACTERS.fullmatch(email):
        raise InvalidInputError(
            N_(
                "User account email addresses may only use the lowercase ASCII letters a-z, the digits 0-9, "
                "underscore (_), hyphen (-), and period (.)."
            )
        )
    return email


def check_known_address(email: str) -> str:
    """Check that an address was given at all; whether it exists is for the database to say.

    :param email: as the caller sent it
    :raises InvalidInputError: if it is empty, or is no text that a database can hold
    """
    if not email.strip():
        raise InvalidInputError(N_("No email address provided."))
    if "\0" in email or not (email.isascii() or all(unicodedata.category(c) != "Cs" for c in email)):
        raise InvalidInputError(N_("Invalid email address."))
    return email


def is_domain_control_address(email: str) -> bool:
    """Tell whether an address is one that proves control over its domain, with or without a ``+tag``.

    :param email: an address
    """
    local_part, _ = split_address(email.lower())
    return local_part.partition("+")[0] in DOMAIN_CONTROL_LOCAL_PARTS


def check_password(password: str, min_length: int = MIN_PASSWORD_LENGTH) -> str:
    """Check a new password by itself; how hard it is to guess is another question.

    Control characters are refused: NUL ends a C string in the mail server, and a line break cannot be typed
    in most mail programs.

    :param password: as the caller sent it
    :param min_length: least length, in characters
    :returns: the password, unchanged
    :raises InvalidInputError: with the contract's text for what is wrong
    """
    if not password.strip():
        raise InvalidInputError(N_("No password provided."))
    if len(password) < min_length:
        if min_length == MIN_PASSWORD_LENGTH:
            raise InvalidInputError(N_("Passwords must be at least eight characters."))
        raise InvalidInputError(N_("Passwords must be at least %(limit)s characters."), limit=min_length)
    if len(password) > MAX_PASSWORD_LENGTH:
        raise InvalidInputError(
            N_("Passwords must be at most %(limit)s characters."), limit=MAX_PASSWORD_LENGTH
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in password):
        raise InvalidInputError(N_("Passwords must not contain control characters."))
    return password


def parse_privileges(stored: str) -> tuple[str, ...]:
    """Read the stored, newline-separated privileges.

    :param stored: the column's text
    """
    return tuple(p for p in stored.split("\n") if p.strip())


def check_privileges(privileges: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Check privileges that a caller names; repeats are dropped.

    :param privileges: as the caller sent them, one an item
    :param known: those that exist: ``admin`` and what the host registers
    :raises InvalidInputError: naming the first that does not exist
    """
    wanted = tuple(dict.fromkeys(privileges))
    for privilege in wanted:
        if privilege not in known:
            raise InvalidInputError(N_("That's not a valid privilege (%(privilege)s)."), privilege=privilege)
    return wanted


def check_quota(quota: str) -> str:
    """Check a quota and bring it to its stored form.

    :param quota: bytes as digits, or a number followed by ``M`` or ``G`` (any case)
    :returns: digits with ``M``, ``G`` or nothing behind; ``"0"`` for unlimited
    :raises InvalidInputError: with the contract's text for what is wrong
    """
    text = quota.strip()
    if not text:
        raise InvalidInputError(N_("No quota provided."))
    if re.search(r"[\s,.]", text):
        raise InvalidInputError(N_("Quotas cannot contain spaces, commas, or decimal points."))
    match = _QUOTA.fullmatch(text.upper())
    if match is None or len(match[1].lstrip("0")) > len(str(MAX_QUOTA_BYTES)):
        raise InvalidInputError(N_("Invalid quota."))
    number = int(match[1].lstrip("0") or "0")
    if number * _QUOTA_UNITS[match[2]] > MAX_QUOTA_BYTES:
        raise InvalidInputError(N_("Invalid quota."))
    return f"{number}{match[2]}" if number else "0"


@lru_cache(1000)
def quota_bytes(quota: str) -> int | None:
    """Return a stored quota in bytes, in Dovecot's units (b, k, M, G, T by 1024).

    :param quota: the column's text, which other programs may have written
    :returns: ``0`` for unlimited, ``None`` where the text is not a quota
    """
    match = _STORED_QUOTA.fullmatch(quota.strip())
    if match is None:
        return None
    number = int(match[1]) * _STORED_UNITS[match[2].upper()]
    return number if number <= MAX_QUOTA_BYTES else None


def display_quota(quota: str) -> str:
    """Return a stored quota as the contract shows it: ``"0"`` for unlimited, else as stored.

    :param quota: the column's text
    """
    return "0" if quota_bytes(quota) == 0 else quota


def display_size(size_bytes: int) -> str:
    """Return a size in bytes for people: K, M, G, T, P by 1024; one decimal up to 99, none above.

    :param size_bytes: not negative
    """
    size = float(size_bytes)
    for unit in ("", "K", "M", "G", "T", "P"):
        if size < 1024 or unit == "P":
            break
        size /= 1024
    return f"{size:.0f}{unit}" if size > 99 else f"{size:.1f}{unit}"


def display_percent(used_bytes: int, limit_bytes: int) -> str:
    """Return how full a mailbox is, as the contract shows it: at least three characters and a sign.

    :param used_bytes: not negative
    :param limit_bytes: more than zero
    """
    return f"{used_bytes / limit_bytes * 100:3.0f}%"

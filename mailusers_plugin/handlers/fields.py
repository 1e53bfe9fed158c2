"""What the forms' fields hold beyond plain text: a quota in two parts, a password that is suggested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.made_passwords import ALPHABET, suggest_password
from mailusers_plugin.validation import quota_bytes

__all__ = [
    "ALPHABET",
    "UNLIMITED",
    "QuotaField",
    "quota_field",
    "quota_text",
    "split_quota",
    "suggest_password",
]

UNLIMITED: Final = "unlimited"
_MEBIBYTE: Final = 2**20
_GIBI: Final = 1024


@dataclass(frozen=True, slots=True)
class QuotaField:
    """A quota as the form shows it.

    :ivar number: what stands in the number's field
    :ivar unit: ``M``, ``G``, ``T``, ``B`` for bytes, or :data:`UNLIMITED`
    """

    number: str
    unit: str


def quota_text(given: Parameters) -> str:
    """Return the quota that a form sends: number and unit, or both in the one field ``quota``.

    :returns: to be checked by :func:`mailusers_plugin.validation.check_quota`; empty where nothing was typed
    :raises InvalidInputError: if a field was given more than once
    """
    unit = given.get("quota_unit")
    if unit is None:
        return given.text("quota").strip()
    if unit == UNLIMITED:
        return "0"
    number = given.text("quota_number").strip()
    if not number:
        return ""
    if unit == "T":
        # The contract has no T.
        return (
            f"{int(number) * _GIBI}G"
            if number.isascii() and number.isdecimal() and len(number) < 20
            else number
        )
    return number if unit == "B" else f"{number}{unit}"


def quota_field(given: Parameters, stored: str) -> QuotaField:
    """Return what stands in the fields: what was typed, at first the stored quota.

    :param stored: the column's text, empty where there is none
    """
    if given.get("quota_unit") is not None:
        return QuotaField(given.text("quota_number"), given.text("quota_unit"))
    typed = given.get("quota")
    return split_quota(stored if typed is None else typed)


def split_quota(quota: str) -> QuotaField:
    """Split a quota into number and unit, the largest that leaves a whole number."""
    limit = quota_bytes(quota)
    if limit is None:
        return QuotaField(quota.strip(), "G" if not quota.strip() else "B")
    if limit == 0:
        return QuotaField("", UNLIMITED)
    if limit % _MEBIBYTE:
        return QuotaField(str(limit), "B")
    number, unit = limit // _MEBIBYTE, "M"
    for larger in ("G", "T"):
        if number % _GIBI:
            break
        number, unit = number // _GIBI, larger
    return QuotaField(str(number), unit)

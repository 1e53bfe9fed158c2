"""The rules for the settings that concern browsers and new passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.made_passwords import GROUP_LENGTH, GROUPS
from mailusers_plugin.validation import MIN_PASSWORD_LENGTH

PAGE: Final = "page"
API: Final = "api"
CLI: Final = "cli"
PASSWORD_PLACES: Final = (PAGE, API, CLI)
"""Where new passwords come from, for ``password_policy``."""
MADE_UP_LENGTH: Final = GROUPS * (GROUP_LENGTH + 1) - 1
"""Characters of a password that is made up."""
MAX_SCORE: Final = 4
_ORIGIN: Final = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
_BREACH_URL: Final = re.compile(r"https?://[^\s/?#@]+/([^\s?#]*/)?")


def check_browser(values: Mapping[str, Any]) -> None:
    """Check what concerns browsers.

    :param values: all settings by name
    :raises ConfigurationError: if a value is not possible
    """
    url = values["public_url"]
    if url and not _ORIGIN.fullmatch(url):
        raise ConfigurationError(
            f"public_url {url!r} must be https://HOST or https://HOST:PORT (or http://), in lowercase and with no "
            "path: that is prefix."
        )
    if values["hsts_seconds"] < -1:
        raise ConfigurationError("hsts_seconds must be -1 or more.")
    for name in ("content_security_policy", "frame_ancestors"):
        if any(c in values[name] for c in "\r\n\0"):
            raise ConfigurationError(f"{name} must be one line.")
    ancestors = values["frame_ancestors"].lower().split()
    if not ancestors or ";" in values["frame_ancestors"] or {"none", "self"} & set(ancestors):
        raise ConfigurationError(
            "frame_ancestors must be 'none' or 'self', both with the quotes, or origins."
        )


def check_passwords(values: Mapping[str, Any]) -> None:
    """Check what concerns the password policy; parameters as in :func:`check_browser`.

    :raises ConfigurationError: if a value is not possible
    """
    if not MIN_PASSWORD_LENGTH <= values["password_min_length"] <= MADE_UP_LENGTH:
        raise ConfigurationError(
            f"password_min_length must be {MIN_PASSWORD_LENGTH} to {MADE_UP_LENGTH}: passwords that are made up are "
            "not longer."
        )
    unknown = set(values["password_policy"]) - set(PASSWORD_PLACES)
    if unknown:
        raise ConfigurationError(
            f"password_policy names {', '.join(sorted(unknown))}; possible are {', '.join(PASSWORD_PLACES)}."
        )
    if not 0 <= values["password_min_score"] <= MAX_SCORE:
        raise ConfigurationError("password_min_score must be 0 to 4.")
    if values["password_breach_timeout_seconds"] <= 0:
        raise ConfigurationError("password_breach_timeout_seconds must be more than 0.")
    url = values["password_breach_url"]
    if url and not _BREACH_URL.fullmatch(url):
        raise ConfigurationError(
            f"password_breach_url {url!r} must be an http or https address that ends with /; the five digits are put "
            "behind it."
        )

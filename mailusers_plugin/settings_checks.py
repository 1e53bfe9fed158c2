"""What the settings must be, beside their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mailusers_plugin.client_address import parse_networks
from mailusers_plugin.errors import ConfigurationError, InvalidInputError
from mailusers_plugin.request_log import FORMATS
from mailusers_plugin.settings_browser import check_browser, check_passwords
from mailusers_plugin.validation import check_quota

MAILDIRSIZE: Final = "maildirsize"
QUOTA_CLONE: Final = "quota_clone"
DOVEADM_HTTP: Final = "doveadm_http"
USAGE_SOURCES: Final = (MAILDIRSIZE, QUOTA_CLONE, DOVEADM_HTTP)
MAX_TOKEN_DAYS: Final = 3650
_MOST_DRIFT_STEPS: Final = 10
"""Five minutes; then 21 codes are good at a time, and one guess in 48 000 is right."""


def check(values: Mapping[str, Any]) -> None:
    """Check what does not depend on its type alone.

    :param values: every setting's, by name
    :raises ConfigurationError: naming the setting, if a value is not possible
    """
    prefix = values["prefix"]
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix):
        raise ConfigurationError(f"prefix {prefix!r} must be empty, or begin with / and not end with it.")
    for name in ("hook_attempts", "database_threads", "hash_queue", "page_size", "import_rows"):
        if values[name] < 1:
            raise ConfigurationError(f"{name} must be at least 1.")
    for name in (
        "busy_timeout_seconds",
        "session_hours",
        "hook_timeout_seconds",
        "doveadm_timeout_seconds",
        "live_interval_seconds",
    ):
        if values[name] <= 0:
            raise ConfigurationError(f"{name} must be more than 0.")
    _check_usage(values)
    _check_throttle(values)
    if not 0 < values["token_days"] <= MAX_TOKEN_DAYS:
        raise ConfigurationError(f"token_days must be more than 0 and at most {MAX_TOKEN_DAYS}.")
    if values["log_format"] not in FORMATS:
        raise ConfigurationError(f"log_format {values['log_format']!r} must be one of {', '.join(FORMATS)}.")
    check_browser(values)
    check_passwords(values)
    for name in ("login_cache_seconds", "refusal_seconds"):
        if not values[name] >= 0:
            raise ConfigurationError(f"{name} must be 0 or more.")
    if not 0 <= values["totp_drift_steps"] <= _MOST_DRIFT_STEPS:
        raise ConfigurationError(f"totp_drift_steps must be 0 to {_MOST_DRIFT_STEPS}.")
    try:
        check_quota(values["default_quota"])
    except InvalidInputError as error:
        raise ConfigurationError(
            f"default_quota {values['default_quota']!r} is not possible: {error}"
        ) from None
    if any(not p.strip() or "\n" in p for p in values["extra_privileges"]):
        raise ConfigurationError("extra_privileges must not be empty or contain a line break.")


def _check_throttle(values: Mapping[str, Any]) -> None:
    for name in ("throttle_pair", "throttle_network", "throttle_account"):
        if values[name] < 0:
            raise ConfigurationError(f"{name} must be 0 or more.")
    if not values["throttle_minutes"] > 0:
        raise ConfigurationError("throttle_minutes must be more than 0.")
    try:
        parse_networks(values["trusted_proxies"])
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies must be addresses or networks: {error}.") from None


def _check_usage(values: Mapping[str, Any]) -> None:
    if not 0 < values["usage_share"] <= 1:
        raise ConfigurationError("usage_share must be more than 0 and at most 1.")
    source = values["usage_source"]
    if source not in USAGE_SOURCES:
        raise ConfigurationError(f"usage_source {source!r} must be one of {', '.join(USAGE_SOURCES)}.")
    if source == DOVEADM_HTTP:
        for name in ("doveadm_http_url", "doveadm_http_key_file"):
            if not values[name]:
                raise ConfigurationError(f"usage_source = {DOVEADM_HTTP} needs {name}.")

"""Every setting in one place, typed and explained; from arguments, the environment, a TOML file or the default.

``mailusers settings`` prints what is in force and where it comes from; ``docs/settings.md`` is made from here.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self, get_type_hints

from mailusers_plugin.errors import ConfigurationError, InvalidInputError
from mailusers_plugin.validation import check_quota

ENVIRONMENT_PREFIX: Final = "MAILUSERS_"
CONFIG_VARIABLE: Final = "MAILUSERS_CONFIG"
SECRETS: Final = frozenset(("database",))
"""Settings in which a password may stand, so that they are shown without it."""


def default_storage_root() -> Path:
    """Return where a new box is made: under /var/lib for root, else in the user's data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/mailusers")
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "mailusers" / "box"


def _setting(default: Any, text: str) -> Any:
    if callable(default):
        return field(default_factory=default, metadata={"text": text})
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set. Field names are the keys in TOML, and with ``MAILUSERS_`` and capitals the variables."""

    storage_root: Path = _setting(
        default_storage_root,
        "Folder of the box: the mail is in `mail/mailboxes/<domain>/<local part>`, the accounts in "
        "`mail/users.sqlite`. Point it at an existing Mail-in-a-Box's `/home/user-data` to adopt that box.",
    )
    database: str = _setting("", "SQLAlchemy URL of the accounts; empty for `mail/users.sqlite` in the box.")
    prefix: str = _setting("/admin", "Path in front of every route; may be empty.")
    listen: str = _setting("127.0.0.1:10222", "HOST:PORT on which `mailusers serve` listens.")
    realm: str = _setting(
        "Mail-in-a-Box Management Server",
        "Realm of the Basic challenge. Mail-in-a-Box's command-line client answers this one only.",
    )
    api_key_file: str = _setting(
        "",
        "File with the system API key, mode 0600, made if missing; empty for `mailusers/api.key` in the box.",
    )
    behind_proxy: bool = _setting(
        False, "Believe `X-Forwarded-For` and `X-Forwarded-Proto`, in `mailusers serve`. Only behind a proxy."
    )
    default_quota: str = _setting("0", "Quota of a new user when none is given; `0` is unlimited.")
    extra_privileges: tuple[str, ...] = _setting((), "Privileges of the host's own, beside `admin`.")
    password_scheme: str = _setting(
        "auto",
        "Dovecot scheme of new passwords: `ARGON2ID`, `SHA512-CRYPT` or `BLF-CRYPT`; `auto` takes `ARGON2ID` "
        "where the local Dovecot knows it, else `SHA512-CRYPT`.",
    )
    hash_threads: int = _setting(0, "How many passwords are hashed at once; `0` for one a processor.")
    hash_queue: int = _setting(256, "How many may wait to be hashed before callers get 503.")
    database_threads: int = _setting(4, "How many database calls run at once.")
    busy_timeout_seconds: float = _setting(
        5.0, "How long a write waits for another program's lock on SQLite."
    )
    commit_pause_seconds: float = _setting(
        0.1,
        "Least time between two changes of the accounts on SQLite, on a machine with Postfix, whose look-ups fail "
        "beside a commit; changes that come sooner are committed together.",
    )
    session_hours: float = _setting(48.0, "How long a session or session key lives after its last use.")
    session_max_hours: float = _setting(336.0, "How long a session lives at the most.")
    doveadm: tuple[str, ...] = _setting(
        ("doveadm",), "The command that talks to Dovecot, with its options (`doveadm -c FILE`)."
    )
    doveadm_timeout_seconds: float = _setting(15.0, "How long one `doveadm` call may take.")
    postfix_config: str = _setting("", "Postfix's configuration folder, for `doctor`; empty for its default.")
    usage_interval_seconds: float = _setting(60.0, "How often mailbox sizes are read; `0` for never.")
    hook_timeout_seconds: float = _setting(
        30.0, "How long one implementation of a hook may take for one event."
    )
    hook_attempts: int = _setting(10, "How often a delivery is tried before it is put on the failed list.")
    hook_backoff_seconds: float = _setting(
        1.0, "Pause after the first failed delivery; it doubles each time, up to an hour, with jitter."
    )
    event_days: float = _setting(30.0, "How long delivered events are kept.")
    audit_log: bool = _setting(True, "Keep every change in the audit trail.")
    base_template: str = _setting("mailusers/base.html", "Template that the page extends.")
    content_security_policy: str = _setting(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
        "The page's policy. A host whose own base template needs more says so here.",
    )

    @classmethod
    def load(
        cls, *, environ: Mapping[str, str] | None = None, file: Path | None = None, **arguments: Any
    ) -> Self:
        """Collect the settings; a later source wins: default, TOML file, environment, arguments.

        :param environ: the process's environment by default
        :param file: a TOML file; the one named by ``MAILUSERS_CONFIG`` by default
        :param arguments: those that are ``None`` do not count
        :raises ConfigurationError: naming the source, if a key is unknown or a value does not fit
        """
        return cls(**{name: value for name, (value, _) in cls.sources(environ, file, arguments).items()})

    @classmethod
    def sources(
        cls,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> dict[str, tuple[Any, str]]:
        """Return every setting's value and where it comes from; parameters as in :meth:`load`."""
        environ = os.environ if environ is None else environ
        if file is None and environ.get(CONFIG_VARIABLE):
            file = Path(environ[CONFIG_VARIABLE])
        default = cls()
        result: dict[str, tuple[Any, str]] = {
            f.name: (getattr(default, f.name), "default") for f in fields(cls)
        }
        for source, values in (
            (f"file {file}", _read_file(file) if file else {}),
            ("environment", _read_environment(environ)),
            ("argument", {k: v for k, v in (arguments or {}).items() if v is not None}),
        ):
            for name, value in values.items():
                if name not in result:
                    raise ConfigurationError(f"Unknown setting {name!r} in {source}.")
                result[name] = (_convert(name, value, source), source)
        _check({name: value for name, (value, _) in result.items()})
        return result

    @property
    def database_path(self) -> Path:
        """Where the accounts are on the SQLite default."""
        return self.storage_root / "mail" / "users.sqlite"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the accounts."""
        return self.database or f"sqlite:///{self.database_path}"

    @property
    def mailboxes(self) -> Path:
        """The folder that holds a folder a domain."""
        return self.storage_root / "mail" / "mailboxes"

    @property
    def api_key_path(self) -> Path:
        """Where the system API key is kept."""
        return Path(self.api_key_file) if self.api_key_file else self.storage_root / "mailusers" / "api.key"


_TYPES: Final = get_type_hints(Settings)
NAMES: Final = tuple(f.name for f in fields(Settings))
"""Every setting's name, in the order of the documentation."""


def explain(name: str) -> str:
    """Return a setting's description.

    :param name: one of :data:`NAMES`
    """
    return str(next(f.metadata["text"] for f in fields(Settings) if f.name == name))


def show(name: str, value: Any) -> str:
    """Return a setting's value as text, without any password.

    :param name: one of :data:`NAMES`
    :param value: its value
    """
    if name in SECRETS and "@" in str(value):
        scheme, _, rest = str(value).partition("://")
        credentials, _, server = rest.rpartition("@")
        return f"{scheme}://{credentials.partition(':')[0]}:***@{server}"
    return shlex.join(value) if isinstance(value, tuple) else str(value)


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Cannot read the settings file {file}: {error}") from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: environ[variable]
        for name in NAMES
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environ
    }


def _convert(name: str, value: Any, source: str) -> Any:
    """Bring a value from any source to the setting's type."""
    wanted = _TYPES[name]
    try:
        if wanted is bool:
            return _as_bool(value)
        if wanted in (int, float):
            return wanted(value)
        if wanted is Path:
            return Path(value).expanduser().absolute()
        if wanted == tuple[str, ...]:
            return tuple(shlex.split(value)) if isinstance(value, str) else tuple(str(v) for v in value)
        return str(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"Setting {name} from {source} is not possible: {value!r}.") from None


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(value)


def _check(values: Mapping[str, Any]) -> None:
    prefix = values["prefix"]
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix):
        raise ConfigurationError(f"prefix {prefix!r} must be empty, or begin with / and not end with it.")
    for name in ("hook_attempts", "database_threads", "hash_queue"):
        if values[name] < 1:
            raise ConfigurationError(f"{name} must be at least 1.")
    for name in ("busy_timeout_seconds", "session_hours", "hook_timeout_seconds", "doveadm_timeout_seconds"):
        if values[name] <= 0:
            raise ConfigurationError(f"{name} must be more than 0.")
    try:
        check_quota(values["default_quota"])
    except InvalidInputError as error:
        raise ConfigurationError(
            f"default_quota {values['default_quota']!r} is not possible: {error}"
        ) from None
    if any(not p.strip() or "\n" in p for p in values["extra_privileges"]):
        raise ConfigurationError("extra_privileges must not be empty or contain a line break.")

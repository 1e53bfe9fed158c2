"""Every setting in one place, typed and explained; from arguments, the environment, a TOML file or the default.

``mailusers settings`` prints what is in force and where it comes from; ``docs/settings.md`` is made from here.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self, get_type_hints

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.request_log import TEXT
from mailusers_plugin.settings_browser import PAGE
from mailusers_plugin.settings_checks import MAILDIRSIZE, check

ENVIRONMENT_PREFIX: Final = "MAILUSERS_"
CONFIG_VARIABLE: Final = "MAILUSERS_CONFIG"
SECRETS: Final = frozenset(("database",))
"""Settings in which a password may stand, so that they are shown without it."""
_PASSWORD_PARAMETER: Final = re.compile(r"([?&](?:password|passwd)=)[^&]*", re.IGNORECASE)
"""psycopg's and PyMySQL's parameter, by which a URL may have a password too."""


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
    log_format: str = _setting(
        TEXT,
        "How `mailusers serve` writes its log: `text`, or `json` for one object a line ([more](host.md#the-log)).",
    )
    listen: str = _setting("127.0.0.1:10222", "HOST:PORT on which `mailusers serve` listens.")
    realm: str = _setting(
        "Mail-in-a-Box Management Server",
        "Realm of the Basic challenge. Mail-in-a-Box's command-line client answers this one only.",
    )
    api_key_file: str = _setting(
        "",
        "File with the system API key, mode 0600, made if missing; empty for `mailusers/api.key` in the box.",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        "Addresses or networks of the proxies in front (`127.0.0.1`, `10.0.0.0/8`), whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed ([how](host.md#the-clients-address)). Behind a proxy that is not named "
        "here all callers are taken for one.",
    )
    public_url: str = _setting(
        "",
        "`https://HOST` or `https://HOST:PORT` by which browsers reach the panel, where a proxy in front tells neither "
        "this host nor that it speaks TLS; empty to take both from the request.",
    )
    default_quota: str = _setting("0", "Quota of a new user when none is given; `0` is unlimited.")
    extra_privileges: tuple[str, ...] = _setting((), "Privileges of the host's own, beside `admin`.")
    password_scheme: str = _setting(
        "auto",
        "Dovecot scheme of new passwords: `ARGON2ID`, `SHA512-CRYPT` or `BLF-CRYPT`; `auto` takes `ARGON2ID` "
        "where the local Dovecot knows it, else `SHA512-CRYPT`.",
    )
    password_min_length: int = _setting(
        8, "Least length of a new password, in characters: 8 to 24, as long as those that are made up."
    )
    password_policy: tuple[str, ...] = _setting(
        (PAGE,),
        "Where more is asked of a new password than its length: `page`, `api`, `cli`, or several. Clients of the API "
        "expect no more than the length. Passwords in imported files are asked for their length only.",
    )
    password_min_score: int = _setting(
        2, "Least strength that is asked there, as zxcvbn counts it: 0 (any) to 4 (very hard to guess)."
    )
    password_refuse_common: bool = _setting(
        True, "Refuse there the 30 000 most common passwords, which zxcvbn knows."
    )
    password_breach_url: str = _setting(
        "",
        "Ask there whether a password is known from data breaches: the range API of Pwned Passwords, "
        "`https://api.pwnedpasswords.com/range/`, or a mirror. It gets five digits of the password's SHA-1, never "
        "more. Empty for not at all.",
    )
    password_breach_timeout_seconds: float = _setting(3.0, "How long that may take.")
    password_breach_required: bool = _setting(
        False, "Take no new password there while that service does not answer; otherwise it is done without."
    )
    hash_threads: int = _setting(
        0,
        "How many passwords are hashed at once; `0` for one a processor. Log-ins leave one processor free in any case.",
    )
    hash_queue: int = _setting(
        256,
        "How many passwords of log-ins may wait to be hashed before callers get 503, and how many new ones.",
    )
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
    token_days: float = _setting(
        90.0, "How long an API token lives unless something else is asked for when it is made; at most 3650."
    )
    login_cache_seconds: float = _setting(
        300.0,
        "How long a password that was right need not be hashed again; a changed password, a removed user and a "
        "second factor count at once all the same. `0` for never.",
    )
    totp_drift_steps: int = _setting(
        1,
        "How many steps of 30 seconds the clock of whoever makes a one-time code may be fast or slow; `1` is what "
        "RFC 6238 recommends and what Mail-in-a-Box allows, each more makes guessing easier.",
    )
    throttle_pair: int = _setting(
        10,
        "How many log-ins to one account may fail from one network (an IPv4 address, a /64 of IPv6) in "
        "`throttle_minutes`, before more are refused ([how](host.md#throttling)); `0` for any number.",
    )
    throttle_network: int = _setting(
        50, "How many may fail from one network in that time, whatever the account; `0` for any number."
    )
    throttle_account: int = _setting(
        100,
        "How many may fail to one account in a day. From then on a network from which the user has not logged in "
        "lately gets one attempt an hour; the others are not concerned. `0` for any number.",
    )
    throttle_minutes: float = _setting(15.0, "In which time the failures of a network are forgotten.")
    refusal_seconds: float = _setting(
        0.5,
        "How long the answer is held back where a log-in is not even tried, because too many have failed or are being "
        "checked, so that a flood of them leaves time for all others; `0` for not at all.",
    )
    doveadm: tuple[str, ...] = _setting(
        ("doveadm",), "The command that talks to Dovecot, with its options (`doveadm -c FILE`)."
    )
    doveadm_timeout_seconds: float = _setting(15.0, "How long one `doveadm` call may take.")
    postfix_config: str = _setting("", "Postfix's configuration folder, for `doctor`; empty for its default.")
    usage_interval_seconds: float = _setting(60.0, "How often mailbox sizes are read; `0` for never.")
    usage_source: str = _setting(
        MAILDIRSIZE,
        "Where they come from: `maildirsize`, the files of Dovecot's maildir quota; `quota_clone`, what Dovecot's "
        "plugin of that name writes into the database; `doveadm_http`, the HTTP API of a Dovecot on another machine "
        "([which to take](usage.md)).",
    )
    usage_share: float = _setting(
        0.25,
        "Part of the time in which sizes may be read, so that many mailboxes keep neither the disk nor the server "
        "busy; `1` for as fast as it goes.",
    )
    dovecot_user: str = _setting(
        "dovecot",
        "System user as whom Dovecot writes sizes on SQLite with `quota_clone`: its `default_internal_user`.",
    )
    doveadm_http_url: str = _setting(
        "", "`https://HOST:PORT` of Dovecot's `service doveadm`, for `usage_source = doveadm_http`."
    )
    doveadm_http_key_file: str = _setting(
        "", "File with its `doveadm_api_key`, which nobody but its owner may read (mode 0600)."
    )
    doveadm_http_ca_file: str = _setting(
        "", "Certificates (PEM) by which its own is verified; empty for those of the system."
    )
    hook_timeout_seconds: float = _setting(
        30.0, "How long one implementation of a hook may take for one event."
    )
    hook_attempts: int = _setting(10, "How often a delivery is tried before it is put on the failed list.")
    hook_backoff_seconds: float = _setting(
        1.0, "Pause after the first failed delivery; it doubles each time, up to an hour, with jitter."
    )
    event_days: float = _setting(30.0, "How long delivered events are kept.")
    audit_log: bool = _setting(
        True, "Keep changes and log-ins in the audit trail; the same for all processes of a box."
    )
    undo_minutes: float = _setting(
        10.0,
        "How long an archived user's password is kept, so that archiving can be undone; `0` for not at all.",
    )
    languages: tuple[str, ...] = _setting(
        (),
        "Languages of the page, the one for everybody else first; empty for all that there are, English first.",
    )
    page_size: int = _setting(50, "How many users stand on one page of the list.")
    mail_host: str = _setting(
        "",
        "Server that mail programs connect to, shown after a user was added; empty for this machine's name.",
    )
    imap_port: int = _setting(993, "Port of IMAP with TLS, shown beside it.")
    smtp_port: int = _setting(465, "Port of SMTP submission with TLS, shown beside it.")
    import_rows: int = _setting(20000, "How many users one imported file may hold.")
    live_interval_seconds: float = _setting(
        1.0, "How often changes that another program made are looked for, to show them on open pages."
    )
    base_template: str = _setting("mailusers/base.html", "Template that the page extends.")
    content_security_policy: str = _setting(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'",
        "The page's policy. A host whose own base template needs more says so here.",
    )
    frame_ancestors: str = _setting(
        "'none'",
        "Who may show the page in a frame: `'none'`, `'self'`, or origins such as `https://panel.example.com`; put "
        "behind the policy.",
    )
    hsts_seconds: int = _setting(
        -1,
        "How long browsers are told to come by https only (`Strict-Transport-Security`), in answers over https. `-1` "
        "is a year in `mailusers serve` and nothing in a panel of your own, which decides for itself; `0` takes it "
        "back.",
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
        check({name: value for name, (value, _) in result.items()})
        return result

    def is_https(self, protocol: str) -> bool:
        """Tell whether a request came by TLS, for all that a browser knows.

        :param protocol: as the server saw it, which a proxy may have changed
        """
        return protocol == "https" or self.public_url.startswith("https:")

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
    def usage_file(self) -> Path:
        """Where Dovecot writes sizes on SQLite, with the plugin ``quota_clone``."""
        return self.storage_root / "mail" / "usage" / "usage.sqlite"

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
    if name in SECRETS:
        value = _PASSWORD_PARAMETER.sub(r"\1***", str(value))
    if name in SECRETS and "@" in value:
        scheme, _, rest = value.partition("://")
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

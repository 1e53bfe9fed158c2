"""Settings: where they come from, which source wins, what is refused, what is hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.settings import NAMES, Settings, explain, show


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "mailusers.toml"
    path.write_text('prefix = "/file"\nrealm = "file"\ndefault_quota = "1G"\n')
    return path


def test_precedence(file: Path) -> None:
    """An argument beats the environment, that beats the file, and that beats the default."""
    sources = Settings.sources(
        {"MAILUSERS_PREFIX": "/environment", "MAILUSERS_REALM": "environment"},
        file,
        {"prefix": "/argument"},
    )
    assert sources["prefix"] == ("/argument", "argument")
    assert sources["realm"] == ("environment", "environment")
    assert sources["default_quota"] == ("1G", f"file {file}")
    assert sources["listen"] == ("127.0.0.1:10222", "default")


def test_file_of_the_environment(file: Path) -> None:
    """MAILUSERS_CONFIG names the file, unless one is given."""
    assert Settings.load(environ={"MAILUSERS_CONFIG": str(file)}).prefix == "/file"
    other = file.with_name("other.toml")
    other.write_text('prefix = "/other"')
    assert Settings.load(environ={"MAILUSERS_CONFIG": str(file)}, file=other).prefix == "/other"


def test_arguments_that_are_none_do_not_count() -> None:
    """An option that was not given leaves the others in force; an empty one counts."""
    assert Settings.load(environ={"MAILUSERS_PREFIX": "/x"}, prefix=None).prefix == "/x"
    assert Settings.load(environ={"MAILUSERS_PREFIX": "/x"}, prefix="").prefix == ""


def test_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without saying more, the process's own environment counts."""
    monkeypatch.setenv("MAILUSERS_PREFIX", "/process")
    assert Settings.load().prefix == "/process"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("audit_log", "yes", True),
        ("audit_log", "OFF", False),
        ("audit_log", "", False),
        ("trusted_proxies", "127.0.0.1 2001:db8::/64", ("127.0.0.1", "2001:db8::/64")),
        ("hash_threads", "3", 3),
        ("session_hours", "0.5", 0.5),
        ("doveadm", "doveadm -c '/etc/my dovecot.conf'", ("doveadm", "-c", "/etc/my dovecot.conf")),
        ("extra_privileges", "billing support", ("billing", "support")),
        ("storage_root", "~/box", Path("~/box").expanduser()),
        ("storage_root", "box", Path.cwd() / "box"),
    ],
)
def test_conversion(name: str, text: str, value: object) -> None:
    """Text from the environment becomes the setting's own type."""
    settings = Settings.load(environ={f"MAILUSERS_{name.upper()}": text})
    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(value)


def test_types_of_a_file(tmp_path: Path) -> None:
    """A file may use TOML's own types."""
    path = tmp_path / "x.toml"
    path.write_text('audit_log = true\nhash_threads = 2\ndoveadm = ["doveadm", "-v"]\nsession_hours = 1\n')
    settings = Settings.load(environ={}, file=path)
    assert (settings.audit_log, settings.hash_threads) == (True, 2)
    assert (settings.doveadm, settings.session_hours) == (("doveadm", "-v"), 1.0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"no_such": 1}, "Unknown setting 'no_such' in argument."),
        ({"hash_threads": "many"}, "Setting hash_threads from argument is not possible: 'many'."),
        ({"audit_log": "maybe"}, "Setting audit_log from argument is not possible: 'maybe'."),
        ({"throttle_pair": -1}, "throttle_pair must be 0 or more."),
        ({"throttle_minutes": 0}, "throttle_minutes must be more than 0."),
        (
            {"trusted_proxies": ("10.0.0.1/8",)},
            "trusted_proxies must be addresses or networks: 10.0.0.1/8 has host bits set.",
        ),
        (
            {"trusted_proxies": ("proxy.example.com",)},
            "trusted_proxies must be addresses or networks: 'proxy.example.com' does not appear to be an IPv4 or "
            "IPv6 network.",
        ),
        ({"extra_privileges": 5}, "Setting extra_privileges from argument is not possible: 5."),
        ({"prefix": "admin"}, "prefix 'admin' must be empty, or begin with / and not end with it."),
        ({"prefix": "/admin/"}, "prefix '/admin/' must be empty, or begin with / and not end with it."),
        ({"prefix": "/"}, "prefix '/' must be empty, or begin with / and not end with it."),
        ({"prefix": "//evil"}, "prefix '//evil' must be empty, or begin with / and not end with it."),
        ({"hook_attempts": 0}, "hook_attempts must be at least 1."),
        ({"database_threads": 0}, "database_threads must be at least 1."),
        ({"hash_queue": -1}, "hash_queue must be at least 1."),
        ({"login_cache_seconds": -1}, "login_cache_seconds must be 0 or more."),
        ({"refusal_seconds": -0.5}, "refusal_seconds must be 0 or more."),
        ({"login_cache_seconds": float("nan")}, "login_cache_seconds must be 0 or more."),
        ({"totp_drift_steps": -1}, "totp_drift_steps must be 0 to 10."),
        ({"totp_drift_steps": 11}, "totp_drift_steps must be 0 to 10."),
        ({"session_hours": 0}, "session_hours must be more than 0."),
        ({"busy_timeout_seconds": -1}, "busy_timeout_seconds must be more than 0."),
        ({"extra_privileges": ["a\nb"]}, "extra_privileges must not be empty or contain a line break."),
        ({"default_quota": "lots"}, "default_quota 'lots' is not possible: Invalid quota."),
    ],
)
def test_refused(arguments: dict[str, Any], text: str) -> None:
    """What does not fit is refused with the setting, its source and the rule."""
    with pytest.raises(ConfigurationError) as raised:
        Settings.load(environ={}, **arguments)
    assert raised.value.message == text


@pytest.mark.parametrize("content", ["prefix =", b"\xff\xfe", None])
def test_unreadable_file(tmp_path: Path, content: str | bytes | None) -> None:
    """A file that is missing or not TOML is named."""
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError, match=f"^Cannot read the settings file {path}: "):
        Settings.load(environ={}, file=path)


def test_unknown_key_of_a_file(tmp_path: Path) -> None:
    """A misspelt key is not passed over."""
    path = tmp_path / "x.toml"
    path.write_text('prefx = "/x"')
    with pytest.raises(ConfigurationError, match=f"^Unknown setting 'prefx' in file {path}"):
        Settings.load(environ={}, file=path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql+psycopg://me:se@cret@db.example.com/mail",
            "postgresql+psycopg://me:***@db.example.com/mail",
        ),
        ("mariadb+pymysql://me@db/mail", "mariadb+pymysql://me:***@db/mail"),
        (
            "postgresql+psycopg://me@db/mail?password=s&x=1",
            "postgresql+psycopg://me:***@db/mail?password=***&x=1",
        ),
        ("mariadb+pymysql:///mail?x=1&passwd=s%40", "mariadb+pymysql:///mail?x=1&passwd=***"),
        ("sqlite:////srv/users.sqlite", "sqlite:////srv/users.sqlite"),
        ("", ""),
    ],
)
def test_secret_is_hidden(url: str, shown: str) -> None:
    """A database's password is not shown."""
    assert show("database", url) == shown


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained(name: str) -> None:
    """Every setting has a sentence, and can be shown."""
    assert explain(name).endswith(".")
    assert isinstance(show(name, getattr(Settings(), name)), str)


def test_places(tmp_path: Path) -> None:
    """Everything lies in the storage root unless said otherwise."""
    settings = Settings(storage_root=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/mail/users.sqlite"
    assert settings.mailboxes == tmp_path / "mail" / "mailboxes"
    assert settings.api_key_path == tmp_path / "mailusers" / "api.key"
    settings = Settings(database="sqlite:////x", api_key_file="/etc/key")
    assert (settings.database_url, settings.api_key_path) == ("sqlite:////x", Path("/etc/key"))
    assert settings.usage_file.name == "usage.sqlite"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"usage_share": 0}, "usage_share"),
        ({"usage_share": 1.5}, "usage_share"),
        ({"usage_source": "guess"}, "maildirsize, quota_clone, doveadm_http"),
        ({"usage_source": "doveadm_http", "doveadm_http_key_file": "/etc/key"}, "needs doveadm_http_url"),
        ({"usage_source": "doveadm_http", "doveadm_http_url": "https://b:1"}, "needs doveadm_http_key_file"),
    ],
)
def test_source_of_sizes(values: dict[str, Any], says: str) -> None:
    """A source that there is not, or that lacks something, is refused before anything is opened."""
    with pytest.raises(ConfigurationError, match=says):
        Settings.load(environ={}, **values)

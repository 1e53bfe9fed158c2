"""What is printed for Dovecot, as Dovecot's own parser reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mailusers_plugin.mailserver.fragments_quota import quota_dict_fragment, quota_fragment
from mailusers_plugin.settings import Settings

BASE = "mail_plugins = quota\nprotocol imap {\n  mail_plugins = $mail_plugins imap_quota\n}\n"


def configured(folder: Path, fragment: str, name: str, protocol: str = "") -> str:
    """Return a value of a configuration that has the fragment behind a usual one."""
    path = folder / "dovecot.conf"
    path.write_text(BASE + fragment)
    command = ["doveconf", "-c", str(path), "-h", *(["-f", f"protocol={protocol}"] if protocol else []), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # The usual one has named the plugins of imap already, and the fragment does so again.
    assert all(
        "won't change the setting inside an earlier filter" in line for line in done.stderr.splitlines()
    )
    return done.stdout.strip()


def test_maildirsize(tmp_path: Path) -> None:
    """Dovecot counts in files, and every program that changes mailboxes does."""
    text = quota_fragment(Settings(storage_root=tmp_path))
    assert configured(tmp_path, text, "plugin/quota") == "maildir"
    for protocol in ("imap", "pop3", "lmtp", "lda"):
        assert "quota" in configured(tmp_path, text, "mail_plugins", protocol).split()
    assert quota_dict_fragment(Settings(storage_root=tmp_path), "") == ""


@pytest.mark.parametrize(
    ("database", "driver"),
    [
        ("", "sqlite"),
        ("postgresql+psycopg://a:secret@b/c", "pgsql"),
        ("mariadb+pymysql://a:secret@b/c", "mysql"),
    ],
)
def test_quota_clone(tmp_path: Path, database: str, driver: str) -> None:
    """Every program that changes mailboxes tells the dict, which writes to the box's own kind of database."""
    settings = Settings(storage_root=tmp_path, database=database, usage_source="quota_clone")
    text = quota_fragment(settings, "/etc/dovecot/file")
    for protocol in ("imap", "pop3", "lmtp", "lda", "doveadm"):
        plugins = configured(tmp_path, text, "mail_plugins", protocol).split()
        assert {"quota", "quota_clone"} <= set(plugins)
    assert configured(tmp_path, text, "plugin/quota_clone_dict") == "proxy::mailusers_quota"
    assert configured(tmp_path, text, "dict/mailusers_quota") == f"{driver}:/etc/dovecot/file"
    of_dict = quota_dict_fragment(settings, "host=b dbname=c user=d")
    expected = "host=b dbname=c user=d" if database else str(settings.usage_file)
    assert f"\nconnect = {expected}\n" in of_dict
    assert "secret" not in text + of_dict


@pytest.mark.parametrize(
    ("url", "port", "ssl"), [("https://b:8443", "8443", "yes"), ("http://b:8080", "8080", "no")]
)
def test_doveadm_http(tmp_path: Path, url: str, port: str, ssl: str) -> None:
    """The listener is the one that the URL names."""
    settings = Settings(storage_root=tmp_path, usage_source="doveadm_http", doveadm_http_url=url)
    text = quota_fragment(settings)
    assert configured(tmp_path, text, "service/doveadm/inet_listener/http/port") == port
    assert configured(tmp_path, text, "service/doveadm/inet_listener/http/ssl") == ssl

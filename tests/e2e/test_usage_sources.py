"""Sizes from a real Dovecot by each source: a message comes by LMTP, and the panel's list shows its size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailusers_plugin.mailserver.fragments_quota import quota_dict_fragment, quota_fragment
from mailusers_plugin.settings import Settings
from tests.servers.box import Box, storage_folder
from tests.servers.certificates import make_certificate
from tests.servers.clients import imap_login, lmtp_send, wait_until
from tests.servers.command import mailusers
from tests.servers.dovecot import Dovecot
from tests.servers.panel import PanelProcess
from tests.servers.ports import free_port
from tests.support import run_sql

PASSWORD = "correct horse battery"
EMAIL = "me@example.com"
SILENT = "silent@example.com"
INTERVAL = "0.3"


@contextmanager
def dovecot_for(
    settings: Settings, *, connect: str = "", more: str = "", dict_of: str = "dovecot"
) -> Iterator[Dovecot]:
    """Run a Dovecot with the fragments that the settings ask for."""
    dict_file = settings.storage_root.parent / "dovecot-dict.conf.ext"
    text = quota_dict_fragment(settings, connect, str(dict_file))
    if text:
        dict_file.write_text(text)
        dict_file.chmod(0o600)
        shutil.chown(dict_file, dict_of)
    config = quota_fragment(settings, str(dict_file)) + more
    with Dovecot(settings.storage_root, extra_config=config) as dovecot:
        yield dovecot


def environment(settings: Settings, dovecot: Dovecot) -> dict[str, str]:
    """Return the variables of a panel, or of the command line."""
    return {
        "MAILUSERS_DOVEADM": " ".join(dovecot.doveadm),
        "MAILUSERS_USAGE_INTERVAL_SECONDS": INTERVAL,
        "MAILUSERS_USAGE_SOURCE": settings.usage_source,
        "MAILUSERS_DOVEADM_HTTP_URL": settings.doveadm_http_url,
        "MAILUSERS_DOVEADM_HTTP_KEY_FILE": settings.doveadm_http_key_file,
        "MAILUSERS_DOVEADM_HTTP_CA_FILE": settings.doveadm_http_ca_file,
        "MAILUSERS_DOVEADM_TIMEOUT_SECONDS": str(settings.doveadm_timeout_seconds),
    }


def listed(panel: PanelProcess, email: str) -> Any:
    """Return what the JSON list says of an address."""
    key = (panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
    domains = panel.request("GET", f"{panel.prefix}/mail/users?format=json", user=key).json()
    return next(user for domain in domains for user in domain["users"] if user["email"] == email)


def wait_for_size(panel: PanelProcess, email: str, size: int) -> None:
    """Wait until the list shows a size, with the time at which it was read."""
    wait_until(lambda: listed(panel, email)["box_size_bytes"] == size, message=f"{size} bytes in the list")
    assert listed(panel, email)["size_checked_at"] is not None


def doctor(settings: Settings, dovecot: Dovecot) -> dict[str, str]:
    """Return what the doctor says of sizes, by how bad it is."""
    command = [sys.executable, "-m", "mailusers_plugin", "doctor", "--json"]
    variables = {
        **os.environ,
        **environment(settings, dovecot),
        "MAILUSERS_STORAGE_ROOT": str(settings.storage_root),
        "MAILUSERS_POSTFIX_CONFIG": "/nonexistent",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    found: dict[str, str] = {}
    for finding in json.loads(done.stdout):
        of_sizes = finding["what"] == "sizes" or (finding["what"], finding["level"]) == ("box", "error")
        if of_sizes and finding["level"] not in found:
            found[finding["level"]] = f"{finding['says']} {finding['advice']}"
    return found


@pytest.fixture
def storage() -> Iterator[Path]:
    """A box with two users, of whom one is sent nothing."""
    with storage_folder() as folder:
        mailusers(folder, "user", "add", EMAIL, "--quota", "1M", password=PASSWORD)
        mailusers(folder, "user", "add", SILENT, "--admin", password=PASSWORD)
        yield folder


def test_quota_clone(storage: Path) -> None:
    """Dovecot writes each change of a mailbox into a file of its own, and the panel shows it; a purge forgets it."""
    settings = Settings(storage_root=storage, usage_source="quota_clone")
    maildir = Box(storage).maildir(EMAIL)
    with dovecot_for(settings) as dovecot:
        variables = environment(settings, dovecot)
        with PanelProcess(storage, environment=variables) as panel:
            lmtp_send(dovecot.lmtp_port, EMAIL, subject="one", body="x" * 5000)
            (message,) = maildir.glob("new/*")
            wait_for_size(panel, EMAIL, message.stat().st_size)
            first = listed(panel, EMAIL)["size_checked_at"]
            assert listed(panel, SILENT)["box_size_bytes"] is None

            client = imap_login(dovecot.imap_port, EMAIL, PASSWORD)
            client.select("INBOX")
            client.store("1", "+FLAGS", "\\Deleted")
            client.expunge()
            client.logout()
            wait_for_size(panel, EMAIL, 0)
            assert listed(panel, EMAIL)["size_checked_at"] >= first
            assert "error" not in doctor(settings, dovecot), dovecot.log_text()

            for action, more in (("remove", {}), ("purge", {"confirm": EMAIL})):
                panel.api(f"/{action}", 10, email=EMAIL, **more)
            wait_until(
                lambda: (
                    not run_sql(settings.usage_file, "SELECT * FROM mailusers_quota WHERE email = ?", EMAIL)
                ),
                message="that the row of the purged mailbox is deleted",
            )
        for path in (settings.usage_file.parent, settings.usage_file):
            assert (path.owner(), path.stat().st_mode & 0o077) == ("dovecot", 0)


def test_quota_clone_without_the_panel(storage: Path) -> None:
    """Dovecot writes sizes also while no panel runs, and the next one shows them."""
    settings = Settings(storage_root=storage, usage_source="quota_clone")
    with dovecot_for(settings) as dovecot:
        variables = environment(settings, dovecot)
        with PanelProcess(storage, environment=variables):
            lmtp_send(dovecot.lmtp_port, EMAIL, body="x" * 5000)
        lmtp_send(dovecot.lmtp_port, EMAIL, body="x" * 5000)
        messages = list(Box(storage).maildir(EMAIL).glob("new/*"))
        with PanelProcess(storage, environment=variables) as panel:
            wait_for_size(panel, EMAIL, sum(message.stat().st_size for message in messages))
        assert len(messages) == 2


def test_doctor_on_quota_clone(storage: Path) -> None:
    """A Dovecot that was not told, a file of a wrong owner and one that is no database are found, with what to do."""
    settings = Settings(storage_root=storage, usage_source="quota_clone")
    with Dovecot(storage) as dovecot:
        assert "mailusers dovecot-config" in doctor(settings, dovecot)["error"]
    with dovecot_for(settings) as dovecot:
        assert "error" not in doctor(settings, dovecot)
        assert "not written any size" in doctor(settings, dovecot)["warning"]
        shutil.chown(settings.usage_file, "root")
        assert f"chown dovecot {settings.usage_file}" in doctor(settings, dovecot)["error"]
        shutil.chown(settings.usage_file, "dovecot")
        settings.usage_file.parent.chmod(0o500)
        assert f"chmod 700 {settings.usage_file.parent}" in doctor(settings, dovecot)["error"]
        settings.usage_file.parent.chmod(0o700)
        (storage / "mail").chmod(0o700)
        assert f"chmod o+x {storage / 'mail'}" in doctor(settings, dovecot)["error"]
        (storage / "mail").chmod(0o755)
        settings.usage_file.unlink()
        settings.usage_file.symlink_to(storage / "mailusers" / "state.sqlite")
        assert "not a plain file" in doctor(settings, dovecot)["error"]


def test_doctor_on_maildirsize(storage: Path) -> None:
    """A Dovecot that counts without maildirsize files is found."""
    settings = Settings(storage_root=storage)
    with Dovecot(storage) as dovecot:
        assert "error" not in doctor(settings, dovecot)
    with Dovecot(storage, extra_config="plugin {\n  quota = count:User quota\n}\n") as dovecot:
        assert "usage_source = quota_clone" in doctor(settings, dovecot)["error"]


def test_doveadm_http(storage: Path, tmp_path: Path) -> None:
    """The panel asks a Dovecot over TLS for its users' sizes; the doctor tells a wrong key from one that is down."""
    certificate, certificate_key = make_certificate(tmp_path)
    key = storage.parent / "doveadm.key"
    key.touch(0o600)
    key.write_text("a secret key\n")
    settings = Settings(
        storage_root=storage,
        usage_source="doveadm_http",
        doveadm_http_url=f"https://localhost:{free_port()}",
        doveadm_http_key_file=str(key),
        doveadm_http_ca_file=str(certificate),
        doveadm_timeout_seconds=5,
    )
    more = f"doveadm_api_key = a secret key\nssl = yes\nssl_cert = <{certificate}\nssl_key = <{certificate_key}\n"
    with dovecot_for(settings, more=more) as dovecot:
        variables = environment(settings, dovecot)
        with PanelProcess(storage, environment=variables) as panel:
            wait_for_size(panel, EMAIL, 0)
            lmtp_send(dovecot.lmtp_port, EMAIL, body="x" * 5000)
            (message,) = Box(storage).maildir(EMAIL).glob("new/*")
            wait_for_size(panel, EMAIL, -(-message.stat().st_size // 1024) * 1024)
            wait_for_size(panel, SILENT, 0)
            assert "knows 2 of 2 users" in doctor(settings, dovecot)["ok"]

            untrusted = replace(settings, doveadm_http_ca_file="")
            assert "doveadm_http_ca_file" in doctor(untrusted, dovecot)["error"]
            key.write_text("another key\n")
            found = doctor(settings, dovecot)["error"]
            assert "refuses the key" in found
            assert "another key" not in found
            dovecot.stop()
            key.write_text("a secret key\n")
            assert "cannot be reached" in doctor(settings, dovecot)["error"]
            # What was known stays.
            assert listed(panel, EMAIL)["box_size_bytes"] == -(-message.stat().st_size // 1024) * 1024
    key.unlink()
    assert "doveadm_http_key_file" in doctor(settings, dovecot)["error"]

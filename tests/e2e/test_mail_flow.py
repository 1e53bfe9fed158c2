"""A box of our own making with a real Dovecot and Postfix: what the panel changes is what the mail system does."""

from __future__ import annotations

import imaplib
import json
import re
import smtplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mailusers_plugin.password_schemes import NEW_SCHEMES
from mailusers_plugin.passwords import scheme_of
from tests.servers.box import MailSystem, mail_system, storage_folder
from tests.servers.clients import (
    can_log_in,
    imap_login,
    inbox_subjects,
    lmtp_send,
    refusal_code,
    smtp_send,
    wait_until,
)
from tests.servers.command import mailusers
from tests.servers.panel import PanelProcess

PASSWORD = "correct horse battery"
OTHER_PASSWORD = 'staple of "quotes" and \\slashes'
BOSS = "boss@example.com"
MIAB_TABLES = ("aliases", "auto_aliases", "mfa")


@dataclass(frozen=True)
class Site:
    """A panel and the mail servers over one box."""

    panel: PanelProcess
    system: MailSystem

    @property
    def imap(self) -> int:
        """Dovecot's port."""
        return self.system.dovecot.imap_port

    def call(self, action: str, expected: str, **form: str) -> None:
        """Make a change by the API and wait until the hooks were told; the answer must be the expected one."""
        reply = self.panel.api(f"/{action}", 10, **form)
        assert (reply.status, reply.text) == (200, expected)

    def add(self, email: str, password: str = PASSWORD, **form: str) -> None:
        """Add a user."""
        self.call("add", "mail user added\n", email=email, password=password, **form)

    def archive(self, email: str) -> None:
        """Archive a user."""
        self.call("remove", "mail user removed\n", email=email)

    def receive(self, email: str, subject: str, password: str = PASSWORD, *, to: str = "") -> None:
        """Send a message through Postfix and find it in the INBOX."""
        smtp_send(self.system.postfix.smtp_port, to or email, subject=subject)
        wait_until(
            lambda: subject in inbox_subjects(self.imap, email, password), message=f"the message {subject!r}"
        )

    def listed(self, email: str) -> dict[str, Any] | None:
        """Return what the JSON list says of an address."""
        domains = self.panel.request(
            "GET", f"{self.panel.prefix}/mail/users?format=json", user=self.api_key()
        ).json()
        return next((user for domain in domains for user in domain["users"] if user["email"] == email), None)

    def api_key(self) -> str:
        """Return the box's own key."""
        return (self.panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()

    def messages(self, email: str) -> dict[str, bytes]:
        """Return the files of all messages in the maildir, by the part of their names that never changes."""
        maildir = self.system.box.maildir(email)
        files = [*maildir.glob("cur/*"), *maildir.glob("new/*")]
        return {file.name.partition(":")[0]: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A box that the command line made, for all tests of the module; Dovecot caches log-ins, as large boxes do."""
    with storage_folder() as storage:
        mailusers(storage, "user", "add", BOSS, "--admin", password=PASSWORD)
        with mail_system(storage, chroot=True, map_type="proxy:sqlite", auth_cache_size="1M") as system:
            environment = {
                "MAILUSERS_DOVEADM": " ".join(system.dovecot.doveadm),
                "MAILUSERS_USAGE_INTERVAL_SECONDS": "0.5",
            }
            with PanelProcess(storage, environment=environment) as panel:
                yield Site(panel, system)


def has_ended(client: imaplib.IMAP4) -> bool:
    """Tell whether the server has closed an open session."""
    try:
        client.noop()
    except (imaplib.IMAP4.abort, OSError):
        client.shutdown()
        return True
    return False


def smtp_refusal(site: Site, email: str, body: str = "Hello.\n") -> int:
    """Return the code with which Postfix refuses a message."""
    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException)) as refused:
        smtp_send(site.system.postfix.smtp_port, email, body=body)
    return refusal_code(refused.value)


def test_a_new_user_logs_in_and_receives_mail(site: Site) -> None:
    """Add, log in, be sent a message through Postfix, and see size and percent in the list."""
    email = "new@example.com"
    site.add(email, quota="1M")
    found = site.listed(email)
    assert found is not None
    assert (found["status"], found["quota"], found["box_quota"]) == ("active", "1M", 2**20)
    assert can_log_in(site.imap, email, PASSWORD)
    assert not can_log_in(site.imap, email, PASSWORD + "!")
    smtp_send(site.system.postfix.smtp_port, email, subject="first", body=("x" * 70 + "\n") * 1500)
    wait_until(lambda: inbox_subjects(site.imap, email, PASSWORD) == ["first"], message="the message")
    (message,) = site.messages(email).values()

    def size() -> Any:
        user = site.listed(email)
        return user and user["box_size_bytes"]

    wait_until(lambda: size() == len(message), message="the size in the list")
    found = site.listed(email)
    assert found is not None
    assert found["box_size"] == f"{len(message) / 1024:.0f}K"
    assert float(re.sub(r"[^0-9.]", "", found["percent"])) == pytest.approx(100 * len(message) / 2**20, abs=1)


def test_a_quota_holds_and_its_change_applies(site: Site) -> None:
    """A message beyond the quota is refused at both doors; with a larger quota it is taken, with a smaller none."""
    email, large = "full@example.com", ("x" * 70 + "\n") * 300
    site.add(email, quota="10000")
    assert smtp_refusal(site, email, large) in (522, 552)
    with pytest.raises(smtplib.SMTPDataError) as too_large:
        lmtp_send(site.system.dovecot.lmtp_port, email, body=large)
    assert refusal_code(too_large.value) == 552
    assert site.messages(email) == {}

    site.call("quota", "OK", email=email, quota="1M")
    smtp_send(site.system.postfix.smtp_port, email, body=large)
    wait_until(lambda: len(site.messages(email)) == 1, message="the large message")

    site.call("quota", "OK", email=email, quota="5000")
    assert smtp_refusal(site, email) == 522
    limit = (site.system.box.maildir(email) / "maildirsize").read_text().splitlines()[0]
    assert limit == "5000S"


def test_a_new_password_replaces_the_old_one_at_once(site: Site) -> None:
    """The old password is refused though Dovecot had cached it, the session opened with it ends, the new one works."""
    email = "changes@example.com"
    site.add(email)
    client = imap_login(site.imap, email, PASSWORD)
    assert not has_ended(client)
    site.call("password", "OK", email=email, password=OTHER_PASSWORD)
    wait_until(lambda: has_ended(client), message="the end of the session")
    assert not can_log_in(site.imap, email, PASSWORD)
    assert can_log_in(site.imap, email, OTHER_PASSWORD)


def test_an_archived_user_is_out_and_the_mail_stays(site: Site) -> None:
    """Archiving ends the open session, refuses log-ins and mail, and keeps every message; adding gives them back."""
    email = "leaver@example.com"
    site.add(email, quota="1G")
    site.receive(email, "before")
    before = site.messages(email)
    client = imap_login(site.imap, email, PASSWORD)

    site.archive(email)
    wait_until(lambda: has_ended(client), message="the end of the session")
    # Dovecot caches this refusal too, for an hour.
    assert not can_log_in(site.imap, email, PASSWORD)
    assert smtp_refusal(site, email) == 550
    assert site.messages(email) == before != {}
    found = site.listed(email)
    assert found is not None
    assert (found["status"], found["quota"]) == ("inactive", "1G")
    assert found["mailbox"] == str(site.system.box.maildir(email))

    site.add(email, OTHER_PASSWORD)
    assert not can_log_in(site.imap, email, PASSWORD)
    site.receive(email, "after", OTHER_PASSWORD)
    assert inbox_subjects(site.imap, email, OTHER_PASSWORD) == ["before", "after"]


def test_dovecot_would_let_a_removed_user_in_for_an_hour(site: Site) -> None:
    """The log-in cache is on: a row that is deleted without us leaves the door open. So the other tests mean it."""
    email = "cached@example.com"
    site.add(email)
    assert can_log_in(site.imap, email, PASSWORD)
    site.system.box.remove_user(email)
    assert can_log_in(site.imap, email, PASSWORD)


def test_purged_mail_is_gone(site: Site) -> None:
    """Purging deletes the maildir and the row in the list; the same address starts with an empty mailbox."""
    email = "gone@example.com"
    site.add(email)
    site.receive(email, "secret")
    refused = site.panel.api("/purge", email=email, confirm=email)
    assert refused.status == 400
    assert len(site.messages(email)) == 1

    site.archive(email)
    site.call("purge", "mail user purged\n", email=email, confirm=email)
    assert not site.system.box.maildir(email).exists()
    assert site.listed(email) is None
    assert smtp_refusal(site, email) == 550

    site.add(email)
    assert inbox_subjects(site.imap, email, PASSWORD) == []


@pytest.mark.parametrize("scheme", NEW_SCHEMES)
@pytest.mark.parametrize("password", [OTHER_PASSWORD, "пароль ñandú 密碼 🔑"], ids=["ascii", "unicode"])
def test_dovecot_verifies_each_scheme(site: Site, scheme: str, password: str) -> None:
    """A hash that we make in each scheme is verified by Dovecot, and the panel takes the same password."""
    email = f"{scheme.lower()}-{'ascii' if password.isascii() else 'unicode'}@example.com"
    mailusers(site.panel.storage, "user", "add", email, password=password, MAILUSERS_PASSWORD_SCHEME=scheme)
    assert stored_scheme(site, email) == scheme
    assert can_log_in(site.imap, email, password)
    assert not can_log_in(site.imap, email, password.upper())
    reply = site.panel.request("POST", f"{site.panel.prefix}/login", {}, user=email, password=password)
    assert reply.json()["status"] == "ok"

    # That log-in has put a stronger hash in the place of a weaker one; Dovecot has to understand it too.
    assert stored_scheme(site, email) == "ARGON2ID"
    flush = [*site.system.dovecot.doveadm, "auth", "cache", "flush", email]
    subprocess.run(flush, check=True, capture_output=True)
    assert can_log_in(site.imap, email, password)


def stored_scheme(site: Site, email: str) -> str:
    """Return the scheme of the stored hash."""
    ((stored,),) = site.system.box.execute("SELECT password FROM users WHERE email = ?", email)
    return scheme_of(str(stored))


def test_aliases_are_honoured_and_left_alone(site: Site) -> None:
    """Postfix honours an alias of Mail-in-a-Box's, and no change of a user touches the tables that are not ours."""
    email, box = "aliased@example.com", site.system.box
    site.add(email)
    box.add_alias("info@example.com", email)
    box.execute("INSERT INTO auto_aliases (source, destination) VALUES ('abuse@example.com', ?)", email)
    box.execute(
        "INSERT INTO mfa (user_id, type, secret, mru_token, label) "
        "SELECT id, 'totp', 'JBSWY3DPEHPK3PXP', '123456', 'phone' FROM users WHERE email = ?",
        email,
    )
    before = {table: box.execute(f"SELECT * FROM {table}") for table in MIAB_TABLES}  # noqa: S608
    assert all(before.values())
    site.receive(email, "by alias", to="info@example.com")
    site.receive(email, "by automatic alias", to="abuse@example.com")

    other = "passing@example.com"
    site.add(other, quota="1G")
    site.call("quota", "OK", email=other, quota="2G")
    site.call("password", "OK", email=other, password=OTHER_PASSWORD)
    site.call("privileges/add", "OK", email=other, privilege="admin")
    site.call("privileges/remove", "OK", email=other, privilege="admin")
    site.archive(other)
    site.call("purge", "mail user purged\n", email=other, confirm=other)
    site.call("quota", "OK", email=email, quota="2G")
    site.call("password", "OK", email=email, password=OTHER_PASSWORD)
    assert {table: box.execute(f"SELECT * FROM {table}") for table in MIAB_TABLES} == before  # noqa: S608


def test_the_command_line_beside_a_running_panel(site: Site) -> None:
    """A user added on the command line logs in at once and is listed, and the panel delivers the event."""
    email = "typed@example.com"
    # This process knows no doveadm: if Dovecot hears of the user, it is from the panel.
    mailusers(site.panel.storage, "user", "add", email, "--quota", "1G", password=PASSWORD)
    assert (site.system.box.maildir(email) / "maildirsize").read_text().startswith(f"{2**30}S")
    assert can_log_in(site.imap, email, PASSWORD)
    client = imap_login(site.imap, email, PASSWORD)

    def is_listed_alike() -> bool:
        domains = json.loads(mailusers(site.panel.storage, "user", "list", "--json"))
        assert email in [user["email"] for user in domains[0]["users"]]
        return site.listed(email) in domains[0]["users"]

    # Between the two the panel may have read how full the new mailbox is.
    wait_until(is_listed_alike, message="the same from the command as from the panel")

    mailusers(site.panel.storage, "user", "remove", email)
    wait_until(lambda: has_ended(client), message="the end of the session")
    assert not can_log_in(site.imap, email, PASSWORD)
    assert smtp_refusal(site, email) == 550

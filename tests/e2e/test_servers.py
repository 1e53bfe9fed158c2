"""The servers that other tests rely on behave as a Mail-in-a-Box does."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.box import MailSystem, adopted_box, mail_system
from tests.servers.clients import (
    can_log_in,
    inbox_subjects,
    lmtp_send,
    refusal_code,
    smtp_send,
    wait_until,
)
from tests.servers.dovecot import Dovecot
from tests.servers.ports import ServerStartError, is_listening

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def system() -> Iterator[MailSystem]:
    """Both servers over an adopted box with one user, for all tests of the module."""
    with adopted_box() as box:
        box.add_user("me@example.com", PASSWORD)
        with mail_system(box.storage) as running:
            yield running


def test_login_with_sha512_crypt_hash(system: MailSystem) -> None:
    """A hash with Dovecot's prefix is accepted; a wrong password and an unknown user are not."""
    assert can_log_in(system.dovecot.imap_port, "me@example.com", PASSWORD)
    assert not can_log_in(system.dovecot.imap_port, "me@example.com", PASSWORD + "!")
    assert not can_log_in(system.dovecot.imap_port, "nobody@example.com", PASSWORD)


def test_smtp_delivers_to_inbox(system: MailSystem) -> None:
    """Mail from outside arrives, and the maildir quota file with it."""
    smtp_send(system.postfix.smtp_port, "me@example.com", subject="to the inbox")
    wait_for_subject(system, "to the inbox")
    assert (system.box.maildir("me@example.com") / "maildirsize").exists()


def test_alias_is_honoured(system: MailSystem) -> None:
    """An alias that is added while Postfix runs is honoured at once."""
    system.box.add_alias("info@example.com", "me@example.com")
    smtp_send(system.postfix.smtp_port, "info@example.com", subject="by alias")
    wait_for_subject(system, "by alias")


def test_unknown_recipient_is_refused(system: MailSystem) -> None:
    """Both servers refuse a recipient that has no row."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp_send(system.postfix.smtp_port, "nobody@example.com")
    assert refusal_code(refused.value) == 550
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        lmtp_send(system.dovecot.lmtp_port, "nobody@example.com")
    assert refusal_code(refused.value) == 550


def test_foreign_domain_is_not_relayed(system: MailSystem) -> None:
    """A stranger cannot send through the box."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp_send(system.postfix.smtp_port, "someone@example.net")
    assert refusal_code(refused.value) in (454, 550, 554)


def test_full_mailbox_is_refused(system: MailSystem) -> None:
    """LMTP refuses what would not fit; Postfix refuses a full mailbox before the message is sent."""
    system.box.add_user("full@example.com", PASSWORD, quota="10000")
    lmtp_send(system.dovecot.lmtp_port, "full@example.com", body="x" * 70 + "\n")
    with pytest.raises(smtplib.SMTPDataError) as too_large:
        lmtp_send(system.dovecot.lmtp_port, "full@example.com", body=("x" * 70 + "\n") * 300)
    assert refusal_code(too_large.value) == 552

    # A quota below what is already there: now Postfix refuses at once, by the quota-status service.
    system.box.execute("UPDATE users SET quota = '1' WHERE email = 'full@example.com'")
    with pytest.raises(smtplib.SMTPRecipientsRefused) as full:
        smtp_send(system.postfix.smtp_port, "full@example.com")
    assert refusal_code(full.value) == 522


def test_servers_leave_nothing_behind() -> None:
    """After the end there is no process, no folder and no open port."""
    with adopted_box() as box, mail_system(box.storage) as running:
        dovecot, postfix = running.dovecot, running.postfix
        assert processes_naming(dovecot.folder)
        assert processes_naming(postfix.folder)
    for folder in (box.storage, dovecot.folder, postfix.folder):
        assert not folder.exists()
        assert processes_naming(folder) == []
    assert not is_listening(postfix.smtp_port)
    assert not is_listening(dovecot.imap_port)


def test_two_systems_run_side_by_side(system: MailSystem) -> None:
    """A second system does not disturb the first."""
    with adopted_box() as box, mail_system(box.storage) as other:
        box.add_user("me@example.com", "another password")
        smtp_send(other.postfix.smtp_port, "me@example.com", subject="to the other")
        wait_for_subject(other, "to the other", password="another password")
    assert can_log_in(system.dovecot.imap_port, "me@example.com", PASSWORD)


def test_server_restarts_on_its_ports() -> None:
    """A stopped server comes back where its clients expect it."""
    with adopted_box() as box, Dovecot(box.storage) as dovecot:
        box.add_user("me@example.com", PASSWORD)
        dovecot.stop()
        assert not is_listening(dovecot.imap_port)
        dovecot.start()
        assert can_log_in(dovecot.imap_port, "me@example.com", PASSWORD)


def test_broken_configuration_is_reported_with_the_log() -> None:
    """The reason why Dovecot did not start is in the error."""
    with adopted_box() as box:
        broken = Dovecot(box.storage, extra_config="no_such_setting = 1")
        with pytest.raises(ServerStartError, match="no_such_setting"):
            broken.__enter__()
        assert not broken.folder.exists()


def wait_for_subject(system: MailSystem, subject: str, *, password: str = PASSWORD) -> None:
    """Wait until a message with the subject is in the mailbox of me@example.com."""
    wait_until(
        lambda: subject in inbox_subjects(system.dovecot.imap_port, "me@example.com", password),
        message=f"the message {subject!r}",
    )


def processes_naming(folder: Path) -> list[str]:
    """Return the command lines of processes that name the folder or work below it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_text()
            if str(folder) in command or (entry / "cwd").readlink().is_relative_to(folder):
                found.append(command)
    return found

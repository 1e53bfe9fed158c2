"""Small mail clients for tests: send by SMTP and LMTP, read by IMAP, wait for a condition."""

from __future__ import annotations

import imaplib
import re
import smtplib
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.parser import BytesHeaderParser

from tests.servers.ports import LOOPBACK

SENDER = "sender@example.org"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9@._+-]+")


def wait_until(
    condition: Callable[[], object], *, timeout_seconds: float = 10, message: str = "the condition"
) -> None:
    """Poll ``condition`` until it is true; raise TimeoutError when it does not become so in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {message}")
        time.sleep(0.05)


def make_message(
    recipient: str, *, subject: str = "Test", body: str = "Hello.\n", sender: str = SENDER
) -> bytes:
    """Build a plain message as it goes over the wire."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message.set_content(body)
    return message.as_bytes()


def smtp_send(
    port: int, recipient: str, *, subject: str = "Test", body: str = "Hello.\n", timeout_seconds: float = 20
) -> None:
    """Hand one message to Postfix as a stranger from outside does; a refusal raises smtplib's own error.

    With one recipient a refusal at RCPT is ``SMTPRecipientsRefused``, one after DATA ``SMTPDataError``.
    """
    with smtplib.SMTP(LOOPBACK, port, local_hostname="client.example.org", timeout=timeout_seconds) as client:
        client.sendmail(SENDER, [recipient], make_message(recipient, subject=subject, body=body))


def lmtp_send(
    port: int, recipient: str, *, subject: str = "Test", body: str = "Hello.\n", timeout_seconds: float = 20
) -> None:
    """Hand one message straight to Dovecot's LMTP server; a refusal raises smtplib's own error."""
    with smtplib.LMTP(LOOPBACK, port, local_hostname="client.example.org", timeout=timeout_seconds) as client:
        client.sendmail(SENDER, [recipient], make_message(recipient, subject=subject, body=body))


def refusal_code(error: smtplib.SMTPException) -> int:
    """Return the SMTP code of a refused message, whether it came at RCPT or after DATA."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = {code for code, _ in error.recipients.values()}
        assert len(codes) == 1, codes
        return int(codes.pop())
    if isinstance(error, smtplib.SMTPResponseException):
        return int(error.smtp_code)
    raise error


def imap_login(port: int, email: str, password: str, *, timeout_seconds: float = 20) -> imaplib.IMAP4:
    """Log in and return the open client; wrong credentials raise ``imaplib.IMAP4.error``.

    ``with imap_login(…) as client:`` logs out at the end.
    """
    client = imaplib.IMAP4(LOOPBACK, port, timeout=timeout_seconds)
    try:
        if password.isascii() and _PLAIN_NAME.fullmatch(email):
            client.login(email, password)
        else:
            # The LOGIN command takes no other characters (RFC 3501, section 9), and imaplib does not quote the name;
            # SASL takes UTF-8.
            client.authenticate("PLAIN", lambda _: f"\0{email}\0{password}".encode())
    except BaseException:
        client.shutdown()
        raise
    return client


def can_log_in(port: int, email: str, password: str) -> bool:
    """Say whether Dovecot accepts the password. Anything but a plain refusal is raised."""
    try:
        imap_login(port, email, password).logout()
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        if "AUTHENTICATIONFAILED" not in str(error):
            raise
        return False
    return True


def inbox_subjects(port: int, email: str, password: str) -> list[str]:
    """Return the subjects of all messages in the INBOX, oldest first."""
    subjects = []
    with imap_login(port, email, password) as client:
        client.select("INBOX", readonly=True)
        _, found = client.search(None, "ALL")
        for number in found[0].split():
            _, parts = client.fetch(number.decode(), "(BODY[HEADER.FIELDS (SUBJECT)])")
            header = parts[0]
            assert isinstance(header, tuple), parts
            subjects.append(str(BytesHeaderParser().parsebytes(header[1])["Subject"]))
    return subjects

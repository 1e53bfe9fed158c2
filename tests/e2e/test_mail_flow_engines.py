"""A panel over each database with a real Dovecot and Postfix, configured by what the commands print alone."""

from __future__ import annotations

import imaplib
import smtplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.servers.box import dovecot_hash, storage_folder
from tests.servers.clients import (
    SENDER,
    can_log_in,
    imap_login,
    inbox_subjects,
    lmtp_send,
    make_message,
    refusal_code,
    smtp_send,
    wait_until,
)
from tests.servers.command import mailusers
from tests.servers.dovecot import Dovecot
from tests.servers.engines import NAMES
from tests.servers.fragments import PASSWORDS, Site, database_site, fragment_system
from tests.servers.panel import PanelProcess
from tests.servers.ports import LOOPBACK
from tests.servers.postfix import Postfix

PASSWORD = "correct horse battery"
BOSS = "boss@example.com"
MAPS = {
    "virtual_mailbox_domains": "virtual-mailbox-domains.cf",
    "virtual_mailbox_maps": "virtual-mailbox-maps.cf",
    "virtual_alias_maps": "virtual-alias-maps.cf",
    "smtpd_sender_login_maps": "sender-login-maps.cf",
}
TYPES = {"sqlite": "sqlite", "postgresql": "pgsql", "mariadb": "mysql"}
LONG = f"{'l' * 64}@{'.'.join(['d' * 62] * 2 + ['e' * 52])}.example.com"
"""255 characters, the most that the tables hold."""
HOSTILE = (
    "o'brien@example.com",
    "x''x@example.com",
    "' or '1'='1@example.com",
    'quo"ted@example.com',
    "back\\slash@example.com",
    "end\\@example.com",
    "hundred%@example.com",
    "percent%u@example.com",
    "percent%s@example.com",
    "under_score@example.com",
    "semi;drop table users;--@example.com",
    "dollar$1$$@example.com",
    "back`tick@example.com",
    LONG,
)
"""Addresses that mean something else to a careless query. Other programs may store them."""


@dataclass(frozen=True)
class System:
    """A panel and the mail servers over one box."""

    site: Site
    panel: PanelProcess
    dovecot: Dovecot
    postfix: Postfix

    def call(self, action: str, expected: str, **form: str) -> None:
        """Make a change by the API and wait until the hooks were told."""
        reply = self.panel.api(f"/{action}", 10, **form)
        assert (reply.status, reply.text) == (200, expected)

    def look_up(self, parameter: str, key: str) -> str | None:
        """Return what Postfix finds, ``None`` for nothing; a look-up that fails is an error."""
        folder = self.postfix.config_dir
        map_ = f"{TYPES[self.site.engine]}:{folder / MAPS[parameter]}"
        command = ["postmap", "-c", str(folder), "-q", key, map_]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout.rstrip("\n") if done.returncode == 0 else None

    def refusal(self, recipient: str) -> int:
        """Return the code with which Postfix refuses a message."""
        with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException)) as refused:
            smtp_send(self.postfix.smtp_port, recipient)
        return refusal_code(refused.value)


@pytest.fixture(scope="module", params=NAMES)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A box that the command line made on one database, for all tests of the module."""
    with storage_folder() as storage, database_site(request.param, storage) as site:
        mailusers(storage, "user", "add", BOSS, "--admin", password=PASSWORD, **site.environment)
        # By default Dovecot takes no strange characters in a name at all, so that no query ever sees them.
        with fragment_system(site, dovecot_config="auth_username_chars =\n") as (dovecot, postfix):
            environment = {
                **site.environment,
                "MAILUSERS_DOVEADM": " ".join(dovecot.doveadm),
                "MAILUSERS_USAGE_INTERVAL_SECONDS": "0.5",
            }
            with PanelProcess(storage, environment=environment) as panel:
                yield System(site, panel, dovecot, postfix)


def test_the_life_of_a_user(system: System) -> None:
    """A user who is added logs in and gets mail at once, is held to the quota, and is out when archived."""
    email, imap, smtp = "new@example.com", system.dovecot.imap_port, system.postfix.smtp_port
    assert system.refusal(email) == 550
    system.call("add", "mail user added\n", email=email, password=PASSWORD, quota="20000")
    assert can_log_in(imap, email, PASSWORD)
    assert not can_log_in(imap, email, PASSWORD + "!")
    smtp_send(smtp, email, subject="first")
    wait_until(lambda: inbox_subjects(imap, email, PASSWORD) == ["first"], message="the message")
    limit = system.site.storage / "mail/mailboxes/example.com/new/maildirsize"
    assert limit.read_text().startswith("20000S\n")

    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)) as full:
        smtp_send(smtp, email, body=("x" * 70 + "\n") * 400)
    assert refusal_code(full.value) in (522, 552)
    system.call("quota", "OK", email=email, quota="1M")
    smtp_send(smtp, email, subject="large", body=("x" * 70 + "\n") * 400)
    wait_until(
        lambda: inbox_subjects(imap, email, PASSWORD) == ["first", "large"], message="the large message"
    )

    client = imap_login(imap, email, PASSWORD)
    system.call("remove", "mail user removed\n", email=email)
    wait_until(lambda: _has_ended(client), message="the end of the session")
    assert not can_log_in(imap, email, PASSWORD)
    assert system.refusal(email) == 550
    system.call("add", "mail user added\n", email=email, password=PASSWORD)
    assert inbox_subjects(imap, email, PASSWORD) == ["first", "large"]


def _has_ended(client: imaplib.IMAP4) -> bool:
    try:
        client.noop()
    except (imaplib.IMAP4.abort, OSError):
        client.shutdown()
        return True
    return False


def test_all_users_are_iterated(system: System) -> None:
    """Dovecot finds every user by itself, as its own tools need it."""
    done = subprocess.run([*system.dovecot.doveadm, "user", "*"], capture_output=True, text=True, check=True)
    assert BOSS in done.stdout.splitlines()


def test_aliases_and_senders(system: System) -> None:
    """Aliases lead where they should, by their priority, and say who may send in their name."""
    insert = "INSERT INTO aliases (source, destination, permitted_senders) VALUES (?, ?, ?)"
    system.site.sql(insert, "info@alias.example.org", BOSS, None)
    system.site.sql(insert, "sales@alias.example.org", BOSS, "one@example.com,two@example.com")
    system.site.sql(insert, BOSS, f"{BOSS},copy@example.com", None)
    automatic = "INSERT INTO auto_aliases (source, destination) VALUES (?, ?)"
    system.site.sql(automatic, "abuse@alias.example.org", BOSS)
    for name, destination in (
        ("info@alias.example.org", BOSS),
        ("abuse@alias.example.org", BOSS),
        (BOSS, f"{BOSS},copy@example.com"),
        ("nobody@alias.example.org", None),
    ):
        assert system.look_up("virtual_alias_maps", name) == destination
    for name, senders in (
        ("info@alias.example.org", BOSS),
        ("sales@alias.example.org", "one@example.com,two@example.com"),
        ("nobody@example.com", None),
    ):
        assert system.look_up("smtpd_sender_login_maps", name) == senders
    smtp_send(system.postfix.smtp_port, "info@alias.example.org", subject="by alias")
    imap = system.dovecot.imap_port
    wait_until(lambda: "by alias" in inbox_subjects(imap, BOSS, PASSWORD), message="the message")


def test_domains(system: System) -> None:
    """A domain is ours if a user or an alias is in it, exactly that one: no part of it, and no pattern."""
    system.site.sql("INSERT INTO aliases (source, destination) VALUES ('@all.example.org', ?)", BOSS)
    for domain, found in (
        ("example.com", True),
        ("all.example.org", True),
        ("xample.com", False),
        ("com", False),
        ("example.co", False),
        ("sub.example.com", False),
    ):
        assert (system.look_up("virtual_mailbox_domains", domain) is not None) is found, domain


@pytest.mark.parametrize("email", HOSTILE)
def test_hostile_names_are_names(system: System, email: str) -> None:
    """An address is looked for as it is: found where it is stored, by both servers, and only then."""
    imap = system.dovecot.imap_port
    for parameter in ("virtual_mailbox_maps", "virtual_alias_maps", "smtpd_sender_login_maps"):
        assert system.look_up(parameter, email) is None
    assert not can_log_in(imap, email, PASSWORD)
    insert = "INSERT INTO users (email, password, privileges, quota) VALUES (?, ?, '', '0')"
    system.site.sql(insert, email, dovecot_hash(PASSWORD))
    assert system.look_up("virtual_mailbox_maps", email) == "1"
    assert system.look_up("virtual_alias_maps", email) == email
    assert system.look_up("smtpd_sender_login_maps", email) == email
    assert can_log_in(imap, email, PASSWORD)
    lmtp_send(system.dovecot.lmtp_port, _quoted(email), subject="to a strange name")
    assert inbox_subjects(imap, email, PASSWORD) == ["to a strange name"]
    system.site.sql("DELETE FROM users WHERE email = ?", email)
    assert system.look_up("virtual_mailbox_maps", email) is None


def _quoted(email: str) -> str:
    """Return an address as SMTP wants it."""
    local_part, _, domain = email.rpartition("@")
    if set(local_part) <= set("abcdefghijklmnopqrstuvwxyz'%_$`"):
        return email
    return '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"@' + domain


@pytest.mark.parametrize(
    "recipient",
    [
        b"nobody%@example.com",
        b"\"' or ''='\"@example.com",
        b'"back\\\\"@example.com',
        b"nobody@example.com\\",
        b"nobody@exampl%.com",
        b"nobody@%",
        b"nobody@exampl_.com",
        b"nobody@'or''='",
        b"no\x00body@example.com",
        b"n\xffbody@example.com",
        b"n\xc3\xb6body@example.com",
        b"x" * 300 + b"@example.com",
        b"nobody@" + b"y" * 60 + b".example.com" * 20,
    ],
)
def test_hostile_recipients_are_refused(system: System, recipient: bytes) -> None:
    """Whatever stands in a recipient, it is refused for good: neither accepted nor put off by a query that fails."""
    with smtplib.SMTP(LOOPBACK, system.postfix.smtp_port, timeout=20) as client:
        client.ehlo("client.example.org")
        assert client.mail(SENDER)[0] == 250
        assert client.sock is not None
        client.sock.sendall(b"RCPT TO:<" + recipient + b">\r\n")
        code, text = client.getreply()
        assert 500 <= code <= 559, (code, text)
    # The service still answers.
    with smtplib.SMTP(LOOPBACK, system.postfix.smtp_port, timeout=20) as client:
        client.sendmail(SENDER, [BOSS], make_message(BOSS))


@pytest.mark.parametrize(
    "name",
    ["' OR '1'='1", "%u", "boss@example.com' --", "boss%@example.com", "bos_@example.com", "\\", "x" * 2000],
)
def test_hostile_log_ins_are_refused(system: System, name: str) -> None:
    """Whatever stands in a name, nobody is let in who does not exist, and the next one is served."""
    port = system.dovecot.imap_port
    client = imaplib.IMAP4(LOOPBACK, port, timeout=20)
    with pytest.raises(imaplib.IMAP4.error):
        client.authenticate("PLAIN", lambda _: b"\0" + name.encode() + b"\0" + PASSWORD.encode())
    client.shutdown()
    assert can_log_in(port, BOSS, PASSWORD)


def test_a_nul_in_a_name_is_refused(system: System) -> None:
    """A NUL ends no text early: the name with something behind it is not the name."""
    client = imaplib.IMAP4(LOOPBACK, system.dovecot.imap_port, timeout=20)
    with pytest.raises(imaplib.IMAP4.error):
        client.authenticate("PLAIN", lambda _: b"\0" + BOSS.encode() + b"\0x\0" + PASSWORD.encode())
    client.shutdown()


ALLOWED = {
    "mailusers_dovecot": {("users", "email"), ("users", "password"), ("users", "quota")},
    "mailusers_postfix": {
        ("users", "email"),
        *(
            (table, c)
            for table in ("aliases", "auto_aliases")
            for c in ("source", "destination", "permitted_senders")
        ),
    },
}


@pytest.mark.parametrize("role", ALLOWED)
def test_each_reads_what_it_needs_and_nothing_else(system: System, role: str) -> None:
    """Neither mail server can read sessions, events, the audit trail or what it has no use for, or change anything."""
    if system.site.engine == "sqlite":
        # There the rights are those of files: our other tables are in one that nobody else may read.
        folder = system.site.storage / "mailusers"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (system.site.storage / "mail" / "users.sqlite").stat().st_mode & 0o777 == 0o640
        return
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
    query += "'public'" if system.site.engine == "postgresql" else "'mail'"
    columns = {(str(table), str(column)) for table, column in system.site.sql(query)}
    assert ("mailusers_session", "key_hash") in columns
    url = system.site.url_of(role)
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        readable = {c for c in columns if _works(connection, f"SELECT {c[1]} FROM {c[0]} LIMIT 1")}  # noqa: S608
        assert readable - {("users", "mailusers_domain")} == ALLOWED[role]
        for table in {table for table, _ in columns}:
            assert not _works(connection, f"DELETE FROM {table} WHERE 1 = 0")  # noqa: S608
            assert not _works(connection, f"CREATE INDEX nothing ON {table} (email)")
        for statement in (
            "UPDATE users SET password = 'x' WHERE 1 = 0",
            "INSERT INTO users (email, password) VALUES ('x', 'x')",
            "CREATE TABLE nothing (x INTEGER)",
        ):
            assert not _works(connection, statement)


def _works(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as error:
        text = str(error.orig)
        assert "denied" in text or "must be owner" in text, text
        return False
    return True


def test_no_password_is_shown(system: System) -> None:
    """What is printed holds no password; the files with one can be read by those only who need it."""
    for name in ("dovecot-config", "postfix-config"):
        printed = mailusers(system.site.storage, name, **system.site.environment)
        assert not any(password in printed for password in PASSWORDS.values())
        assert ("PASSWORD-OF-" in printed) is (system.site.engine != "sqlite")
    for folder in (system.dovecot.folder, system.postfix.config_dir):
        for file in folder.rglob("*"):
            if file.is_file() and any(
                word in file.read_text(errors="replace") for word in PASSWORDS.values()
            ):
                assert file.stat().st_mode & 0o777 in (0o600, 0o640), file
                assert file.suffix != ".sql", file

"""``mailusers doctor`` on real boxes: it finds what is wrong with Postfix, and mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers.box import Box, MailSystem, adopted_box, mail_system
from tests.servers.clients import smtp_send, wait_until

ADDRESS = "me@example.com"


def mailusers(system: MailSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on the box of a mail system."""
    environment = {
        **os.environ,
        "MAILUSERS_STORAGE_ROOT": str(system.box.storage),
        "MAILUSERS_POSTFIX_CONFIG": str(system.postfix.config_dir),
        "MAILUSERS_DOVEADM": " ".join(system.dovecot.doveadm),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "mailusers_plugin", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def findings(system: MailSystem) -> dict[str, list[dict[str, Any]]]:
    """Return what the doctor says, by what it is about."""
    result: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(mailusers(system, "doctor", "--json").stdout):
        result.setdefault(finding["what"], []).append(finding)
    return result


def levels(system: MailSystem, what: str) -> list[str]:
    """Return how bad it is about something."""
    return [finding["level"] for finding in findings(system)[what]]


def journal_mode(box: Box) -> object:
    """Return the journal mode of the accounts."""
    return box.execute("PRAGMA journal_mode")[0][0]


def test_doctor_mends_an_adopted_box() -> None:
    """A box as Mail-in-a-Box leaves it is warned of; --fix and --fix --wal make it safe, while mail comes in."""
    with adopted_box() as box:
        box.add_user(ADDRESS, "secret", privileges="admin")
        with mail_system(box.storage, chroot=True) as system:
            smtp_send(system.postfix.smtp_port, ADDRESS)
            assert levels(system, "postfix") == ["warning"]
            assert "doctor --fix" in findings(system)["postfix"][0]["advice"]
            assert [finding["level"] for finding in findings(system)["dovecot"]] == ["ok", "ok"]
            # Looking changes nothing.
            assert journal_mode(box) == "delete"

            fixed = mailusers(system, "doctor", "--fix")
            assert fixed.returncode == 0, fixed.stdout + fixed.stderr
            assert levels(system, "postfix") == ["ok"]
            assert journal_mode(box) == "delete"
            smtp_send(system.postfix.smtp_port, ADDRESS)

            fixed = mailusers(system, "doctor", "--fix", "--wal")
            assert fixed.returncode == 0, fixed.stdout + fixed.stderr
            assert levels(system, "postfix") == ["ok"]
            assert journal_mode(box) == "wal"
            # Everybody lets go of the accounts, and Postfix has to open them anew.
            system.postfix.stop()
            system.dovecot.stop()
            system.dovecot.start()
            system.postfix.start()
            smtp_send(system.postfix.smtp_port, ADDRESS)
            new = box.maildir(ADDRESS) / "new"
            wait_until(lambda: len(list(new.iterdir())) == 3, message="three messages")
            # A second time there is nothing to do.
            assert "behind proxymap" not in mailusers(system, "doctor", "--fix").stdout


def test_doctor_finds_a_write_ahead_log_that_stops_mail() -> None:
    """A log that a confined Postfix cannot open is an error, for no mail comes in; --fix --wal mends it."""
    with adopted_box() as box:
        box.add_user(ADDRESS, "secret", privileges="admin")
        box.execute("PRAGMA journal_mode = WAL")
        with mail_system(box.storage, chroot=True, postfix_config="service_throttle_time = 1s") as system:
            found = mailusers(system, "doctor")
            assert found.returncode == 1
            assert "Mail does not come in" in found.stdout
            assert levels(system, "postfix") == ["error", "error"]
            assert mailusers(system, "doctor", "--fix", "--wal").returncode == 0
            assert levels(system, "postfix") == ["ok"]
            smtp_send(system.postfix.smtp_port, ADDRESS, timeout_seconds=20)


def test_doctor_finds_a_dovecot_of_another_box() -> None:
    """A Dovecot that does not know this box's users, or keeps their mail elsewhere, is a warning."""
    with adopted_box() as box, adopted_box() as other:
        box.add_user(ADDRESS, "secret", privileges="admin")
        with mail_system(other.storage) as system:
            mixed = MailSystem(box, system.dovecot, system.postfix)
            assert levels(mixed, "dovecot") == ["ok", "warning"]
            assert levels(mixed, "postfix") == ["ok"]
            other.add_user(ADDRESS, "secret")
            (_, finding) = findings(mixed)["dovecot"]
            assert str(other.maildir(ADDRESS)) in finding["says"]

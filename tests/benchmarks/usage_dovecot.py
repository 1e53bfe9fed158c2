"""Measures what Dovecot does for the sizes: ``python -m tests.benchmarks.usage_dovecot``; a minute, as root.

Beside deliveries with the plugin quota_clone stand deliveries without it, and beside a pass over doveadm's HTTP API a
bare loop that sends the same requests and does nothing with the answers.
"""

from __future__ import annotations

import base64
import http.client
import json
import smtplib
import statistics
import time
from dataclasses import replace

from mailusers_plugin.mailserver.doveadm_http import PATH, DoveadmHTTP, DoveadmSizes
from mailusers_plugin.mailserver.usage import Pace
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.benchmarks.__main__ import milliseconds, row
from tests.e2e.test_usage_sources import dovecot_for
from tests.servers.box import adopted_box, dovecot_hash
from tests.servers.clients import SENDER, make_message
from tests.servers.ports import LOOPBACK, free_port
from tests.support import QUICK

USERS = 400
MESSAGES = 200
ROUNDS = 3
KEY = "secret"


def deliver(port: int, emails: list[str]) -> list[float]:
    """Send a message to each by LMTP in one session; return how long each took."""
    found = []
    with smtplib.LMTP(LOOPBACK, port, local_hostname="client.example.org", timeout=20) as client:
        for email in emails:
            message = make_message(email, body="x" * 2000)
            start = time.perf_counter()
            client.sendmail(SENDER, [email], message)
            found.append(time.perf_counter() - start)
    return found


def bare(port: int, emails: list[str]) -> None:
    """Ask for the sizes, a hundred at a time."""
    headers = {"Authorization": "X-Dovecot-API " + base64.b64encode(KEY.encode()).decode()}
    for start in range(0, len(emails), 100):
        body = json.dumps([["quotaGet", {"user": email}, "x"] for email in emails[start : start + 100]])
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
        connection.request("POST", PATH, body, headers)
        connection.getresponse().read()
        connection.close()


def main() -> None:
    """Print the table."""
    row("what", "figure")
    row("---", "---")
    with adopted_box() as box:
        emails = [f"user{number:04}@example.com" for number in range(USERS)]
        stored = dovecot_hash(KEY)
        for email in emails:
            box.execute("INSERT INTO users (email, password, quota) VALUES (?, ?, '1G')", email, stored)
        plain = Settings(storage_root=box.storage)
        clone = replace(plain, usage_source="quota_clone")
        port = free_port()
        http_settings = replace(
            plain, usage_source="doveadm_http", doveadm_http_url=f"http://{LOOPBACK}:{port}"
        )
        Runtime(Settings(storage_root=box.storage, **{**QUICK, "usage_source": "quota_clone"})).close()
        durations: dict[str, list[float]] = {"without quota_clone": [], "with quota_clone": []}
        for _ in range(ROUNDS):
            for found, settings in zip(durations.values(), (plain, clone), strict=True):
                with dovecot_for(settings) as dovecot:
                    deliver(dovecot.lmtp_port, emails[:20])
                    found += deliver(dovecot.lmtp_port, emails[:MESSAGES])
        for label, found in durations.items():
            row(f"a message by LMTP {label}, median of {len(found)}", milliseconds(statistics.median(found)))
        with dovecot_for(http_settings, more=f"doveadm_api_key = {KEY}\n"):
            source = DoveadmSizes(
                DoveadmHTTP(http_settings.doveadm_http_url, KEY, timeout_seconds=60),
                lambda after, limit: [email for email in emails if email > after][:limit],
            )
            bare(port, emails)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(ROUNDS):
                start = time.perf_counter()
                bare(port, emails)
                times[0].append(time.perf_counter() - start)
                start = time.perf_counter()
                batches = list(source.read("", None, Pace()))  # type: ignore[arg-type]  # it asks nobody
                times[1].append(time.perf_counter() - start)
                assert [len(batch.found) for batch in batches] == [100] * (USERS // 100)
            for label, took in zip(("bare requests", "our pass"), times, strict=True):
                row(
                    f"doveadm over HTTP, {label}, each user, best of {ROUNDS}",
                    milliseconds(min(took) / USERS),
                )


if __name__ == "__main__":
    main()

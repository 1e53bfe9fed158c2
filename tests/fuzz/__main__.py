"""Sends made-up requests to a panel until there were as many as asked for.

schemathesis makes them up from the description of the API: what it allows, what it forbids, and the edges of both.
Callers take turns: the system API key, which acts for nobody, and an administrator, by session key and in a browser,
whose own account is among those that are changed. Every answer must be described, and none may be a failure of the
server.

The stream of changes never ends, so that of it only HEAD is asked, which reads the same parameters.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from http.cookies import SimpleCookie
from pathlib import Path

import click

from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from tests.servers.panel import ROOT, PanelProcess
from tests.support import BOSS, PASSWORD, UNTHROTTLED, XSRF, make_mailbox

EMAILS = (
    BOSS,
    "anna@example.com",
    "ben@example.com",
    "gone@example.com",
    "kontakt@xn--bcher-kva.example.org",
    "new@example.org",
    "postmaster@example.org",
    "UPPER@example.com",
)
"""So that many requests are about somebody who is there, or was."""
SETTINGS = {
    **{f"MAILUSERS_{name.upper()}": "0" for name in UNTHROTTLED},
    "MAILUSERS_DOVEADM": "",
    "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
    "MAILUSERS_COMMIT_PAUSE_SECONDS": "0",
    "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
    "MAILUSERS_LOG_LEVEL": "warning",
}
QUOTAS = (
    *("0", "5G", "9223372036854775807", "9223372036854775808", "8589934592G"),
    *("-1", "1e9", "٣", "99999999999999999999"),
)
CHECKS_LEFT_OUT = ("positive_data_acceptance", "use_after_free", "ensure_resource_availability")
"""Whether somebody is there is the box's state: what the description allows may be refused."""
EXAMPLES_PER_ROUND = 40
_CALLERS = 3
_BROWSER = 2


def configuration(seed: int, number: int) -> str:
    """Return what schemathesis is told in a file for a round."""
    values, quotas = (", ".join(f'"{value}"' for value in known) for known in (EMAILS, QUOTAS))
    unasked = [*CHECKS_LEFT_OUT]
    if number % _CALLERS == _BROWSER:
        # It takes a made-up X-Auth-Token for all that says who calls, for it does not see the cookie in the header.
        unasked.append("ignored_auth")
    left_out = "\n".join(f"{name}.enabled = false" for name in unasked)
    known = '{ dictionary = "emails", probability = 0.6 }'
    return f"""
seed = {seed}
hooks = "tests.fuzz.as_described"
request-timeout = 30
continue-on-failure = true

[checks]
{left_out}

[dictionaries.emails]
values = [{values}]

[dictionaries.quotas]
values = [{quotas}]

[parameters]
"body.email" = {known}
"body.confirm" = {known}
"query.email" = {known}
"body.quota" = {{ dictionary = "quotas", probability = 0.3 }}

# What is asked is lenient: unknown parameters and filters are passed over.
[[operations]]
include-method = ["GET", "HEAD"]
checks.negative_data_rejection.enabled = false

[output.sanitization]
enabled = false
"""


def fill(panel: PanelProcess) -> None:
    """Make some users of all kinds, and an administrator who can log in; again, for requests may have changed them."""
    for email, quota in (
        (BOSS, "0"),
        ("anna@example.com", "5G"),
        ("ben@example.com", "500M"),
        ("gone@example.com", "0"),
        ("kontakt@xn--bcher-kva.example.org", "1"),
    ):
        panel.api("/add", email=email, password=PASSWORD, quota=quota)
    panel.api("/password", email=BOSS, password=PASSWORD)
    panel.api("/privileges/add", email=BOSS, privilege="admin")
    panel.api("/remove", email="gone@example.com")


def credentials(panel: PanelProcess, number: int) -> list[str]:
    """Return how schemathesis is told who sends the requests of a round."""
    if number % _CALLERS == 0:
        key = (panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
        return ["--auth", f"{key}:"]
    if number % _CALLERS == 1:
        key = panel.request("POST", f"{panel.prefix}/login", {}, user=BOSS, password=PASSWORD).json()[
            "api_key"
        ]
        return ["--auth", f"{BOSS}:{key}"]
    token = {"Cookie": f"_xsrf={XSRF}", "X-XSRFToken": XSRF}
    form = {"email": BOSS, "password": PASSWORD}
    logged_in = panel.request("POST", f"{panel.prefix}/mailusers/login", form, headers=token, redirects=False)
    cookies = SimpleCookie(logged_in.headers["Set-Cookie"])
    cookie = f"{COOKIE_NAME}={cookies[COOKIE_NAME].value}; _xsrf={XSRF}"
    return ["--header", f"Cookie:{cookie}", "--header", f"X-XSRFToken:{XSRF}"]


def run_round(
    panel: PanelProcess, folder: Path, number: int, seed: int, examples: int
) -> tuple[int, Counter[str]]:
    """Send the requests of one round.

    :returns: schemathesis' exit code, and how often which status was answered
    """
    document = folder / "openapi.json"
    document.write_text(panel.api("/openapi.json").text, encoding="utf-8")
    settings = folder / "schemathesis.toml"
    settings.write_text(configuration(seed, number), encoding="utf-8")
    counts = folder / "counts.json"
    # Examples and edges are the same each time.
    phases = "examples,coverage,fuzzing" if number < _CALLERS else "fuzzing"
    # Who acts for somebody must not end the own session: all that comes behind would be refused.
    left_out = ("streamChanges", "setPassword", "logOut") if number % _CALLERS else ("streamChanges",)
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(settings), "--no-color", "run", str(document)),
        *("--url", f"{panel.url}{panel.prefix}", *credentials(panel, number)),
        *(part for name in left_out for part in ("--exclude-operation-id", name)),
        *("--phases", phases, "--max-examples", str(examples), "--no-shrink", "--warnings", "off"),
        *("--generation-database", "none", "--suppress-health-check", "all"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MAILUSERS_FUZZ_PREFIX": panel.prefix,
        "MAILUSERS_FUZZ_COUNTS": str(counts),
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        click.echo(done.stdout + done.stderr)
    return done.returncode, Counter(json.loads(counts.read_text(encoding="utf-8")))


@click.command(help=__doc__)
@click.option(
    "--requests", default=10_000, show_default=True, type=click.IntRange(1), help="At least so many."
)
@click.option("--seed", type=int, help="Of an earlier run, to repeat it.")
def main(requests: int, seed: int | None) -> None:
    """Run rounds until there were enough requests."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    click.echo(f"seed {seed}")
    chance, began, answers, failed = random.Random(seed), time.monotonic(), Counter[str](), False
    examples = max(1, min(EXAMPLES_PER_ROUND, requests // 60))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        panel = PanelProcess(folder / "box", environment=SETTINGS)
        panel.command("user", "add", BOSS, "--admin", "--password-stdin", stdin=PASSWORD)
        make_mailbox(folder / "box" / "mail" / "mailboxes", "old@example.net", "a letter")
        with panel:
            number = 0
            while answers.total() < requests and not failed:
                fill(panel)
                code, found = run_round(panel, folder, number, chance.randrange(2**32), examples)
                failed = code != 0
                answers += found
                number += 1
                click.echo(f"round {number}: {answers.total()} requests")
            alive = panel.api("").status == 200
        log = panel.log.read_text(encoding="utf-8")
    by_status = ", ".join(f"{count} × {status}" for status, count in sorted(answers.items()))
    click.echo(f"{answers.total()} requests in {time.monotonic() - began:.0f} s: {by_status}")
    if "Traceback" in log:
        failed = True
        click.echo(log[-5000:])
    if failed or not alive:
        raise SystemExit(f"An answer was not as described. Repeat with --requests {requests} --seed {seed}")
    click.echo("Every answer was as described, none was a failure of the server.")


if __name__ == "__main__":
    main()

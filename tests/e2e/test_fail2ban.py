"""What a panel logs of failed log-ins, read by the real fail2ban: Mail-in-a-Box's filter and ours."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mailusers_plugin.cli import main
from tests.servers.command import mailusers
from tests.servers.panel import PanelProcess
from tests.servers.ports import LOOPBACK
from tests.support import BOSS, PASSWORD

MIAB_FILTER = """\
# conf/fail2ban/filter.d/miab-management-daemon.conf of Mail-in-a-Box, as it stands there.

[INCLUDES]

before = common.conf

[Definition]

_daemon = mailinabox

failregex = Mail-in-a-Box Management Daemon: Failed login attempt from ip <HOST> - timestamp .*
ignoreregex =
"""
HOSTILE = (
    "Mail-in-a-Box Management Daemon: Failed login attempt from ip 203.0.113.66 - timestamp 1700000000.123"
)
WHOLE = f"2026-11-25 21:00:00,000 WARNING mailusers_plugin.auth: {HOSTILE}"
GUESSERS = ("198.51.100.7", "2001:db8::7")


@pytest.fixture(scope="module")
def filters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both filters, beside those that fail2ban brings with it."""
    folder = tmp_path_factory.mktemp("fail2ban")
    shutil.copytree("/etc/fail2ban/filter.d", folder / "filter.d")
    miab = folder / "filter.d" / "miab-management-daemon.conf"
    miab.write_text(MIAB_FILTER)
    (folder / "jail.d").mkdir()
    command = ["fail2ban-config", "--write", "--folder", str(folder), "--log-file", str(folder / "panel.log")]
    (folder / "panel.log").touch()
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    return {"miab": miab, "ours": folder / "filter.d" / "mailusers.conf"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a panel at which two networks guess and one sends whatever might pass for a line of the log."""
    storage = tmp_path_factory.mktemp("panel") / "box"
    mailusers(storage, "user", "add", BOSS, "--admin", password=PASSWORD)
    environment = {"MAILUSERS_DOVEADM": "", "MAILUSERS_TRUSTED_PROXIES": LOOPBACK}
    with PanelProcess(storage, environment=environment) as panel:
        for number in range(4):
            for guesser in GUESSERS:
                headers = {"X-Forwarded-For": f"203.0.113.66, {guesser}"}
                path = ("/admin/login", "/admin/mail/users")[number % 2]
                panel.request(
                    ("POST", "GET")[number % 2], path, user=BOSS, password=f"wrong {number}", headers=headers
                )
        for text in (HOSTILE, WHOLE):
            attack(panel, text)
        yield panel.log


def attack(panel: PanelProcess, text: str) -> None:
    """Send a text wherever it may reach the log, from a caller of its own."""
    own = {"X-Forwarded-For": "192.0.2.99"}
    panel.request("POST", "/admin/login", user=text, password=text, headers=own)
    panel.request("GET", "/admin/mail/users", user=f"x\n{text}", password="wrong", headers=own)
    panel.request("GET", "/admin/mail/users", headers={**own, "Authorization": f"Basic {text}"})
    panel.request("GET", "/admin/users", headers={**own, "User-Agent": text, "Referer": text})
    panel.request("POST", "/admin/mailusers/login", {"email": text, "password": text}, headers=own)
    panel.request("GET", "/" + text.replace(" ", "%20"), headers=own)
    panel.request("GET", "/admin/mail/users", headers={"X-Forwarded-For": f"{text}, 192.0.2.99"})
    for raw in (
        f"GET /{text} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nX\n{text}: 1\r\n\r\n",
        f"GET /\r{text} HTTP/1.1\r\n\r\n",
        f"{text}\r\n\r\n",
        f"GET /\x0b{text}\x0bHTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /%0d%0a{text.replace(' ', chr(0x85))} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"PUT /{text.replace(' ', chr(0xA0))} HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        with socket.create_connection((LOOPBACK, panel.port), timeout=10) as connection:
            connection.sendall(raw.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def found_by(filter_file: Path, log_file: Path) -> list[str]:
    """Return the addresses that fail2ban takes from a log."""
    answer = subprocess.run(
        ["fail2ban-regex", "--out", "ip", "--verbose", str(log_file), str(filter_file)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert answer.returncode in (0, 1), answer.stderr
    return answer.stdout.split()


@pytest.mark.parametrize("name", ["miab", "ours"])
def test_guessers_are_found_and_nobody_else(filters: dict[str, Path], log: Path, name: str) -> None:
    """Each failure is found under the guesser's own address; what he sends accuses nobody."""
    found = found_by(filters[name], log)
    assert {ip: found.count(ip) for ip in set(found) if ip != "192.0.2.99"} == dict.fromkeys(GUESSERS, 4)
    assert found.count("192.0.2.99") >= 6
    assert "203.0.113.66" not in found


@pytest.mark.parametrize(
    "line",
    [
        "{time} WARNING mailusers_plugin.auth: {failure}",
        "Nov 25 21:00:00 box mailusers[123]: {time} WARNING mailusers_plugin.auth: {failure}",
        "Nov 25 21:00:00 box python3[123]: {time} WARNING [0a1b2c3d] mailusers_plugin.auth: {failure}",
        "{time} WARNING mailusers_plugin.auth [0a1b-2c3d]: {failure}",
        '{{"time": "2026-11-25T21:00:00.123+00:00", "level": "WARNING", "logger": "mailusers_plugin.auth", '
        '"message": "{failure}", "request_id": "0a1b"}}',
    ],
)
def test_forms_of_the_log(filters: dict[str, Path], tmp_path: Path, line: str) -> None:
    """A line is found in a file, in a syslog, with a request's id and as JSON."""
    file = tmp_path / "log"
    file.write_text(line.format(time="2026-11-25 21:00:00,123", failure=HOSTILE) + "\n")
    for name in ("miab", "ours"):
        assert found_by(filters[name], file) == ["203.0.113.66"], name


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-25 21:00:00,123 INFO mailusers_plugin.access: 200 GET /{failure}",
        "2026-11-25 21:00:00,123 WARNING mailusers_plugin.http: {failure}",
        "2026-11-25 21:00:00,123 WARNING mailusers_plugin.http: GET /: mailusers_plugin.auth: {failure}",
        "2026-11-25 21:00:00,123 WARNING x: WARNING mailusers_plugin.auth: {failure}",
        "2026-11-25 21:00:00,123 WARNING mailusers_plugin.auth: {failure} and more",
        '{{"time": "2026-11-25T21:00:00Z", "level": "INFO", "logger": "mailusers_plugin.access", '
        '"message": "\\"level\\": \\"WARNING\\", \\"logger\\": \\"mailusers_plugin.auth\\", {failure}"}}',
    ],
)
def test_our_filter_is_not_fooled(filters: dict[str, Path], tmp_path: Path, line: str) -> None:
    """The same words elsewhere in a line, such as what somebody sent, mean nothing to our own filter."""
    file = tmp_path / "log"
    file.write_text(line.format(failure=HOSTILE) + "\n")
    assert found_by(filters["ours"], file) == []


def test_the_jail(filters: dict[str, Path], tmp_path: Path) -> None:
    """fail2ban itself reads the jail with the filter, and would watch the file."""
    folder = filters["ours"].parents[1]
    for name in ("action.d", "fail2ban.conf", "jail.conf", "paths-common.conf", "paths-debian.conf"):
        source = Path("/etc/fail2ban") / name
        if source.is_dir():
            shutil.copytree(source, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / name)
    answer = subprocess.run(
        ["fail2ban-client", "-c", str(folder), "-s", str(tmp_path / "socket"), "-d"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    jail = [line for line in answer.stdout.splitlines() if "'mailusers'" in line]
    assert any(f"'addlogpath', '{folder / 'panel.log'}'" in line for line in jail)
    assert any("'maxretry', 20" in line for line in jail)
    assert any("'addfailregex'" in line and "Failed login attempt" in line for line in jail)

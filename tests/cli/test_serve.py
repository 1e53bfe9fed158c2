"""``mailusers serve``: starting, the first administrator, the demonstration, ending."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailusers_plugin import panel as panel_module
from mailusers_plugin.settings import Settings
from tests.cli.support import Shell
from tests.servers.clients import wait_until
from tests.servers.panel import PanelProcess
from tests.servers.ports import LOOPBACK

NO_DOVECOT = {"MAILUSERS_DOVEADM": "", "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT"}
PASSWORD = "correct horse battery"
HTML = {"Accept": "text/html"}


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A panel on a new box."""
    with PanelProcess(tmp_path / "box", environment=NO_DOVECOT) as process:
        yield process


def set_up(panel: PanelProcess, email: str = "boss@example.com", token: str | None = None) -> int:
    """Send the form behind the set-up link; return the status."""
    link = panel.set_up_link()
    form = panel.request("GET", link)
    found = re.search(r'name="_xsrf" value="([^"]+)"', form.text)
    assert found is not None
    fields = {
        "email": email,
        "password": PASSWORD,
        "_xsrf": found[1],
        "token": token or link.rpartition("=")[2],
    }
    cookie = {"Cookie": form.headers["Set-Cookie"].partition(";")[0]}
    return panel.request("POST", "/admin/mailusers/setup", fields, headers=cookie, redirects=False).status


def test_nothing_answers_before_the_set_up(panel: PanelProcess) -> None:
    """Until there is an administrator every route but the set-up's says so, even to the system API key."""
    for reply in (panel.request("GET", "/admin/users", headers=HTML), panel.api("", 0)):
        assert reply.status == 503
        assert "no administrator yet" in reply.text
    assert panel.request("POST", "/admin/login", {}).status == 503
    assert panel.request("GET", "/admin/mailusers/setup?token=wrong", headers=HTML).status in (401, 403)


def test_the_link_works_once(panel: PanelProcess) -> None:
    """Whoever has the link makes the first administrator; then it is of no use any more."""
    link = panel.set_up_link()
    assert set_up(panel) == 303
    assert panel.api("", 0).text == "boss@example.com\n"
    assert panel.request("GET", link, headers=HTML).status in (401, 403)
    panel.stop()
    panel.start()
    assert "Users page: " in panel.log.read_text().rpartition("Stopping")[2]


def test_a_wrong_token_adds_nobody(panel: PanelProcess) -> None:
    """A form with another token is refused."""
    assert set_up(panel, token="another") in (401, 403)
    assert set_up(panel) == 303


def test_an_administrator_added_on_the_console_opens_the_panel(panel: PanelProcess) -> None:
    """The console does what the link does, while the server runs."""
    result = panel.command("user", "add", "boss@example.com", "--admin", "--password-stdin", stdin=PASSWORD)
    assert result.stdout == "mail user added\n"
    assert panel.api("", 0).text == "boss@example.com\n"


def test_tokens_and_passwords_are_not_logged(panel: PanelProcess) -> None:
    """The log has neither the link's token nor a password; the console has the link, once."""
    token = panel.set_up_link().rpartition("=")[2]
    assert set_up(panel) == 303
    panel.request("GET", f"/admin/users?password={PASSWORD.replace(' ', '%20')}", headers=HTML)
    log = panel.log.read_text()
    assert log.count(token) == 1
    assert "correct" not in log


def test_a_log_of_json(tmp_path: Path) -> None:
    """With ``log_format = json`` whatever is logged is an object a line, with the id that the answer has."""
    environment = {**NO_DOVECOT, "MAILUSERS_LOG_FORMAT": "json", "MAILUSERS_TRUSTED_PROXIES": "127.0.0.1"}
    with PanelProcess(tmp_path / "box", environment=environment) as panel:
        added = panel.command(
            "user", "add", "boss@example.com", "--admin", "--password-stdin", stdin=PASSWORD
        )
        assert added.returncode == 0, added.stderr
        reply = panel.request(
            "GET",
            "/admin/mail/users?password=secret-one",
            user="boss@example.com",
            password=PASSWORD,
            headers={"X-Request-Id": "from-the-proxy"},
        )
        assert reply.headers["X-Request-Id"] == "from-the-proxy"
        assert (
            panel.request("POST", "/admin/login", {}, user="boss@example.com", password="secret-two").status
            == 200
        )
    log = panel.log.read_text()
    # What the console is told is no log.
    said = ("Box: ", "There is no administrator", "  http", "Users page: ", "Stopping: ")
    lines = [json.loads(line) for line in log.splitlines() if not line.startswith(said)]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    (line,) = [line for line in lines if line.get("request_id") == "from-the-proxy"]
    assert (line["path"], line["status"], line["user"], line["via"]) == (
        "/admin/mail/users",
        200,
        "boss@example.com",
        "basic",
    )
    (failed,) = [line for line in lines if "Failed login" in line["message"]]
    (answered,) = [line for line in lines if line.get("path") == "/admin/login"]
    assert failed["request_id"] == answered["request_id"]
    assert "secret-" not in log


def test_the_other_one_of_two_says_that_the_port_is_taken(panel: PanelProcess, tmp_path: Path) -> None:
    """A second panel on the same port ends with what to do."""
    other = PanelProcess(tmp_path / "other" / "box", environment=NO_DOVECOT)
    other.storage.parent.mkdir()
    other.port = panel.port
    result = other.command(
        "serve", "--listen", f"{LOOPBACK}:{panel.port}", "--storage-root", str(other.storage)
    )
    assert result.returncode == 1
    assert "Choose another with --listen." in result.stderr


@pytest.mark.parametrize(
    "listen", ["localhost", ":8080", f"{LOOPBACK}:", f"{LOOPBACK}:99999", f"{LOOPBACK}:http"]
)
def test_an_impossible_address_is_named(shell: Shell, listen: str) -> None:
    """What is not a host and a port is refused before anything listens, and named."""
    result = shell.run("serve", "--listen", listen)
    assert result.exit_code == 1
    assert repr(listen) in result.stderr


def test_systemd_is_told(tmp_path: Path) -> None:
    """A service manager that waits is told that the panel is ready, and that it is stopping."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        panel = PanelProcess(tmp_path / "box", environment={**NO_DOVECOT, "NOTIFY_SOCKET": str(path)})
        with panel:
            assert manager.recv(100) == b"READY=1"
            assert panel.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_the_demonstration(tmp_path: Path) -> None:
    """The demonstration has users of all kinds, prints a log-in that works, and leaves nothing behind."""
    program = ("mailusers_plugin", "serve", "--demo", "--listen", f"{LOOPBACK}:{{port}}")
    panel = PanelProcess(tmp_path / "box", environment=NO_DOVECOT, program=program)
    with panel:
        wait_until(lambda: "Users page" in panel.log.read_text(), message="the demonstration")
        found = re.search(r"Log in as (\S+) with the password (\S+)", panel.log.read_text())
        folder = re.search(r"^Box: (\S+)", panel.log.read_text(), re.MULTILINE)
        assert found is not None
        assert folder is not None
        reply = panel.request(
            "GET", "/admin/mail/users?format=json", user=found[1], password=found[2], headers=HTML
        )
        users = [user for domain in reply.json() for user in domain["users"]]
        assert {user["status"] for user in users} == {"active", "inactive"}
        assert {"?", ""} < {user["percent"] for user in users}
        assert any(user["privileges"] == ["admin"] for user in users)
        assert Path(folder[1]).is_dir()
        assert panel.stop() == 0
    assert not Path(folder[1]).exists()


def test_the_event_loop_comes_to_its_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A thread that computes in Python lets the event loop go on after a millisecond."""
    found: list[float] = []

    async def serve(*_: object) -> None:
        found.append(sys.getswitchinterval())

    before = sys.getswitchinterval()
    monkeypatch.setattr(panel_module, "serve", serve)
    try:
        panel_module.run(Settings(storage_root=tmp_path), print)
    finally:
        sys.setswitchinterval(before)
    assert found == [pytest.approx(0.001)]

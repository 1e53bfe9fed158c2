"""Clients that were not written for us: what Mail-in-a-Box's own command line does, and plain curl."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.panel import PanelProcess

EMAIL = "new@example.com"
PASSWORD = "correct horse battery"
ENVIRONMENT = {"MAILUSERS_DOVEADM": "", "MAILUSERS_PREFIX": "", "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT"}


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A panel with an administrator and, as Mail-in-a-Box's daemon, without a prefix."""
    process = PanelProcess(tmp_path / "box", environment=ENVIRONMENT, prefix="")
    result = process.command("user", "add", "boss@example.com", "--admin", "--password-stdin", stdin=PASSWORD)
    assert result.returncode == 0, result.stderr
    with process:
        yield process


class Challenged(urllib.request.HTTPBasicAuthHandler):
    """Python's own client, which answers a challenge and leaves the refused response open; here it is closed."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Answer the challenge."""
        try:
            return super().http_error_401(req, fp, code, msg, headers)
        finally:
            fp.close()


def api_key(panel: PanelProcess) -> str:
    """Return the system API key."""
    return (panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()


def test_mail_in_a_box_command_line(panel: PanelProcess) -> None:
    """Its client sends credentials only when challenged with its own realm, and compares answers exactly."""
    handler = Challenged()
    handler.add_password("Mail-in-a-Box Management Server", panel.url, api_key(panel), "")
    opener = urllib.request.build_opener(handler)

    def call(path: str, **form: str) -> str:
        body = urllib.parse.urlencode(form).encode() if form else None
        with opener.open(urllib.request.Request(panel.url + path, body), timeout=60) as response:  # noqa: S310
            text: str = response.read().decode()
            return text

    assert call("/mail/users/add", email=EMAIL, password=PASSWORD) == "mail user added\n"
    assert call("/mail/users/privileges/add", email=EMAIL, privilege="admin") == "OK"
    assert call("/mail/users/privileges/remove", email=EMAIL, privilege="admin") == "OK"
    assert call("/mail/users/quota", email=EMAIL, quota="5G") == "OK"
    assert call(f"/mail/users/quota?text=1&email={EMAIL}") == "5G"
    (domain,) = json.loads(call("/mail/users?format=json"))
    assert [user["email"] for user in domain["users"] if user["status"] == "active"] == [
        "boss@example.com",
        EMAIL,
    ]
    assert call("/mail/users/password", email=EMAIL, password=PASSWORD[::-1]) == "OK"
    assert call("/mail/users/remove", email=EMAIL) == "mail user removed\n"
    with pytest.raises(urllib.error.HTTPError) as refused:
        call("/mail/users/remove", email=EMAIL)
    with refused.value as answer:
        assert (answer.code, answer.read()) == (400, f"That's not a user ({EMAIL}).".encode())


def test_curl_with_a_body_on_get_and_unencoded_characters(panel: PanelProcess) -> None:
    """Curl's ways of sending parameters work: a GET with -d, --json, -F, and addresses as they are typed."""

    def curl(*arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--user", f"{api_key(panel)}:", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    add = f"{panel.url}/mail/users/add"
    assert curl(add, "--json", json.dumps({"email": EMAIL, "password": PASSWORD})) == "mail user added\n"
    assert curl(add, "-F", f"email=a{EMAIL}", "-F", f"password={PASSWORD}") == "mail user added\n"
    url = f"{panel.url}/mail/users/privileges"
    assert curl("-X", "GET", "-d", "email=boss@example.com", url) == "admin"
    plus = curl("-X", "GET", "-d", "email=some+one@example.com", f"{panel.url}/mail/users/quota")
    assert plus == "That's not a user (some+one@example.com)."

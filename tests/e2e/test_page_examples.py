"""The API section's examples, run by a shell exactly as they are printed."""

from __future__ import annotations

import asyncio
import html
import json
import re
import subprocess
from collections.abc import Mapping

from mailusers_plugin.models import ADMIN
from tests.support import BOSS, PASSWORD, Box, Boxes, Client

NEW = "new_user@example.com"
EXAMPLE = re.compile(r'<pre><code class="mu-example" data-name="([^"]+)"[^>]*>(.*?)</code></pre>', re.DOTALL)


async def examples(client: Client) -> dict[str, str]:
    """Return the commands of the page by their name, as a reader copies them."""
    page = await client.sending(Accept="text/html").get("/admin/users")
    return {name: html.unescape(command) for name, command in EXAMPLE.findall(page.text)}


async def shell(script: str, **variables: str) -> str:
    """Paste a command into a shell and return what it prints."""
    environment: Mapping[str, str] = {"PATH": "/usr/bin:/bin", **variables}
    command = ["bash", "-euc", script.replace("curl ", "curl --silent --show-error --fail-with-body ")]
    result = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, (script, result.stdout, result.stderr)
    return result.stdout


async def test_examples_do_what_they_say(box: Box, admin: Client) -> None:
    """One after the other they add a user, change everything about it, archive it and delete its mail."""
    commands = await examples(admin)
    said: dict[str, str] = {}
    for name in (
        *("list", "list-json", "add", "password", "quota-get", "quota-set", "privileges-add"),
        *("privileges-get", "privileges-remove", "archive", "purge"),
    ):
        said[name] = await shell(commands.pop(name), PASSWORD=PASSWORD, NEW_PASSWORD="$ecret & more")
    assert set(commands) == {"login", "session-key", "session-list", "logout"}
    assert said["list"] == f"{BOSS}\n"
    assert json.loads(said["list-json"])[0]["domain"] == "example.com"
    assert said["add"] == "mail user added\n"
    assert json.loads(said["quota-get"]) == {"email": NEW, "quota": "5G"}
    assert said["privileges-get"] == "admin"
    assert said["archive"] == "mail user removed\n"
    assert said["purge"] == "mail user purged\n"
    for name in ("password", "quota-set", "privileges-add", "privileges-remove"):
        assert said[name] == "OK"
    types = [event["type"] for event in await box.events()]
    assert types[1:] == [
        *("UserAdded", "PasswordChanged", "QuotaChanged", "PrivilegesChanged", "PrivilegesChanged"),
        *("UserArchived", "UserPurged"),
    ]


async def test_session_keys(box: Box, admin: Client) -> None:
    """The examples of the session key work together in one shell."""
    commands = await examples(admin)
    answer = json.loads(await shell(commands["login"], PASSWORD=PASSWORD))
    assert answer["status"] == "ok"
    together = "\n".join(commands[name] for name in ("session-key", "session-list", "logout"))
    said = await shell(together, PASSWORD=PASSWORD)
    assert said == f'{BOSS}\n{{"status":"ok"}}\n'


async def test_examples_for_an_awkward_reader(boxes: Boxes) -> None:
    """An address that a shell would read as a command of its own is still only an address."""
    box = await boxes.open()
    name = "o'neil$(touch${IFS}pwned)`x`!@example.com"
    await box.add(BOSS, (ADMIN,))
    box.sql("UPDATE users SET email = ?", name)
    commands = await examples(await box.browser(name))
    said = await shell(commands["list"], PASSWORD=PASSWORD)
    assert said == f"{name}\n"


async def test_examples_name_a_free_address(box: Box, admin: Client) -> None:
    """The example user is one that does not exist yet."""
    await box.add(NEW)
    assert "email=new_user2@example.com" in (await examples(admin))["add"]

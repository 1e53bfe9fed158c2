"""``mailusers session``, ``throttle`` and ``fail2ban-config``."""

from __future__ import annotations

import asyncio
import configparser
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mailusers_plugin.auth.authenticator import API, COOKIE
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.cli.support import PASSWORD, Shell
from tests.support import QUICK

BOSS, USER = "boss@example.com", "user@example.com"
HERE = "2001:db8::7"


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A box with two users."""
    shell.add(BOSS, "--admin")
    shell.add(USER)
    return shell


def beside(shell: Shell, work: Callable[[Runtime], Awaitable[object]]) -> None:
    """Do something in the box as a server does."""

    async def run() -> None:
        runtime = Runtime(Settings(storage_root=shell.storage, **QUICK))
        try:
            await work(runtime)
        finally:
            await runtime.stop()

    asyncio.run(run())


async def log_in(runtime: Runtime) -> None:
    """Begin sessions of both users."""
    authenticator = runtime.authenticator()
    for email, kind, agent in ((BOSS, API, "curl/8"), (BOSS, COOKIE, "x\x1b[2J"), (USER, API, "")):
        account = await authenticator.by_password(email, PASSWORD)
        await authenticator.open_session(account, kind, ip=HERE, agent=agent)


async def fail(runtime: Runtime) -> None:
    """Guess."""
    for number in range(3):
        with pytest.raises(LoginRefusedError):
            await runtime.authenticator().by_password(BOSS, f"wrong {number}", ip=HERE)


def test_sessions(filled: Shell) -> None:
    """They are listed, of one user or of everybody, and ended one by one or together."""
    beside(filled, log_in)
    found = filled.json("session", "list", BOSS)
    assert {(one["email"], one["kind"], one["address"]) for one in found} == {
        (BOSS, "api", HERE),
        (BOSS, "cookie", HERE),
    }
    listed = filled.run("session", "list").stdout
    assert len(listed.splitlines()) == 3
    assert "\x1b" not in listed
    assert filled.run("session", "end", USER, found[0]["id"]).exit_code == 1
    assert filled.run("session", "end", BOSS, found[0]["id"]).stdout == "1 sessions were ended.\n"
    assert [one["id"] for one in filled.json("session", "list", BOSS)] == [found[1]["id"]]
    assert filled.run("session", "end", BOSS, "--all").stdout == "1 sessions were ended.\n"
    assert [one["email"] for one in filled.json("session", "list")] == [USER]
    for arguments in ((BOSS,), (BOSS, "x", "--all")):
        result = filled.run("session", "end", *arguments)
        assert (result.exit_code, "Say which session is to end" in result.stderr) == (1, True)


def test_throttle(filled: Shell) -> None:
    """What failed is listed with how often, and forgotten by account, by network, or all of it."""
    beside(filled, fail)
    found = {one["kind"]: one for one in filled.json("throttle", "list")}
    assert {kind: one["failures"] for kind, one in found.items()} == {
        "network": 3,
        "wide": 3,
        "pair": 3,
        "account": 3,
    }
    assert (found["pair"]["email"], found["pair"]["network"]) == (BOSS, "2001:db8::/64")
    assert f"pair {BOSS} 2001:db8::/64: 3" in filled.run("throttle", "list").stdout
    assert filled.run("throttle", "clear", BOSS).stdout == "2 counters were cleared.\n"
    assert (
        filled.run("throttle", "clear", "--network", "2001:db8::/64").stdout == "1 counters were cleared.\n"
    )
    assert filled.run("throttle", "clear", "--all").stdout == "1 counters were cleared.\n"
    assert filled.json("throttle", "list") == []
    for arguments in ((), (BOSS, "--all")):
        result = filled.run("throttle", "clear", *arguments)
        assert (result.exit_code, "Say what is to be forgotten" in result.stderr) == (1, True)


def test_fail2ban_config(shell: Shell, tmp_path: Path) -> None:
    """The filter and the jail are printed or written, for a journal or a file, and nothing is overwritten."""
    printed = shell.run("fail2ban-config").stdout
    assert "# ---- /etc/fail2ban/filter.d/mailusers.conf (root:root 0644)" in printed
    assert "journalmatch = _SYSTEMD_UNIT=mailusers.service\n" in printed
    both = shell.run(
        "fail2ban-config", "--unit", "mailusers@1.service", "--unit", "mailusers@2.service"
    ).stdout
    assert "= _SYSTEMD_UNIT=mailusers@1.service + _SYSTEMD_UNIT=mailusers@2.service\n" in both
    for folder in ("filter.d", "jail.d"):
        (tmp_path / folder).mkdir()
    write = ("fail2ban-config", "--folder", str(tmp_path), "--write")
    assert shell.run(*write, "--log-file", "/var/log/panel.log").exit_code == 0
    jail = configparser.ConfigParser()
    jail.read(tmp_path / "jail.d" / "mailusers.conf")
    assert jail["mailusers"]["logpath"] == "/var/log/panel.log"
    assert "backend" not in jail["mailusers"]
    assert shell.run(*write).exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--unit", "a b.service"),
        ("--unit", "x.service\nenabled = false"),
        ("--log-file", "/var/log/a\nenabled = false"),
        ("--log-file", "/var/log/%(x)s"),
    ],
)
def test_what_cannot_stand_in_a_jail(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A name that would mean something else in the file is refused."""
    result = shell.run("fail2ban-config", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""

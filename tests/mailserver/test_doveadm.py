"""Calling doveadm: which arguments it gets, and what becomes of its failures."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest

from mailusers_plugin.mailserver import doveadm as doveadm_module
from mailusers_plugin.mailserver.doveadm import Doveadm, DoveadmError, DoveadmMissingError
from tests.servers.clients import wait_until


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where the stand-in writes its arguments."""
    return tmp_path / "calls"


def stand_in(tmp_path: Path, calls: Path, script: str = "") -> tuple[str, ...]:
    """Make a program that writes down its arguments and then does as the script says."""
    program = tmp_path / "doveadm"
    program.write_text(
        f"#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done >>{calls}\necho >>{calls}\n{script}\n"
    )
    program.chmod(0o755)
    return (str(program), "-c", "my file")


async def test_arguments(tmp_path: Path, calls: Path) -> None:
    """Each call gets the address as an argument of its own, after the configured options."""
    doveadm = Doveadm(stand_in(tmp_path, calls))
    assert doveadm.installed
    await doveadm.recalculate_quota("a b;c@example.com")
    await doveadm.end_sessions("-A")
    assert calls.read_text().splitlines() == [
        "[-c][my file][auth][cache][flush][--][a b;c@example.com]",
        "[-c][my file][quota][recalc][-u][a b;c@example.com]",
        "[-c][my file][auth][cache][flush][--][-A]",
        "[-c][my file][kick][--][-A]",
    ]


@pytest.mark.parametrize(("step", "code"), [("quota", 67), ("kick", 68)])
async def test_harmless_exit_codes(tmp_path: Path, calls: Path, step: str, code: int) -> None:
    """A user who is gone, or who has no session, is no error."""
    doveadm = Doveadm(stand_in(tmp_path, calls, f'test "$3" != {step} || exit {code}'))
    await doveadm.recalculate_quota("user@example.com")
    await doveadm.end_sessions("user@example.com")


@pytest.mark.parametrize("step", ["quota recalc", "auth cache flush", "kick"])
async def test_failure(tmp_path: Path, calls: Path, step: str) -> None:
    """Any other exit code is an error that quotes what was printed."""
    first = step.split()[0]
    doveadm = Doveadm(
        stand_in(tmp_path, calls, f'test "$3" != {first} || {{ echo "a reason" >&2; exit 75; }}')
    )
    with pytest.raises(DoveadmError, match=f"^doveadm {step} ended with 75: a reason$"):
        await doveadm.recalculate_quota("user@example.com")
        await doveadm.end_sessions("user@example.com")


async def test_long_output(tmp_path: Path, calls: Path) -> None:
    """A program that prints much is read to its end, and little of it is kept."""
    doveadm = Doveadm(stand_in(tmp_path, calls, "yes | head -c 3000000; exit 1"))
    output = await doveadm.run("x")
    assert (output.exit_code, len(output.text) <= 65536) == (1, True)


async def test_hanging(tmp_path: Path, calls: Path) -> None:
    """A program that hangs is killed with its children at the time limit."""
    pids = tmp_path / "pids"
    doveadm = Doveadm(
        stand_in(tmp_path, calls, f"sleep 600 & echo $! $$ >{pids}; sleep 600"), timeout_seconds=0.5
    )
    with pytest.raises(DoveadmError, match=r"^doveadm auth did not end within 0\.5 seconds\.$"):
        await doveadm.recalculate_quota("user@example.com")
    _, parent = pids.read_text().split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(parent), 0)


def _is_gone(pid: int) -> bool:
    try:
        # A zombie that its new parent has not looked after yet is gone as well.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


LEAVES_A_CHILD = "sleep 600 & echo $! >{pids}; exit 0"


async def test_a_child_that_stays(tmp_path: Path, calls: Path) -> None:
    """A program that ended but left a child, which keeps its output open, is over at the time limit, child and all."""
    pids = tmp_path / "pids"
    doveadm = Doveadm(stand_in(tmp_path, calls, LEAVES_A_CHILD.format(pids=pids)), timeout_seconds=0.5)
    with pytest.raises(DoveadmError, match="did not end within"):
        await doveadm.run("x")
    wait_until(lambda: _is_gone(int(pids.read_text())), message="the child's end")


async def test_output_without_end(tmp_path: Path, calls: Path) -> None:
    """A program that prints without end is killed before its time is over, and the event loop goes on meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    doveadm = Doveadm(stand_in(tmp_path, calls, "exec yes"), timeout_seconds=60)
    with pytest.raises(DoveadmError, match="printed without end"):
        await doveadm.run("x")
    counting.cancel()
    assert turns > 100


@pytest.mark.parametrize("script", ["exec yes", LEAVES_A_CHILD, "sleep 600"])
def test_at_the_start(tmp_path: Path, calls: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked in the calling thread has the same bounds, so that no Dovecot keeps the panel from starting."""
    monkeypatch.setattr(doveadm_module, "_SYNC_TIMEOUT_SECONDS", 0.5)
    pids = tmp_path / "pids"
    pids.write_text("0")
    doveadm = Doveadm(stand_in(tmp_path, calls, script.format(pids=pids)))
    assert doveadm.password_schemes() == frozenset()
    wait_until(lambda: _is_gone(int(pids.read_text()) or 2**22), message="the child's end")


async def test_no_program(tmp_path: Path) -> None:
    """A file that is no program counts as a missing one; what the system has too little of for now is tried again."""
    program = tmp_path / "doveadm"
    program.write_text("")
    program.chmod(0o755)
    program.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(DoveadmMissingError, match="cannot be run"):
        await Doveadm((str(program),)).run("x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    try:
        with pytest.raises(DoveadmError, match="cannot be run: Too many open files"):
            await Doveadm(("true",)).run("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["missing", "not executable", "none"])
async def test_missing(tmp_path: Path, kind: str) -> None:
    """Where there is no doveadm this is known before and said when it is called all the same."""
    program = tmp_path / "doveadm"
    if kind == "not executable":
        program.touch()
    doveadm = Doveadm(() if kind == "none" else (str(program),))
    assert not doveadm.installed
    assert doveadm.password_schemes() == frozenset()
    with pytest.raises(DoveadmMissingError):
        await doveadm.recalculate_quota("user@example.com")


def test_password_schemes() -> None:
    """The real doveadm tells its schemes."""
    assert {"SHA512-CRYPT", "BLF-CRYPT", "CRYPT"} <= Doveadm().password_schemes()


@pytest.mark.parametrize("script", ["exit 1", "printf '\\377'"])
def test_broken_doveadm_knows_no_schemes(tmp_path: Path, calls: Path, script: str) -> None:
    """A doveadm that fails or prints nonsense does not keep the plugin from starting."""
    assert "ARGON2ID" not in Doveadm(stand_in(tmp_path, calls, script)).password_schemes()


def test_configuration(tmp_path: Path) -> None:
    """A value of Dovecot's configuration, one that is not set, and one that cannot be read are told apart."""
    path = tmp_path / "dovecot.conf"
    path.write_text("plugin {\n  quota = maildir\n}\n")
    doveadm = Doveadm(("doveadm", "-c", str(path)))
    assert doveadm.configured("plugin/quota") == "maildir"
    assert doveadm.configured("plugin/quota_clone_dict") == ""
    assert Doveadm(("doveadm", "-c", str(tmp_path / "none"))).configured("plugin/quota") is None
    assert Doveadm(()).configured("plugin/quota") is None

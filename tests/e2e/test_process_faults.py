"""What can go wrong inside and around a server: hooks that end it or take its memory, files, locks, bodies."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.servers.clients import wait_until
from tests.servers.looking import check_integrity, make_box, wait_until_told
from tests.servers.modules import HEAD, install
from tests.servers.panel import PanelProcess
from tests.servers.ports import LOOPBACK
from tests.support import BOSS, PASSWORD, USER, run_sql

SETTINGS = {
    "MAILUSERS_DOVEADM": "",
    "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
    "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
    "MAILUSERS_HOOK_BACKOFF_SECONDS": "0.2",
}
BAD_EMAIL = "bad@example.com"
LIMITED = ("tests.servers.limited",)
SERVE = ("mailusers_plugin", "serve", "--listen", f"{LOOPBACK}:{{port}}", "--storage-root")


@contextmanager
def panel_with(
    tmp_path: Path, code: str, limit: Sequence[str] = (), **settings: str
) -> Iterator[PanelProcess]:
    """Make a panel with an administrator and a module, not started yet; it is stopped at the end."""
    install(tmp_path / "site", code)
    storage = tmp_path / "box"
    program = (*LIMITED, *limit, *SERVE, str(storage)) if limit else None
    environment = {**SETTINGS, "NOTES": str(tmp_path / "notes"), **settings}
    panel = PanelProcess(storage, python_path=[tmp_path / "site"], environment=environment, program=program)
    # Without the module, which is not to be told of the administrator.
    make_box(storage)
    try:
        yield panel
    finally:
        panel.stop()


def add(panel: PanelProcess, email: str) -> int:
    """Add a user; return the status, 0 where no answer came."""
    try:
        return panel.api("/add", 0, email=email, password=PASSWORD).status
    except (OSError, HTTPException):
        return 0


def has_ended(panel: PanelProcess) -> bool:
    """Tell whether the panel's process has ended by itself."""
    assert panel._process is not None
    return panel._process.poll() is not None


DEADLY = """
@hookimpl
def mailusers_post_add(event):
    if event.email == "bad@example.com":
        os._exit(7)
    note(event)
"""


def test_a_hook_that_ends_the_process(tmp_path: Path) -> None:
    """A module that ends the server at each start is found out and no longer called; the rest goes on."""
    with panel_with(tmp_path, DEADLY) as panel:
        panel.start()
        assert add(panel, USER) == 200
        wait_until(lambda: (tmp_path / "notes").exists(), message="the module")
        add(panel, BAD_EMAIL)
        starts = 0
        failed = "SELECT count(*) FROM mailusers_delivery WHERE state = 'failed'"
        deadline = time.monotonic() + 120
        while run_sql(panel.storage / "mailusers" / "state.sqlite", failed) == [(0,)]:
            assert time.monotonic() < deadline, panel.log.read_text()[-3000:]
            if has_ended(panel):
                # As a service manager does.
                panel.stop()
                starts += 1
                panel.start(wait=False)
            time.sleep(0.05)
        assert starts == 5
        wait_until(lambda: panel._answers(), timeout_seconds=30, message="the panel")
        assert add(panel, "new@example.com") == 200
        assert "bad with event" in panel.log.read_text()
        assert not has_ended(panel)
        listed = panel.command("events", "list").stdout
        assert f"UserAdded {BAD_EMAIL} -> bad: failed after 5: The server ended during this call" in listed
        # Others are told of all, it is told once it was mended.
        assert panel.api("", 0).text.split() == sorted([BAD_EMAIL, BOSS, "new@example.com", USER])
        assert BAD_EMAIL in panel.command("audit", "list").stdout
        panel.stop()
        (tmp_path / "site" / "bad_module.py").write_text(HEAD + DEADLY.replace("os._exit(7)", "pass"))
        panel.start()
        panel.command("events", "retry")
        notes = tmp_path / "notes"
        expected = sorted([USER, BAD_EMAIL, "new@example.com"])
        wait_until(lambda: sorted(set(notes.read_text().split())) == expected, message="the module")


LEAVING = """
@hookimpl
def mailusers_post_add(event):
    {action}
"""


@pytest.mark.parametrize(
    "action",
    [
        "sys.exit(3)",
        "threading.Thread(target=sys.exit, args=(3,)).start()",
        "threading.Thread(target=lambda: 1 / 0).start()",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "raise MemoryError",
    ],
)
def test_a_hook_that_wants_to_leave(tmp_path: Path, action: str) -> None:
    """What a hook raises, in a thread of its own as well, ends its call and not the server."""
    with panel_with(tmp_path, LEAVING.format(action=action), MAILUSERS_HOOK_ATTEMPTS="1") as panel:
        panel.start()
        assert panel.api("/add", email=USER, password=PASSWORD).status == 200
        assert panel.api("/add", email="new@example.com", password=PASSWORD).status == 200
        assert not has_ended(panel)


HUNGRY = """
@hookimpl
def mailusers_post_add(event):
    taken = []
    while True:
        taken.append(bytearray(10_000_000))
"""


def test_a_hook_that_takes_all_memory(tmp_path: Path) -> None:
    """Where the process's memory is limited, the hook fails with that, and the server goes on."""
    limit = ("AS", str(2000 * 1024**2))
    with panel_with(tmp_path, HUNGRY, limit, MAILUSERS_HOOK_ATTEMPTS="1") as panel:
        panel.start()
        assert panel.api("/add", email=USER, password=PASSWORD).status == 200
        assert "bad: failed after 1: MemoryError" in panel.command("events", "list").stdout
        assert panel.api("/add", email="new@example.com", password=PASSWORD).status == 200
        assert not has_ended(panel)


NOTHING = """
@hookimpl
async def mailusers_post_add(event):
    note(event)
"""


def cpu_seconds(panel: PanelProcess) -> float:
    """Return how much processor time the server has used."""
    assert panel._process is not None
    fields = Path(f"/proc/{panel._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_file_can_be_opened_any_more(tmp_path: Path) -> None:
    """With all file descriptors taken by clients the server does not spin, and answers again when they are gone."""
    with panel_with(tmp_path, NOTHING, ("NOFILE", "64")) as panel:
        panel.start()
        assert add(panel, USER) == 200
        idle = [socket.create_connection((LOOPBACK, panel.port)) for _ in range(120)]
        for client in idle:
            client.sendall(b"GET / HTTP/1.1\r\n")
        used, began = cpu_seconds(panel), time.monotonic()
        # Who sends whole requests comes in all the same.
        assert add(panel, "between@example.com") == 200
        time.sleep(2)
        assert cpu_seconds(panel) - used < 0.5 * (time.monotonic() - began)
        for client in idle:
            client.close()
        assert add(panel, "new@example.com") == 200
        wait_until_told(panel.storage)
        panel.stop()
        check_integrity(panel.storage)


def peak_memory(panel: PanelProcess) -> int:
    """Return the most memory that the server has used so far, in bytes."""
    assert panel._process is not None
    for line in Path(f"/proc/{panel._process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


@pytest.mark.parametrize("kind", ["said", "chunked"])
def test_a_body_of_a_gigabyte(tmp_path: Path, kind: str) -> None:
    """It is refused while it is being sent, and the server needs no memory for it."""
    with panel_with(tmp_path, NOTHING) as panel:
        panel.start()
        assert add(panel, USER) == 200
        before = peak_memory(panel)
        sent = 0
        block = b"x" * 1024 * 1024
        with socket.create_connection((LOOPBACK, panel.port)) as client:
            length = f"Content-Length: {1024**3}" if kind == "said" else "Transfer-Encoding: chunked"
            client.sendall(f"POST /admin/mail/users/add HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
            answer = b""
            with suppress(OSError):
                while sent < 1024**3:
                    if kind == "chunked":
                        client.sendall(f"{len(block):x}\r\n".encode())
                    client.sendall(block)
                    if kind == "chunked":
                        client.sendall(b"\r\n")
                    sent += len(block)
            with suppress(OSError):
                client.settimeout(5)
                answer = client.recv(4096)
        grown = peak_memory(panel) - before
        print(
            f"{kind}: {sent / 1024**2:.0f} MiB sent, {grown / 1024**2:.1f} MiB more memory, {answer[:20]!r}"
        )
        # The refusal comes while it is still being sent; what comes behind it is thrown away.
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert grown < 16 * 1024**2
        assert add(panel, "new@example.com") == 200


def test_another_program_locks_the_accounts(tmp_path: Path) -> None:
    """A lock that lasts longer than the patience is answered 503; what was refused is not made later."""
    with panel_with(tmp_path, NOTHING, MAILUSERS_BUSY_TIMEOUT_SECONDS="0.5") as panel:
        panel.start()
        assert add(panel, USER) == 200
        database = panel.storage / "mail" / "users.sqlite"
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            for lock in ("IMMEDIATE", "EXCLUSIVE"):
                other.execute(f"BEGIN {lock}")
                reply = panel.api("/add", 0, email="new@example.com", password=PASSWORD)
                assert reply.status == 503, reply
                assert int(reply.headers["Retry-After"]) > 0
                other.execute("COMMIT")
        listed = panel.api("", 0).text.split()
        assert listed == sorted([BOSS, USER])
        assert add(panel, "new@example.com") == 200
        with closing(
            sqlite3.connect(panel.storage / "mailusers" / "state.sqlite", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            assert add(panel, "later@example.com") == 200
            other.execute("COMMIT")
        wait_until_told(panel.storage)
        assert "later@example.com" in (tmp_path / "notes").read_text()


def test_dovecot_hangs(tmp_path: Path) -> None:
    """A doveadm that hangs, fails or is gone keeps neither the panel from starting nor a change from being made."""
    program = tmp_path / "doveadm"
    program.write_text("#!/bin/sh\nsleep 600 & sleep 600\n")
    program.chmod(0o755)
    settings = {"MAILUSERS_DOVEADM": str(program), "MAILUSERS_DOVEADM_TIMEOUT_SECONDS": "0.5"}
    with panel_with(tmp_path, NOTHING, **settings) as panel:
        panel.start()
        assert add(panel, USER) == 200
        tried = "SELECT count(*) FROM mailusers_delivery WHERE implementation = 'dovecot' AND attempts > 0"
        state = panel.storage / "mailusers" / "state.sqlite"
        wait_until(lambda: run_sql(state, tried) != [(0,)], timeout_seconds=60, message="a try")
        program.write_text("#!/bin/sh\nexit 0\n")
        # Once it works again, it is told by itself.
        wait_until_told(panel.storage)

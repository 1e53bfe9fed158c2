"""Dovecot's administration command, with a time limit and a bounded output."""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import shutil
import signal

# Programs are started as lists of arguments, never through a shell.
import subprocess  # nosec B404
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final

from mailusers_plugin.errors import MailUsersError

_OUTPUT_BYTES: Final = 65536
_MOST_OUTPUT_BYTES: Final = 16 * 1024 * 1024
"""A program that prints more is killed: to read on and on would keep the event loop from everything else."""
_SYNC_TIMEOUT_SECONDS: Final = 5
EX_NOUSER: Final = 67
"""doveadm's exit code for an unknown user (sysexits.h)."""
EX_NOHOST: Final = 68
"""doveadm's exit code where ``kick`` found no connection."""

_PASSING: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM))
_DOWN: Final = ("Connection refused", "No such file or directory")
"""What doveadm says of the sockets of a Dovecot that does not run."""
_NO_QUOTA: Final = "Unknown command 'quota'"
_WILDCARDS: Final = frozenset("*?")


class DoveadmMissingError(MailUsersError):
    """There is no doveadm on this machine."""

    code = "configuration"


class DoveadmError(MailUsersError):
    """doveadm ran and failed, or took too long."""

    code = "unavailable"


@dataclass(frozen=True, slots=True)
class Output:
    """What a call printed, at most 64 KiB of it, and its exit code."""

    exit_code: int
    text: str


class Doveadm:
    """Calls doveadm. Addresses are handed over as arguments of their own, never through a shell."""

    def __init__(self, command: Sequence[str] = ("doveadm",), timeout_seconds: float = 15.0) -> None:
        """Remember how to call it.

        :param command: program and options; empty for a box without Dovecot
        :param timeout_seconds: how long one call may take
        """
        self.command = tuple(command)
        self._timeout_seconds = timeout_seconds

    @property
    def installed(self) -> bool:
        """Tell whether the program is there."""
        return bool(self.command) and shutil.which(self.command[0]) is not None

    def password_schemes(self) -> frozenset[str]:
        """Return the password schemes that this Dovecot knows; none where it is missing. Blocks."""
        return frozenset((self._now("pw", "-l") or "").split())

    def home_of(self, email: str) -> str | None:
        """Return where Dovecot keeps a user's mail, ``None`` where it does not run or does not know. Blocks."""
        result = self._now("user", "-f", "home", email)
        return result.strip() if result is not None else None

    def configured(self, name: str) -> str | None:
        """Return a value of Dovecot's configuration, empty where it is not set, ``None`` where that cannot be read.

        Blocks.

        :param name: such as ``plugin/quota``
        """
        result = self._now("config", "-h", name)
        return None if result is None else result.strip()

    def reload(self) -> None:
        """Make a Dovecot that runs open its databases anew; sessions go on. Blocks."""
        self._now("reload")

    def _now(self, *arguments: str) -> str | None:
        """Run doveadm in the calling thread; return what it printed, ``None`` where it is missing or fails."""
        if not self.installed:
            return None
        try:
            process = subprocess.Popen(  # nosec B603
                [*self.command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None
        with process:
            try:
                text = _read_now(process.stdout, _SYNC_TIMEOUT_SECONDS)
                return text if process.wait(_SYNC_TIMEOUT_SECONDS) == 0 else None
            except (TimeoutError, subprocess.TimeoutExpired, _TooMuchError):
                _kill(process.pid)
                return None

    async def recalculate_quota(self, email: str) -> None:
        """Make Dovecot count a mailbox again, by its limit of now; makes the maildir of a new user.

        A user that is gone meanwhile is not an error.

        :raises DoveadmMissingError: if there is no doveadm, or it knows no quotas
        :raises DoveadmError: if it failed or took too long
        """
        # It caches the limit, and also that there was no such user.
        await self._forget(email)
        output = await self.run("quota", "recalc", "-u", email)
        if _NO_QUOTA in output.text:
            raise DoveadmMissingError("Dovecot has no quotas here: its quota plugin is not loaded.")
        if output.exit_code not in (0, EX_NOUSER):
            raise _failure("quota recalc", output)

    async def end_sessions(self, email: str) -> None:
        """Forget a user's cached log-in and end the open sessions, in this order.

        Where Dovecot does not run there is neither.

        :raises DoveadmMissingError: if there is no doveadm
        :raises DoveadmError: if it failed or took too long
        """
        if _WILDCARDS & set(email):
            # kick would take it for a pattern, and there is no way to say that it is none.
            raise DoveadmError("An address with * or ? cannot be thrown out without throwing out others.")
        await self._forget(email)
        output = await self.run("kick", "--", email)
        if output.exit_code not in (0, EX_NOHOST) and not _is_down(output):
            raise _failure("kick", output)

    async def _forget(self, email: str) -> None:
        """Forget what Dovecot cached of a user."""
        output = await self.run("auth", "cache", "flush", "--", email)
        # It ends with 0 even where it could not reach Dovecot.
        if (output.exit_code or "Error:" in output.text) and not _is_down(output):
            raise _failure("auth cache flush", output)

    async def run(self, *arguments: str) -> Output:
        """Run doveadm once.

        :param arguments: behind the command
        :raises DoveadmMissingError: if there is no such program
        :raises DoveadmError: if it took too long
        """
        if not self.command:
            raise DoveadmMissingError("No doveadm is configured.")
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            text = f"{self.command[0]} cannot be run: {error.strerror}."
            # Too few file descriptors or too little memory pass; a program that is not there, or none, does not.
            kind = DoveadmError if error.errno in _PASSING else DoveadmMissingError
            raise kind(text) from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                text = await _read_bounded(process)
                output = Output(await process.wait(), text)
        except TimeoutError:
            await _end(process)
            raise DoveadmError(
                f"doveadm {arguments[0]} did not end within {self._timeout_seconds:g} seconds."
            ) from None
        except _TooMuchError:
            await _end(process)
            raise DoveadmError(f"doveadm {arguments[0]} printed without end.") from None
        except BaseException:
            await _end(process)
            raise
        return output


def _is_down(output: Output) -> bool:
    return any(text in output.text for text in _DOWN)


def _failure(what: str, output: Output) -> DoveadmError:
    return DoveadmError(f"doveadm {what} ended with {output.exit_code}: {output.text[:500]}")


class _TooMuchError(Exception):
    """A program prints without end."""


async def _read_bounded(process: asyncio.subprocess.Process) -> str:
    """Read all output but keep only its beginning, so that the process never waits for us."""
    kept = b""
    size = 0
    while process.stdout is not None and (chunk := await process.stdout.read(_OUTPUT_BYTES)):
        kept += chunk[: _OUTPUT_BYTES - len(kept)]
        size += len(chunk)
        if size > _MOST_OUTPUT_BYTES:
            raise _TooMuchError
        # What is there already is read without a pause, and others are to come to their turn.
        await asyncio.sleep(0)
    return kept.decode("utf-8", "replace").strip()


def _read_now(pipe: IO[bytes] | None, timeout_seconds: float) -> str:
    """Read output in the calling thread, within a time and as much as is kept of it."""
    if pipe is None:
        return ""
    deadline = time.monotonic() + timeout_seconds
    kept = b""
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(pipe.fileno(), _OUTPUT_BYTES)
            if not chunk:
                return kept.decode("utf-8", "replace")
            kept += chunk[: _OUTPUT_BYTES - len(kept)]
            size += len(chunk)
            if size > _MOST_OUTPUT_BYTES:
                raise _TooMuchError


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process and its children, which may have kept its output open after it has ended itself."""
    _kill(process.pid)
    await process.wait()


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)

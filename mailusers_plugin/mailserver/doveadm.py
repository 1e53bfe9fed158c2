"""Dovecot's administration command, with a time limit and a bounded output."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mailusers_plugin.errors import MailUsersError

_OUTPUT_BYTES: Final = 65536
_SCHEMES_TIMEOUT_SECONDS: Final = 5
EX_NOUSER: Final = 67
"""doveadm's exit code for an unknown user (sysexits.h)."""
EX_NOHOST: Final = 68
"""doveadm's exit code where ``kick`` found no connection."""


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
        if not self.installed:
            return frozenset()
        try:
            result = subprocess.run(
                [*self.command, "pw", "-l"],
                capture_output=True,
                timeout=_SCHEMES_TIMEOUT_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return frozenset()
        return frozenset(result.stdout.decode("ascii", "replace").split())

    async def recalculate_quota(self, email: str) -> None:
        """Make Dovecot count a mailbox again; makes the maildir of a new user.

        A user that is gone meanwhile is not an error.

        :raises DoveadmMissingError: if there is no doveadm
        :raises DoveadmError: if it failed or took too long
        """
        await self._call("quota", "recalc", "-u", email, accepted=(0, EX_NOUSER))

    async def end_sessions(self, email: str) -> None:
        """Forget a user's cached log-in and end the open sessions, in this order.

        :raises DoveadmMissingError: if there is no doveadm
        :raises DoveadmError: if it failed or took too long
        """
        await self._call("auth", "cache", "flush", "--", email)
        await self._call("kick", "--", email, accepted=(0, EX_NOHOST))

    async def _call(self, *arguments: str, accepted: Sequence[int] = (0,)) -> None:
        output = await self.run(*arguments)
        if output.exit_code not in accepted:
            raise DoveadmError(f"doveadm {arguments[0]} ended with {output.exit_code}: {output.text[:500]}")

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
        except (FileNotFoundError, PermissionError) as error:
            raise DoveadmMissingError(f"{self.command[0]} cannot be run: {error.strerror}.") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                text = await _read_bounded(process)
                return Output(await process.wait(), text)
        except TimeoutError:
            raise DoveadmError(
                f"doveadm {arguments[0]} did not end within {self._timeout_seconds:g} seconds."
            ) from None
        finally:
            await _end(process)


async def _read_bounded(process: asyncio.subprocess.Process) -> str:
    """Read all output but keep only its beginning, so that the process never waits for us."""
    assert process.stdout is not None
    kept = b""
    while chunk := await process.stdout.read(_OUTPUT_BYTES):
        kept += chunk[: _OUTPUT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

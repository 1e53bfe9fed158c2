"""Sizes from the file that Dovecot's maildir quota keeps in each maildir.

Dovecot appends to the file, which no folder's time tells of. So there is one ``stat`` for each mailbox and pass; the
file itself is read only where that says that it is another one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.mailserver.usage import Known, Pace
from mailusers_plugin.models import Measured, SizeBatch, Usage
from mailusers_plugin.validation import split_address

_READ_BYTES: Final = 65536
"""Dovecot recalculates a maildirsize file that has grown beyond 5120 bytes (Maildir++ quota)."""
_LINES: Final = re.compile(rb"(?:[ \t]*(?:-?[0-9]+[ \t]+-?[0-9]+[ \t]*)?\r?\n)*")
"""Lines behind the first: a size and a count each, or nothing."""
_LIMITS: Final = re.compile(rb"[ \t]*-?[0-9]+[A-Z](?:,-?[0-9]+[A-Z])*,?[ \t\r]*")
"""The first line. A number in Python may also have a plus sign, underscores and blanks, which Dovecot never writes."""
_MAX_BYTES: Final = 2**50
"""A mailbox of more than a pebibyte is a damaged file; the databases add sizes up in 64 bits."""
_MAX_LIMIT: Final = 2**63 - 1
"""The largest quota there can be, and what the databases hold."""
_GROUP: Final = 500
"""Mailboxes in one batch: one query, and at most one transaction."""
_FEW: Final = 50
"""Mailboxes between two looks at the clock; a slow disk takes 10 ms for each."""
_SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this before it was read is read again: file systems keep coarse times."""
_SWEEP_REST: Final = 20
"""Known mailboxes are looked for one by one at most in this part of the time."""
_NOTHING: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Errors that mean that there is no such file. After any other, what is known stays."""


class MaildirSizes:
    """Reads ``maildirsize`` in each maildir.

    Its first line holds the limits (``1048576S``, several with commas), each other line a size and a count to
    add up (http://www.courier-mta.org/imap/README.maildirquota.html).
    """

    name = "maildirsize"

    def __init__(self, mailboxes: Mailboxes) -> None:
        """Take the place.

        :param mailboxes: the mail store
        """
        self._mailboxes = mailboxes
        self._root = str(mailboxes.root)
        self._sweep_at = 0.0

    def read(self, position: str, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield what has changed, domain by domain, then what is no more; see :class:`UsageSource`.

        :raises StorageError: if the mail store cannot be read
        """
        for done, group in self._mailboxes.groups(position, _GROUP):
            emails = [f"{local_part}@{domain}" for domain, local_part in group]
            marks = known.marks(emails)
            found: dict[str, Measured] = {}
            gone = []
            for start in range(0, len(group), _FEW):
                pace.rest()
                for email, (domain, local_part) in zip(
                    emails[start : start + _FEW], group[start : start + _FEW], strict=True
                ):
                    now = _look(f"{self._root}/{domain}/{local_part}/maildirsize", marks.get(email))
                    if now is _SAME:
                        continue
                    if isinstance(now, Measured):
                        found[email] = now
                    elif email in marks:
                        gone.append(email)
            pace.rest()
            yield SizeBatch(found, gone, done)
        yield from self._sweep(known, pace)

    def _sweep(self, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield the known mailboxes whose folders are no more; not in every pass where there are many."""
        began = time.monotonic()
        if began < self._sweep_at:
            return
        emails: Sequence[str] = known.after("")
        while emails:
            if gone := [email for email in emails if not self._may_exist(email)]:
                yield SizeBatch({}, gone, "")
            pace.rest()
            emails = known.after(emails[-1])
        ended = time.monotonic()
        self._sweep_at = ended + _SWEEP_REST * (ended - began)

    def _may_exist(self, email: str) -> bool:
        local_part, domain = split_address(email)
        try:
            os.lstat(f"{self._root}/{domain}/{local_part}")
        except OSError as error:
            return error.errno not in _NOTHING
        except ValueError:
            return False
        return True

    def look(self, emails: Sequence[str]) -> SizeBatch:
        """Return what some files say; see :class:`UsageSource`."""
        found: dict[str, Measured] = {}
        gone = []
        for email in emails:
            now = (
                _look(f"{self._mailboxes.path(email)}/maildirsize", None)
                if self._mailboxes.exists(email)
                else _GONE
            )
            if isinstance(now, Measured):
                found[email] = now
            elif now is _GONE:
                gone.append(email)
        return SizeBatch(found, gone, "")

    def stop(self) -> None:
        """Do nothing: no call takes long."""

    def forget(self, email: str) -> None:
        """Do nothing: the file is deleted with its mailbox."""


_SAME: Final = "same"
_GONE: Final = "gone"


def _look(path: str, known_mark: int | None) -> Measured | str:
    """Look at one file, and read it unless it is certainly the one that was read before.

    :returns: what it says, or that it is the same or gone
    """
    try:
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116  # a Path takes as long as the call itself
    except OSError as error:
        return _GONE if error.errno in _NOTHING else _SAME
    # Not mtime: a backup that is restored brings that back with other content.
    mark = hash((status.st_ctime_ns, status.st_size, status.st_ino))
    if mark == known_mark:
        return _SAME
    if not stat.S_ISREG(status.st_mode):
        return _GONE
    settled = time.time_ns() - status.st_ctime_ns > _SETTLED_NS
    try:
        content = _content(path)
    except OSError as error:
        return _GONE if error.errno in _NOTHING else _SAME
    usage = parse_maildirsize(content)
    if usage is None:
        return _GONE
    # Taken before reading: what is written meanwhile makes another mark.
    return Measured(usage, mark if settled else None)


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)


def parse_maildirsize(content: bytes) -> Usage | None:
    """Add up a file's lines.

    :param content: the whole file
    :returns: ``None`` where it is damaged; sums below zero, which a race in the mail server can leave, count as zero
    """
    header, _, lines = content.partition(b"\n")
    if not _LIMITS.fullmatch(header) or not _LINES.fullmatch(lines + b"\n"):
        return None
    try:
        limits = {part[-1:]: int(part[:-1]) for part in header.strip().split(b",") if part}
        # Of a file that nobody has recalculated for long there are some hundred lines.
        numbers = list(map(int, lines.split()))
    except ValueError:
        return None
    size, count = sum(numbers[::2]), sum(numbers[1::2])
    if max(size, count) > _MAX_BYTES:
        return None
    limit = min(max(limits.get(b"S", 0), 0), _MAX_LIMIT)
    return Usage(max(size, 0), max(count, 0), limit, datetime.now(UTC))

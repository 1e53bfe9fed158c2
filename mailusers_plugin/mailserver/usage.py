"""Where mailbox sizes come from. One source today: the file that Dovecot's maildir quota keeps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from mailusers_plugin.models import Usage

_READ_BYTES: Final = 65536
"""Dovecot recalculates a maildirsize file that has grown beyond 5120 bytes (Maildir++ quota)."""


class UsageSource(Protocol):
    """Something that knows how full mailboxes are."""

    def read(self, mailboxes: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Usage]]:
        """Yield address and size of those mailboxes whose size is known.

        Called in a thread; may block.

        :param mailboxes: domain and local part of each
        """
        ...


class MaildirSizes:
    """Reads ``maildirsize`` in each maildir.

    Its first line holds the limits (``1048576S``, several with commas), each other line a size and a count to
    add up (http://www.courier-mta.org/imap/README.maildirquota.html).
    """

    def __init__(self, root: Path) -> None:
        """Remember the place.

        :param root: the folder that holds a folder a domain
        """
        self._root = root

    def read(self, mailboxes: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Usage]]:
        """Yield address and size of those mailboxes that have a readable, whole file."""
        root = str(self._root)
        for domain, local_part in mailboxes:
            usage = read_maildirsize(f"{root}/{domain}/{local_part}/maildirsize")
            if usage is not None:
                yield f"{local_part}@{domain}", usage


def read_maildirsize(path: str) -> Usage | None:
    """Read one file.

    :param path: where it is; a link is not followed
    :returns: ``None`` where there is none, it cannot be read, or it is damaged
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        content = os.read(descriptor, _READ_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse_maildirsize(content)


def parse_maildirsize(content: bytes) -> Usage | None:
    """Add up a file's lines.

    :param content: the whole file
    :returns: ``None`` where it is damaged; sums below zero, which a race in the mail server can leave, count as zero
    """
    header, *lines = content.decode("ascii", "replace").splitlines() or [""]
    try:
        limits = {part[-1:]: int(part[:-1]) for part in header.strip().split(",") if part}
        pairs = [tuple(map(int, line.split())) for line in lines if line.strip()]
        size = sum(size for size, _ in pairs)
        count = sum(count for _, count in pairs)
    except ValueError:
        return None
    if not limits:
        return None
    return Usage(max(size, 0), max(count, 0), max(limits.get("S", 0), 0), datetime.now(UTC))

"""Names of the mailboxes on the disk, folder by folder and some at a time, only of folders that changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import StorageError
from mailusers_plugin.mailserver.mailboxes import may_be_domain, may_be_mailbox
from mailusers_plugin.texts import N_

_SETTLED_NS: Final = 2_000_000_000
"""A folder that changed less than this before it was read is read again: file systems keep coarse times."""


class MailboxNames:
    """Remembers of each domain's folder when it changed, and no names: a million would take 100 MB."""

    def __init__(self, root: Path) -> None:
        """Remember the place.

        :param root: the folder that holds a folder a domain
        """
        self._root = root
        self._read: dict[str, int] = {}

    def forget(self) -> None:
        """Read everything the next time."""
        self._read.clear()

    def changed(self, limit: int) -> Iterator[list[str]]:
        """Yield the addresses of mailboxes in folders that changed since they were yielded to the end. Blocks.

        :param limit: so many at once
        :raises StorageError: if the mail store cannot be read
        """
        try:
            domains = [name for name in os.listdir(self._root) if may_be_domain(name)]  # noqa: PTH208
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(
                N_("The mail store %(path)s cannot be read: %(reason)s."),
                path=self._root,
                reason=error.strerror,
            ) from None
        for gone in self._read.keys() - domains:
            del self._read[gone]
        for domain in domains:
            # A domain's folder may vanish, be locked or be no folder.
            with suppress(OSError):
                yield from self._folder(domain, limit)

    def _folder(self, domain: str, limit: int) -> Iterator[list[str]]:
        path = self._root / domain
        if path.is_symlink():
            return
        mtime_ns, read_ns = path.stat().st_mtime_ns, time.time_ns()
        if self._read.get(domain) == mtime_ns:
            return
        with os.scandir(path) as entries:
            names = (
                entry.name
                for entry in entries
                if may_be_mailbox(entry.name, domain) and entry.is_dir(follow_symlinks=False)
            )
            while some := [f"{name}@{domain}" for name in islice(names, limit)]:
                yield some
        if read_ns - mtime_ns > _SETTLED_NS:
            self._read[domain] = mtime_ns

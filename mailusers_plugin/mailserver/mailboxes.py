"""The mail store: which mailboxes there are, and how one is deleted for good.

A mailbox is ``mailboxes/<domain>/<local part>`` below the mail folder. Nothing here follows a link below that
folder, and no name that could not be an address's part is ever used as a path.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import StorageError
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import MAX_EMAIL_LENGTH, split_address

_NAME: Final = re.compile(r"[A-Za-z0-9_+=&'~!#$%^*{}|?-][A-Za-z0-9_.+=&'~!#$%^*{}|?-]{0,253}", re.ASCII)
"""What a folder may be called to count as a local part or domain: an atom of an address (RFC 5322, 3.2.3) that
does not begin with a dot."""
_SETTLED_NS: Final = 2_000_000_000
"""A folder that changed less than this before it was read is read again: file systems keep coarse times."""
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Scan:
    """What is in the mail store.

    :ivar mailboxes: domain and local part of each
    :ivar strange: entries that cannot be mailboxes (files, links, odd or too long names), quoted so that they can
        be printed
    """

    mailboxes: frozenset[tuple[str, str]]
    strange: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Folder:
    mtime_ns: int
    read_ns: int
    names: tuple[str, ...]
    strange: tuple[str, ...]

    def still_true(self, mtime_ns: int) -> bool:
        return mtime_ns == self.mtime_ns and self.read_ns - mtime_ns > _SETTLED_NS


class Mailboxes:
    """The mailboxes of one box. All methods block and are called in threads."""

    def __init__(self, mail_folder: Path) -> None:
        """Remember the place; nothing is read yet.

        :param mail_folder: the folder that holds ``mailboxes`` and ``sieve``
        """
        self.root = mail_folder / "mailboxes"
        self._sieve = mail_folder / "sieve"
        self._cache: dict[str, _Folder] = {}
        self._lock = threading.Lock()

    def path(self, email: str) -> str:
        """Return the directory of an address's mail, for showing it.

        :param email: an address
        """
        local_part, domain = split_address(email)
        return str(self.root / domain / local_part)

    def scan(self) -> Scan:
        """Return what is there now; only folders that changed since the last time are read.

        :raises StorageError: if the mail store cannot be read
        """
        with self._lock:
            try:
                top = self._read(self.root, "")
            except FileNotFoundError:
                return Scan(frozenset(), ())
            except OSError as error:
                raise StorageError(
                    N_("The mail store %(path)s cannot be read: %(reason)s."),
                    path=self.root,
                    reason=error.strerror,
                ) from None
            found: set[tuple[str, str]] = set()
            strange = list(top.strange)
            for domain in top.names:
                # A domain's folder may vanish or be locked while the others are read.
                with suppress(OSError):
                    folder = self._read(self.root / domain, domain)
                    found.update((domain, name) for name in folder.names)
                    strange.extend(folder.strange)
            for gone in self._cache.keys() - {"", *top.names}:
                del self._cache[gone]
            return Scan(frozenset(found), tuple(strange))

    def _read(self, path: Path, key: str) -> _Folder:
        mtime_ns = path.stat().st_mtime_ns
        known = self._cache.get(key)
        if known is not None and known.still_true(mtime_ns):
            return known
        names, strange = [], []
        read_ns = time.time_ns()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if may_be_mailbox(entry.name, key) and entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                else:
                    strange.append(ascii(os.path.join(key, entry.name)))  # noqa: PTH118
        folder = _Folder(mtime_ns, read_ns, tuple(names), tuple(strange))
        self._cache[key] = folder
        return folder

    def groups(self, after: str, size: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield the mailboxes by domain, some at a time; nothing is kept, and the order stays.

        :param after: a domain; it and those before it are left out
        :param size: at most so many in one group
        :returns: of each group the last domain that is finished with it, and domain and local part of each mailbox
        :raises StorageError: if the mail store cannot be read
        """
        try:
            domains = sorted(domain for domain in _names(self.root) if domain > after)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(
                N_("The mail store %(path)s cannot be read: %(reason)s."),
                path=self.root,
                reason=error.strerror,
            ) from None
        done, group = after, []
        for domain in domains:
            # A domain's folder may vanish or be locked while the others are read.
            with suppress(OSError):
                for name in _names(self.root / domain, domain):
                    group.append((domain, name))
                    if len(group) == size:
                        yield done, group
                        group = []
            done = domain
        if group:
            yield done, group

    def exists(self, email: str) -> bool:
        """Tell whether an address has a mailbox on disk.

        :param email: an address
        """
        local_part, domain = split_address(email)
        if not (_NAME.fullmatch(local_part) and _NAME.fullmatch(domain)):
            return False
        try:
            with _folder(self.root, domain) as domain_fd:
                return stat.S_ISDIR(os.stat(local_part, dir_fd=domain_fd, follow_symlinks=False).st_mode)
        except OSError:
            return False

    def set_aside(self, email: str, purge_name: str) -> None:
        """Take a mailbox out of the mail server's reach by renaming it; quick, and repeatable.

        The address's sieve scripts are deleted at once: they are few and small.

        :param email: an address
        :param purge_name: the new name, beside the old one, beginning with a dot
        :raises StorageError: if the mailbox is a link, or cannot be renamed
        """
        local_part, domain = _parts(email)
        with _reported(self.path(email)):
            with suppress(FileNotFoundError), _folder(self.root, domain) as domain_fd:
                mode = os.stat(local_part, dir_fd=domain_fd, follow_symlinks=False).st_mode
                if not stat.S_ISDIR(mode):
                    raise StorageError(
                        N_(
                            "%(path)s is not a directory but a link or a file. Delete what it points to and then "
                            "itself by hand."
                        ),
                        path=self.path(email),
                    )
                # What an earlier, interrupted purge had set aside would be in the way.
                _delete_tree(purge_name, domain_fd)
                os.rename(local_part, purge_name, src_dir_fd=domain_fd, dst_dir_fd=domain_fd)
            with suppress(FileNotFoundError), _folder(self._sieve, domain) as domain_fd:
                _delete_tree(local_part, domain_fd)
                for name in (f"{local_part}.sieve", f"{local_part}.svbin"):
                    _delete_file(name, domain_fd)

    def delete_aside(self, email: str, purge_name: str) -> None:
        """Delete what :meth:`set_aside` renamed; may take long, and is repeatable.

        :param email: an address
        :param purge_name: as in :meth:`set_aside`
        :raises StorageError: if something in there cannot be deleted
        """
        _, domain = _parts(email)
        with (
            _reported(self.path(email)),
            suppress(FileNotFoundError),
            _folder(self.root, domain) as domain_fd,
        ):
            _delete_tree(purge_name, domain_fd)


def _names(path: Path, domain: str = "") -> Iterator[str]:
    """Yield the names of the folders that may be domains, or mailboxes of a domain."""
    with os.scandir(path) as entries:
        for entry in entries:
            if may_be_mailbox(entry.name, domain) and entry.is_dir(follow_symlinks=False):
                yield entry.name


def may_be_mailbox(name: str, domain: str) -> bool:
    """Tell whether a folder can be a mailbox by its name.

    :param domain: of the folder that it is in
    """
    # With its domain it must be an address.
    return len(name) < MAX_EMAIL_LENGTH - len(domain) and _NAME.fullmatch(name) is not None


def may_be_domain(name: str) -> bool:
    """Tell whether a folder can be a domain's by its name."""
    return _NAME.fullmatch(name) is not None


def _parts(email: str) -> tuple[str, str]:
    local_part, domain = split_address(email)
    if not (_NAME.fullmatch(local_part) and _NAME.fullmatch(domain)):
        raise StorageError(N_("That address cannot have a mailbox in this mail store."))
    return local_part, domain


@contextmanager
def _folder(root: Path, domain: str) -> Iterator[int]:
    """Open a domain's folder without following a link."""
    root_fd = os.open(root, _OPEN_FOLDER)
    try:
        domain_fd = os.open(domain, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=root_fd)
    finally:
        os.close(root_fd)
    try:
        yield domain_fd
    finally:
        os.close(domain_fd)


@contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            N_(
                "%(path)s cannot be deleted: %(reason)s. What is left is still archived; mend that and try again."
            ),
            path=path,
            reason=error.strerror,
        ) from error


def _delete_tree(name: str, folder_fd: int) -> None:
    """Delete a directory; a link, a file or nothing of that name is left alone."""
    with suppress(FileNotFoundError):
        while stat.S_ISDIR(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            # Works by file descriptors, so that a link put in place meanwhile is not followed. What another
            # purge of the same mailbox deletes at the same time is not an error: look again.
            with suppress(FileNotFoundError):
                shutil.rmtree(name, dir_fd=folder_fd)


def _delete_file(name: str, folder_fd: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder_fd)

"""Looks whether the source of sizes works, for ``mailusers doctor``."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.mailserver.doveadm import Doveadm
from mailusers_plugin.mailserver.doveadm_http import DoveadmSizes
from mailusers_plugin.refresh import UsageRefresher
from mailusers_plugin.refresh_sources import ClonedSizes
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import quota_clone, usage
from mailusers_plugin.store.database import Database

_ASKED: Final = 10
_LATE: Final = timedelta(hours=1)
_CONFIGURE: Final = (
    "Put what 'mailusers dovecot-config' prints into its configuration and reload it (docs/usage.md)."
)


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at; see :class:`mailusers_plugin.diagnosis.Finding`."""

    level: Literal["ok", "warning", "error"]
    says: str
    advice: str = ""


def look(
    refresher: UsageRefresher, accounts: Database, settings: Settings, doveadm: Doveadm
) -> Iterator[Look]:
    """Look at the source that the settings choose. Blocks.

    :param accounts: the database of the accounts
    """
    source = refresher.source
    if isinstance(source, ClonedSizes):
        yield from _clone(source, accounts, settings, doveadm)
    elif isinstance(source, DoveadmSizes):
        yield from _http(source, accounts)
    else:
        yield from _maildirsize(doveadm)
    yield from _last_pass(refresher, settings)


def _maildirsize(doveadm: Doveadm) -> Iterator[Look]:
    quota = doveadm.configured("plugin/quota") if doveadm.installed else None
    if quota and not quota.startswith("maildir"):
        yield Look(
            "error",
            f"They are read from maildirsize files, which Dovecot does not write with quota = {quota}.",
            "Set quota = maildir there, or usage_source = quota_clone here.",
        )


def _http(source: DoveadmSizes, accounts: Database) -> Iterator[Look]:
    emails = accounts.read_now(usage.users_after, "", _ASKED)
    try:
        known = len(source.sizes(emails))
    except MailUsersError as trouble:
        yield Look("error", trouble.message, "Mend that; sizes stay as they were last known.")
        return
    if emails and not known:
        yield Look(
            "error",
            f"{source.doveadm.url} answers, but knows none of {len(emails)} users.",
            "Name the Dovecot that has this box's mailboxes, and let its user query read this box's accounts.",
        )
    else:
        yield Look(
            "ok",
            f"{source.doveadm.url} answers, and knows {known} of {len(emails)} users that were asked for.",
        )


def _clone(source: ClonedSizes, accounts: Database, settings: Settings, doveadm: Doveadm) -> Iterator[Look]:
    if accounts.is_sqlite:
        yield from _file(settings)
    here = doveadm.configured("plugin/quota_clone_dict") if doveadm.installed else None
    is_empty = source.database.read_now(quota_clone.is_empty)
    if here == "" and (is_empty or accounts.is_sqlite):
        yield Look(
            "error", "Dovecot's plugin quota_clone is not configured, so it writes no sizes.", _CONFIGURE
        )
    elif here == "":
        yield Look(
            "warning",
            "Sizes were written by Dovecot's plugin quota_clone, but this machine's Dovecot does not have it.",
            f"If there are mailboxes on this machine: {_CONFIGURE}",
        )
    elif is_empty:
        yield Look(
            "warning",
            "Dovecot has not written any size yet.",
            f"It does when a message comes or goes. If it does not: {_CONFIGURE}",
        )
    else:
        yield Look("ok", "Dovecot writes them with its plugin quota_clone.")


def _file(settings: Settings) -> Iterator[Look]:
    file = settings.usage_file
    try:
        user = pwd.getpwnam(settings.dovecot_user)
    except KeyError:
        yield Look(
            "warning",
            f"There is no system user {settings.dovecot_user} here, as whom Dovecot could write {file}.",
            "Set dovecot_user to Dovecot's default_internal_user.",
        )
        return
    for path, wanted in ((file.parent, 0o700), *((each, 0o600) for each in _files(file))):
        status = path.lstat()
        if status.st_uid != user.pw_uid or status.st_mode & wanted != wanted:
            yield Look(
                "error",
                f"{path} does not belong to {user.pw_name}, or may not be written: Dovecot writes no sizes.",
                f"Run: chown {user.pw_name} {path}; chmod {wanted:o} {path}",
            )
        elif status.st_mode & 0o007:
            yield Look("warning", f"{path} can be read by everybody.", f"Run: chmod {wanted:o} {path}")
    for path in (file.parent.parent, *file.parent.parent.parents):
        if not _may_enter(path, user):
            yield Look(
                "error",
                f"{user.pw_name} may not go through {path}, so Dovecot cannot reach {file}.",
                f"Run: chmod o+x {path}",
            )
    if not quota_clone.is_sound(file):
        yield Look(
            "error", f"{file} is not what it should be.", f"Stop Dovecot, move {file} away and start again."
        )


def _may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _files(file: Path) -> list[Path]:
    return [
        path
        for path in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm")))
        if path.exists()
    ]


def _last_pass(refresher: UsageRefresher, settings: Settings) -> Iterator[Look]:
    source, began_at = refresher.last_pass()
    if settings.usage_interval_seconds <= 0:
        yield Look("ok", "They are not read, for usage_interval_seconds is 0.")
    elif began_at is None or source != settings.usage_source:
        yield Look("ok", f"They come from {settings.usage_source}, and were not all read yet.")
    elif datetime.now(UTC) - began_at > max(_LATE, 3 * timedelta(seconds=settings.usage_interval_seconds)):
        yield Look(
            "warning",
            f"All of them were read last on {began_at:%Y-%m-%d at %H:%M} UTC.",
            "Start the server, or see its log for what keeps it from reading them.",
        )
    else:
        yield Look("ok", f"All of them were read from {source}, last on {began_at:%Y-%m-%d at %H:%M} UTC.")

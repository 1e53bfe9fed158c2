"""Makes the source of sizes that the settings choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mailusers_plugin.mailserver.doveadm_http import DoveadmHTTP, DoveadmSizes, read_key
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.mailserver.maildir_sizes import MaildirSizes
from mailusers_plugin.mailserver.usage import Known, Pace, UsageSource
from mailusers_plugin.models import Measured, SizeBatch, Usage
from mailusers_plugin.settings import Settings
from mailusers_plugin.settings_checks import DOVEADM_HTTP, QUOTA_CLONE
from mailusers_plugin.store import quota_clone, usage
from mailusers_plugin.store.box import Store
from mailusers_plugin.store.database import Database


class ClonedSizes:
    """Takes what Dovecot's plugin ``quota_clone`` has written. The database compares; only what differs is read."""

    name = QUOTA_CLONE

    def __init__(self, database: Database, *, owns_database: bool) -> None:
        """Take where it is written.

        :param database: has that table and the one of our sizes
        :param owns_database: whether to close it in the end
        """
        self.database = database
        self._owns_database = owns_database

    def read(self, position: str, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield what differs; see :class:`mailusers_plugin.mailserver.usage.UsageSource`.

        A mailbox of which Dovecot has said nothing yet keeps the size that was known before.

        :raises UnavailableError: if the database is away
        """
        while True:
            found, position = self.database.read_now(quota_clone.window, position)
            if not position:
                return
            yield SizeBatch(_measured(found), (), position)
            pace.rest()

    def look(self, emails: Sequence[str]) -> SizeBatch:
        """Return what differs of some; see :class:`mailusers_plugin.mailserver.usage.UsageSource`.

        :raises UnavailableError: if the database is away
        """
        return SizeBatch(_measured(self.database.read_now(quota_clone.some, emails)), (), "")

    def stop(self) -> None:
        """Do nothing: no query takes long."""

    def forget(self, email: str) -> None:
        """Delete what Dovecot has written of a mailbox."""
        self.database.write_now(quota_clone.forget, email)

    def close(self) -> None:
        """Close the file, where it is one of its own."""
        if self._owns_database:
            self.database.close()


def _measured(found: Mapping[str, tuple[int, int]]) -> dict[str, Measured]:
    now = datetime.now(UTC)
    return {email: Measured(Usage(*size, 0, now)) for email, size in found.items()}


def open_source(settings: Settings, store: Store, mailboxes: Mailboxes) -> UsageSource:
    """Make the source that the settings choose.

    :raises ConfigurationError: if a setting of it is wrong, or its file cannot be made
    """
    if settings.usage_source == QUOTA_CLONE:
        if not store.accounts.is_sqlite:
            return ClonedSizes(store.state, owns_database=False)
        file = quota_clone.open_file(
            settings.usage_file,
            settings.dovecot_user,
            Path(str(store.state.url.database)),
            busy_timeout_seconds=settings.busy_timeout_seconds,
        )
        return ClonedSizes(file, owns_database=True)
    if settings.usage_source == DOVEADM_HTTP:
        doveadm = DoveadmHTTP(
            settings.doveadm_http_url,
            read_key(Path(settings.doveadm_http_key_file)),
            ca_file=settings.doveadm_http_ca_file,
            timeout_seconds=settings.doveadm_timeout_seconds,
        )
        return DoveadmSizes(
            doveadm, lambda after, limit: store.accounts.read_now(usage.users_after, after, limit)
        )
    return MaildirSizes(mailboxes)

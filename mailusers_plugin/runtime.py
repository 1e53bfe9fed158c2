"""Puts the parts together for one box and runs what runs in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from mailusers_plugin.auth.api_key import load_api_key
from mailusers_plugin.auth.authenticator import Authenticator
from mailusers_plugin.dispatch import Dispatcher
from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.hooks.audit_log import AuditLogHooks
from mailusers_plugin.hooks.dovecot import DovecotHooks
from mailusers_plugin.listing import Listing
from mailusers_plugin.mailserver.doveadm import Doveadm
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.mailserver.usage import MaildirSizes
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.refresh import refresh_usage
from mailusers_plugin.server_lock import ServerLock
from mailusers_plugin.service import Service
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit
from mailusers_plugin.store.box import open_box

_log = logging.getLogger("mailusers_plugin")


class Runtime:
    """One box, opened. The command line uses it without the background work."""

    def __init__(self, settings: Settings, hooks: Iterable[object] = ()) -> None:
        """Open the box, making what is missing.

        :param settings: all of them
        :param hooks: modules or objects with implementations, beside those of installed packages
        :raises ConfigurationError: if a setting or a hook is wrong, or the box cannot be used
        :raises UnavailableError: if the database is away
        """
        doveadm = Doveadm(settings.doveadm, settings.doveadm_timeout_seconds)
        if settings.password_scheme == "auto":
            scheme = "ARGON2ID" if "ARGON2ID" in doveadm.password_schemes() else "SHA512-CRYPT"
            settings = replace(settings, password_scheme=scheme)
        self.settings = settings
        self.passwords = Passwords(
            settings.password_scheme, threads=settings.hash_threads or None, queue_limit=settings.hash_queue
        )
        self.manager = HookManager()
        self.mailboxes = Mailboxes(settings.storage_root / "mail")
        self.usage_source = MaildirSizes(self.mailboxes.root)
        self.doveadm = doveadm
        self.manager.register(DovecotHooks(doveadm), "dovecot")
        if settings.audit_log:
            record = AuditLogHooks(lambda event: self.state.write_now(audit.record, event))
            self.manager.register(record, "audit_log")
        self.manager.load_installed()
        for plugin in hooks:
            self.manager.register(plugin)
        # After what may be refused, so that nothing is left open then.
        self.store = open_box(settings)
        if self.store.altered:
            # Dovecot's SQLite driver fails at its first look-up after tables were added, on each of its connections:
            # a message would be deferred, a log-in refused.
            doveadm.reload()
        self.database = self.store.accounts
        self.state = self.store.state
        self.dispatcher = Dispatcher(
            self.database,
            self.state,
            self.manager,
            timeout_seconds=settings.hook_timeout_seconds,
            attempts=settings.hook_attempts,
            backoff_seconds=settings.hook_backoff_seconds,
            keep_days=settings.event_days,
        )
        self.service = Service(
            self.database,
            self.state,
            self.passwords,
            self.mailboxes,
            self.manager,
            self.dispatcher,
            default_quota=settings.default_quota,
            extra_privileges=settings.extra_privileges,
            validator_timeout_seconds=settings.hook_timeout_seconds,
        )
        self.listing = Listing(self.database, self.state, self.mailboxes)
        self._lock = ServerLock(settings.storage_root / "mailusers" / "server.lock")
        self._refreshing: asyncio.Task[None] | None = None
        self._started = False
        self._closed = False

    def authenticator(self) -> Authenticator:
        """Return what checks credentials, making the system API key where there is none.

        :raises ConfigurationError: if the key's file cannot be used
        """
        return Authenticator(
            self.database,
            self.state,
            self.passwords,
            load_api_key(self.settings.api_key_path),
            session_hours=self.settings.session_hours,
            session_max_hours=self.settings.session_max_hours,
        )

    async def start(self) -> None:
        """Begin to deliver events and to read sizes; once is enough."""
        if self._started or self._closed:
            return
        self._started = True
        self._lock.share()
        await self.dispatcher.start()
        if self.settings.usage_interval_seconds > 0:
            self._refreshing = asyncio.create_task(self._refresh(), name="mailusers-usage")

    async def stop(self) -> None:
        """End the background work, let hooks that run end, and close the box."""
        if self._closed:
            return
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing
        await self.dispatcher.stop()
        await asyncio.to_thread(self.close)

    def server_runs(self) -> bool:
        """Tell whether a server delivers this box's events."""
        return self._lock.is_shared()

    def close(self) -> None:
        """Close the box; what runs in the background must have been stopped."""
        self._closed = True
        self._lock.release()
        self.passwords.close()
        self.store.close()

    def refresh_usage(self) -> int:
        """Read the mailboxes' sizes now. Blocks.

        :returns: how many changed
        """
        return refresh_usage(self.state, self.mailboxes, self.usage_source)

    async def _refresh(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.refresh_usage)
            except MailUsersError as error:
                _log.warning("Mailbox sizes could not be read: %s", error)
            except Exception:
                _log.exception("Mailbox sizes could not be read")
            await asyncio.sleep(self.settings.usage_interval_seconds)

"""Puts the parts together for one box and runs what runs in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from mailusers_plugin.auth.api_key import APIKey
from mailusers_plugin.auth.authenticator import Authenticator
from mailusers_plugin.auth.second_factor import SecondFactors
from mailusers_plugin.auth.throttle import Throttle
from mailusers_plugin.auth.tokens import Tokens
from mailusers_plugin.directory import Directory
from mailusers_plugin.dispatch import Dispatcher
from mailusers_plugin.duties import USAGE, Duties
from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.health import Health
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.hooks.dovecot import DovecotHooks
from mailusers_plugin.hooks.sizes import SizeHooks
from mailusers_plugin.idempotency import Idempotency
from mailusers_plugin.imports import Imports
from mailusers_plugin.listing import Listing
from mailusers_plugin.mailserver.doveadm import Doveadm
from mailusers_plugin.mailserver.mailboxes import Mailboxes
from mailusers_plugin.measures import Measures
from mailusers_plugin.password_policy import PasswordPolicy
from mailusers_plugin.password_strength import StrengthMeter
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.refresh import UsageRefresher
from mailusers_plugin.refresh_sources import ClonedSizes, open_source
from mailusers_plugin.server_lock import ServerLock
from mailusers_plugin.service import Service
from mailusers_plugin.service_import import BulkAdd
from mailusers_plugin.settings import Settings
from mailusers_plugin.settings_checks import QUOTA_CLONE
from mailusers_plugin.statistics import Statistician
from mailusers_plugin.store import undo
from mailusers_plugin.store.box import open_box
from mailusers_plugin.store.news import Listener
from mailusers_plugin.trail import Trail

_log = logging.getLogger("mailusers_plugin")
_SILENCE_SECONDS: Final = 30.0
"""For so long, and three intervals, the process that reads sizes may be silent before another does it."""
_LOOK_SECONDS: Final = 1.0
"""How often mailboxes are looked at out of turn."""
_WIPE_SECONDS: Final = 30.0
"""How often it is looked for passwords of archived users that are to be wiped, beside the times that are known."""


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
            settings.password_scheme,
            threads=settings.hash_threads or None,
            queue_limit=settings.hash_queue,
            patience_seconds=settings.refusal_seconds,
        )
        self.strength = StrengthMeter()
        self.manager = HookManager()
        self.mailboxes = Mailboxes(settings.storage_root / "mail")
        self.doveadm = doveadm
        self.manager.register(DovecotHooks(doveadm), "dovecot")
        if settings.usage_source == QUOTA_CLONE:
            self.manager.register(SizeHooks(lambda email: self.usage.forget(email)), "sizes")
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
        self.measures = Measures()
        self.database.timed = partial(self.measures.call, "accounts")
        if self.state is not self.database:
            self.state.timed = partial(self.measures.call, "state")
        self.dispatcher = Dispatcher(
            self.database,
            self.state,
            self.manager,
            timeout_seconds=settings.hook_timeout_seconds,
            attempts=settings.hook_attempts,
            backoff_seconds=settings.hook_backoff_seconds,
            keep_days=settings.event_days,
            measures=self.measures,
            audited=settings.audit_log,
        )
        self.health = Health(
            self.database, self.state, self.passwords, self.dispatcher, settings.storage_root
        )
        self.trail = Trail(self.database, self.state, enabled=settings.audit_log)
        self.directory = Directory(
            self.database, self.state, self.mailboxes, interval_seconds=settings.live_interval_seconds
        )
        try:
            source = open_source(settings, self.store, self.mailboxes)
        except MailUsersError:
            self.store.close()
            raise
        self.usage = UsageRefresher(
            self.state,
            source,
            self.directory.refresh_now,
            share=settings.usage_share,
        )
        self.service = Service(
            self.database,
            self.state,
            self.passwords,
            PasswordPolicy(settings, self.strength),
            self.mailboxes,
            self.manager,
            self.dispatcher,
            self.directory,
            default_quota=settings.default_quota,
            extra_privileges=settings.extra_privileges,
            validator_timeout_seconds=settings.hook_timeout_seconds,
            undo_minutes=settings.undo_minutes,
        )
        self.bulk = BulkAdd(
            self.service,
            self.database,
            self.passwords,
            self.mailboxes,
            self.manager,
            self.dispatcher,
            self.directory,
            validator_timeout_seconds=settings.hook_timeout_seconds,
            known_schemes=doveadm.password_schemes,
        )
        self.imports = Imports(self.database, self.state, self.bulk, max_rows=settings.import_rows)
        self.second_factors = SecondFactors(
            self.database, self.state, self.trail, drift_steps=settings.totp_drift_steps
        )
        self.throttle = Throttle(self.database, self.state, settings)
        self.listing = Listing(self.database, self.state, self.mailboxes)
        self.statistician = Statistician(self.state, self.directory, self.mailboxes.root)
        self.duties = Duties(self.state)
        self.idempotency = Idempotency(self.database, self.state, self.duties)
        self._expiring: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._lock = ServerLock(settings.storage_root / "mailusers" / "server.lock")
        self._refreshing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._wiping: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()
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
            self.second_factors,
            APIKey(self.settings.api_key_path),
            self.throttle,
            session_hours=self.settings.session_hours,
            session_max_hours=self.settings.session_max_hours,
            login_cache_seconds=self.settings.login_cache_seconds,
        )

    def tokens(self, *, of_host: bool = False) -> Tokens:
        """Return the API tokens.

        :param of_host: whether they belong to people of a host with a log-in of its own
        """
        return Tokens(self.database, self.state, of_host=of_host, days=self.settings.token_days)

    async def start(self) -> None:
        """Begin to deliver events and to read sizes; once is enough. Who calls it meanwhile waits until that is done.

        :raises UnavailableError: if the database is away; then it may be tried again
        """
        if self._started:
            return
        async with self._starting:
            if not self._started and not self._closed:
                await self._start()
                self._started = True

    async def _start(self) -> None:
        self._lock.share()
        # First of all, so that the implementations here are told of what other processes change from now on.
        await self.dispatcher.subscribe()
        # Before the dispatcher, which drops old events: by them it is known what an interrupted import has done.
        await self.imports.start()
        await self.dispatcher.start()
        self.trail.start()
        self.directory.start()
        loop = asyncio.get_running_loop()
        self._listener = Listener(self.state, lambda: _call_in(loop, self.directory.look))
        self._listener.start()
        self.duties.start()
        if self.settings.usage_interval_seconds > 0:
            self._refreshing = asyncio.create_task(self._refresh(), name="mailusers-usage")
            self._looking = asyncio.create_task(self._look(), name="mailusers-usage-wanted")
        self._wiping = asyncio.create_task(self._wipe(), name="mailusers-wipe")
        self.idempotency.start()
        self._expiring = asyncio.create_task(
            self.idempotency.expire_until(self._stopping), name="mailusers-expire"
        )

    async def stop(self) -> None:
        """End the background work, let hooks that run end, and close the box."""
        async with self._starting:
            if self._closed:
                return
            self._closed = True
        # Not in the middle of it: the directory would be left to be told by a thread that nobody waits for.
        self._stopping.set()
        self.usage.stop()
        self.directory.end_comparison()
        for task in (self._refreshing, self._wiping, self._expiring):
            if task is not None:
                await task
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        if self._listener is not None:
            await asyncio.to_thread(self._listener.stop)
        await self.duties.stop()
        self.idempotency.stop()
        await self.imports.stop()
        await self.directory.stop()
        await self.dispatcher.stop()
        await self.trail.stop()
        await asyncio.to_thread(self.close)

    def server_runs(self) -> bool:
        """Tell whether a server delivers this box's events."""
        return self._lock.is_shared()

    def close(self) -> None:
        """Close the box; what runs in the background must have been stopped."""
        self._closed = True
        self._lock.release()
        self.passwords.close()
        self.strength.close()
        if isinstance(self.usage.source, ClonedSizes):
            self.usage.source.close()
        self.listing.close()
        self.store.close()

    def refresh_usage(self) -> int:
        """Read the mailboxes' sizes now, bring the directory up to date, and take the day's sample. Blocks.

        :returns: how many changed
        :raises StorageError: if the mail store cannot be read
        :raises MailUsersError: if a database is away, or the source of sizes does not answer
        """
        try:
            return self.usage.run()
        finally:
            # Also where the source does not answer: it looks for other changes too.
            if not self._stopping.is_set():
                self.directory.compare_now()
                self.statistician.take_sample_now()

    async def _refresh(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._refresh_for_all()
            except MailUsersError as error:
                if not self._stopping.is_set():
                    _log.warning("Mailbox sizes could not be read: %s", error)
            except Exception:
                _log.exception("Mailbox sizes could not be read")
            await self._wait(self.settings.usage_interval_seconds)

    async def _look(self) -> None:
        """Look at mailboxes that are wanted out of turn, some each second."""
        while True:
            try:
                await self.usage.look_at_wanted()
            except MailUsersError as error:
                _log.warning("Mailbox sizes could not be read: %s", error)
            except Exception:
                _log.exception("Mailbox sizes could not be read")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Wait until the time is over or everything stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _refresh_for_all(self) -> None:
        """Read the sizes, unless another process of this box does so."""
        lease_seconds = 3 * self.settings.usage_interval_seconds + _SILENCE_SECONDS
        if not await self.duties.take(USAGE, lease_seconds):
            return
        reading = asyncio.ensure_future(asyncio.to_thread(self.refresh_usage))
        try:
            while not (await asyncio.wait([reading], timeout=lease_seconds / 3))[0]:
                # Should that fail, another process may begin too, which does no harm.
                with suppress(MailUsersError):
                    await self.duties.take(USAGE, lease_seconds)
            reading.result()
        finally:
            reading.cancel()

    async def wipe_kept(self) -> float:
        """Wipe the passwords of archived users that have been kept long enough; nothing is written where none is.

        :returns: in how many seconds to look again
        :raises UnavailableError: if the database is away
        """
        end = await self.database.read(undo.first_end)
        now = datetime.now(UTC)
        if end is not None and end <= now:
            emails = await self.database.write(undo.wipe, now)
            await self.directory.refresh(emails)
            end = await self.database.read(undo.first_end)
        return _WIPE_SECONDS if end is None else min(_WIPE_SECONDS, max(0.0, (end - now).total_seconds()))

    async def _wipe(self) -> None:
        while not self._stopping.is_set():
            wait_seconds = _WIPE_SECONDS
            try:
                wait_seconds = await self.wipe_kept()
            except MailUsersError as error:
                _log.warning("Passwords of archived users could not be wiped yet: %s", error)
            except Exception:
                _log.exception("Passwords of archived users could not be wiped yet")
            await self._wait(wait_seconds)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call something in an event loop from another thread; not if the loop has ended meanwhile."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)

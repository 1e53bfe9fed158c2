"""Looks a box over and says what is wrong and what to do: ``mailusers doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from typing import Final

from mailusers_plugin import refresh_check
from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.mailserver.postfix import Postfix
from mailusers_plugin.models import ADMIN
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import accounts, deliveries, planning, sharing
from mailusers_plugin.store.box import journal_mode

_STALE: Final = timedelta(days=7)


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar what: the part of the box
    :ivar says: what was found
    :ivar advice: what to do, empty where nothing is
    """

    level: Level
    what: str
    says: str
    advice: str = ""


def ok(what: str, says: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, what, says)


def warning(what: str, says: str, advice: str) -> Finding:
    """Say that something works, but not well."""
    return Finding(Level.WARNING, what, says, advice)


def error(what: str, says: str, advice: str) -> Finding:
    """Say that something does not work."""
    return Finding(Level.ERROR, what, says, advice)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything. Changes nothing but what opening a box changes. Blocks.

    :param settings: name the box
    """
    if not settings.database and not settings.database_path.exists():
        yield error(
            "box",
            f"There is none in {settings.storage_root}.",
            "Name the right folder with --storage-root, or run 'mailusers serve' to make a new box.",
        )
        return
    try:
        runtime = Runtime(settings)
    except MailUsersError as trouble:
        yield error("box", trouble.message, "Mend that first; the rest was not looked at.")
        return
    try:
        yield ok("box", f"{settings.storage_root} opens, and the hooks are in order.")
        for look in (_accounts, _key, _mail_store, _packages, _password_scheme, _usage, _hooks, _postfix):
            yield from _guarded(look, runtime)
    finally:
        runtime.close()


def _guarded(look: Callable[[Runtime], Iterator[Finding]], runtime: Runtime) -> Iterator[Finding]:
    try:
        yield from look(runtime)
    except MailUsersError as trouble:
        yield error(look.__name__.strip("_").replace("_", " "), trouble.message, "Mend that and look again.")


def _accounts(runtime: Runtime) -> Iterator[Finding]:
    if runtime.database.is_sqlite:
        for name, database in (("accounts", runtime.database), ("state", runtime.state)):
            found = database.read_now(sharing.integrity)
            if found == "ok":
                yield ok(name, "The file is sound.")
            else:
                yield error(name, f"The file is damaged: {found}", "Stop everything and restore a backup.")
    admins = runtime.database.read_now(accounts.administrators)
    if admins:
        yield ok("administrators", f"There are {len(admins)} with the {ADMIN} privilege.")
    else:
        yield warning(
            "administrators",
            "There is none.",
            "Make one: mailusers user add EMAIL --admin, or user make-admin EMAIL.",
        )


def _key(runtime: Runtime) -> Iterator[Finding]:
    runtime.authenticator()
    yield ok("API key", f"{runtime.settings.api_key_path} can be read by its owner only.")


def _mail_store(runtime: Runtime) -> Iterator[Finding]:
    scan = runtime.mailboxes.scan()
    yield ok("mail store", f"{runtime.mailboxes.root} holds {len(scan.mailboxes)} mailboxes.")
    if scan.strange:
        yield warning(
            "mail store",
            f"{len(scan.strange)} entries cannot be mailboxes and are not listed: {', '.join(scan.strange[:5])}",
            "Links, files and names that no address has do not belong there; move them away.",
        )


def _packages(runtime: Runtime) -> Iterator[Finding]:
    both = [name for name in ("libpass", "passlib") if _is_installed(name)]
    if len(both) > 1:
        yield warning(
            "packages",
            "libpass and passlib are both installed, and one has overwritten the other.",
            "Run: pip uninstall passlib, then pip install --force-reinstall libpass.",
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _password_scheme(runtime: Runtime) -> Iterator[Finding]:
    if not runtime.doveadm.installed:
        yield warning(
            "dovecot",
            "There is no doveadm here: quotas are not recalculated and sessions are not ended.",
            "Install Dovecot on this machine, or set doveadm to the command that reaches it.",
        )
        return
    scheme, known = runtime.passwords.scheme, runtime.doveadm.password_schemes()
    if scheme in known:
        yield ok("dovecot", f"It knows {scheme}, in which new passwords are stored.")
    else:
        yield error("dovecot", f"It does not know {scheme}.", "Set password_scheme to auto or SHA512-CRYPT.")
    yield from _dovecot_user(runtime)


def _dovecot_user(runtime: Runtime) -> Iterator[Finding]:
    found = runtime.database.read_now(accounts.addresses)
    if not found:
        return
    email = found[0]
    home = runtime.doveadm.home_of(email)
    if home is None:
        yield warning(
            "dovecot",
            "It does not run here, or does not know this box's users.",
            "Start it, and let its user query read this box (docs/storage.md).",
        )
    elif home != runtime.mailboxes.path(email):
        yield warning(
            "dovecot",
            f"It keeps the mail of {email} in {home}, not in {runtime.mailboxes.path(email)}.",
            "Let storage_root and Dovecot's user query name the same folder.",
        )
    else:
        yield ok("dovecot", "It runs and knows this box's users.")


def _usage(runtime: Runtime) -> Iterator[Finding]:
    for found in refresh_check.look(runtime.usage, runtime.database, runtime.settings, runtime.doveadm):
        yield Finding(Level(found.level), "sizes", found.says, found.advice)


def _hooks(runtime: Runtime) -> Iterator[Finding]:
    counts = runtime.state.read_now(deliveries.counts)
    if failed := counts.get(deliveries.FAILED):
        yield warning(
            "hooks",
            f"{failed} deliveries have failed for good.",
            "See 'mailusers events list', mend the cause, then run 'mailusers events retry'.",
        )
    else:
        yield ok("hooks", f"No delivery has failed; {counts.get(deliveries.PENDING, 0)} are under way.")
    here = runtime.manager.implementations()
    for name, seen_at in runtime.state.read_now(planning.subscriptions).items():
        if name not in here and datetime.now(UTC) - seen_at > _STALE:
            yield warning(
                "hooks",
                f"The module {name} was here last on {seen_at:%Y-%m-%d}, and its events wait for it.",
                f"Install it again, or run 'mailusers events forget {name}'.",
            )


def _postfix(runtime: Runtime) -> Iterator[Finding]:
    postfix = Postfix(runtime.settings.postfix_config)
    if not runtime.database.is_sqlite or not postfix.is_set_up():
        return
    path = runtime.settings.database_path
    state = postfix.inspect(path)
    if not state.reads_us:
        yield ok("postfix", "It does not look users up in this box's file.")
        return
    mode = journal_mode(runtime.database)
    if mode == "wal" and state.direct_maps and state.confined:
        yield error(
            "postfix",
            f"Mail does not come in: {', '.join(state.confined)} are confined and cannot open a write-ahead log.",
            "Run 'mailusers doctor --fix'.",
        )
    elif not state.is_patient:
        yield warning(
            "postfix",
            "A look-up that falls into a change of an account fails, and mail then waits for up to a minute.",
            "Run 'mailusers doctor --fix': it puts the maps behind proxymap and sets service_throttle_time.",
        )
    elif mode == "wal":
        yield ok("postfix", "Its look-ups go through proxymap, and no change of an account holds them up.")
    else:
        yield Finding(
            Level.OK,
            "postfix",
            "Its look-ups go through proxymap and are tried again; one beside a change may take some seconds.",
            "'mailusers doctor --fix --wal' ends that (docs/storage.md says what it costs).",
        )
    if mode == "wal" and not sharing.postfix_may_open_log(path):
        yield error(
            "postfix",
            "Mail stops as soon as nobody else has the accounts open: Postfix may not make the log's files.",
            "Run 'mailusers doctor --fix --wal'.",
        )


def mend(settings: Settings, *, write_ahead_log: bool) -> Iterator[str]:
    """Mend what can be mended without losing anything. Blocks.

    :param settings: name the box
    :param write_ahead_log: also share the folder with Postfix and switch the accounts to a write-ahead log
    :returns: what was done
    :raises MailUsersError: if something cannot be done; what was done before stays
    """
    postfix = Postfix(settings.postfix_config)
    runtime = Runtime(settings)
    try:
        if not runtime.database.is_sqlite:
            return
        path = settings.database_path
        if postfix.is_set_up():
            state = postfix.inspect(path)
            if state.reads_us and not state.is_patient:
                postfix.mend(path)
                yield "Postfix: the maps are behind proxymap, and a failed look-up is tried again within a second."
        if write_ahead_log:
            # First the right, then the mode that needs it.
            if not sharing.postfix_may_open_log(path):
                sharing.share_with_postfix(path)
                yield f"{path.parent}: Postfix's group may make the files of a write-ahead log."
            if journal_mode(runtime.database) != "wal":
                sharing.use_write_ahead_log(runtime.database)
                yield f"{path}: uses a write-ahead log."
    finally:
        runtime.close()

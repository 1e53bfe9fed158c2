"""Postfix's configuration for a box: ``mailusers postfix-config``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, SQLITE, DatabasePlace
from mailusers_plugin.mailserver.fragments import (
    POSTFIX_ROLE,
    Fragment,
    check_place,
    grants,
    placeholder,
)

FOLDER: Final = Path("/etc/postfix")
_ALIASES: Final = ("source", "destination", "permitted_senders")
_COLUMNS: Final = {
    POSTGRESQL: {"users": ("email",), "aliases": _ALIASES, "auto_aliases": _ALIASES},
    MARIADB: {"users": ("email", "mailusers_domain"), "aliases": _ALIASES, "auto_aliases": _ALIASES},
}
_TYPES: Final = {SQLITE: "sqlite", POSTGRESQL: "pgsql", MARIADB: "mysql"}
_PACKAGES: Final = {SQLITE: "postfix-sqlite", POSTGRESQL: "postfix-pgsql", MARIADB: "postfix-mysql"}
_DOMAINS: Final = {
    # Mail-in-a-Box's own.
    SQLITE: "SELECT 1 FROM users WHERE email LIKE '%%@%s' UNION SELECT 1 FROM aliases WHERE source LIKE '%%@%s' "
    "UNION SELECT 1 FROM auto_aliases WHERE source LIKE '%%@%s'",
    # The same by an index of ours, whatever the number of users, and with no character that LIKE takes for a pattern.
    POSTGRESQL: "SELECT 1 FROM users WHERE split_part(email, '@', 2) = '%s' "
    "UNION ALL SELECT 1 FROM aliases WHERE split_part(source, '@', 2) = '%s' "
    "UNION ALL SELECT 1 FROM auto_aliases WHERE split_part(source, '@', 2) = '%s' LIMIT 1",
    MARIADB: "SELECT 1 FROM users WHERE mailusers_domain = '%s' "
    "UNION ALL SELECT 1 FROM aliases WHERE SUBSTRING_INDEX(source, '@', -1) = '%s' "
    "UNION ALL SELECT 1 FROM auto_aliases WHERE SUBSTRING_INDEX(source, '@', -1) = '%s' LIMIT 1",
}
_MAPS: Final = {
    "virtual-mailbox-maps.cf": "SELECT 1 FROM users WHERE email='%s'",
    "virtual-alias-maps.cf": (
        "SELECT destination from (SELECT destination, 0 as priority FROM aliases WHERE source='%s' "
        "AND destination<>'' UNION SELECT email as destination, 1 as priority FROM users WHERE email='%s' "
        "UNION SELECT destination, 2 as priority FROM auto_aliases WHERE source='%s' AND destination<>'') "
        "{alias}ORDER BY priority LIMIT 1"
    ),
    "sender-login-maps.cf": (
        "SELECT permitted_senders FROM (SELECT permitted_senders, 0 AS priority FROM aliases WHERE source='%s' "
        "AND permitted_senders IS NOT NULL UNION SELECT destination AS permitted_senders, 1 AS priority FROM aliases "
        "WHERE source='%s' AND permitted_senders IS NULL UNION SELECT email as permitted_senders, 2 AS priority "
        "FROM users WHERE email='%s') {alias}ORDER BY priority LIMIT 1"
    ),
}
"""Mail-in-a-Box's queries. SQLite alone takes a query inside another one that has no name."""
_MAIN: Final = """\
# The users of a mailusers box. Needs the package {package}.
virtual_mailbox_domains = {map}:{folder}/virtual-mailbox-domains.cf
virtual_mailbox_maps = {map}:{folder}/virtual-mailbox-maps.cf
virtual_alias_maps = {map}:{folder}/virtual-alias-maps.cf
smtpd_sender_login_maps = {map}:{folder}/sender-login-maps.cf
virtual_transport = lmtp:unix:private/dovecot-lmtp
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
# Refuses mail for unknown users and full mailboxes while it is being sent. If you have restrictions of your own, add
# these two at their end.
smtpd_recipient_restrictions = reject_unlisted_recipient, check_policy_service unix:private/quota-status
"""
_PATIENCE: Final = """\
# A look-up that falls into a change of an account fails, and is tried again after this time.
service_throttle_time = 1s
"""
_FILE: Final = "# root:postfix, 0640: proxymap reads it as the user postfix.\n"


def postfix_fragments(
    place: DatabasePlace, storage_root: Path, *, folder: Path = FOLDER, password: str | None = None
) -> list[Fragment]:
    """Return what Postfix must be told.

    :param folder: Postfix's configuration folder
    :param password: of the database user that Postfix has for itself; ``None`` for a placeholder
    :raises ConfigurationError: if a name cannot stand in a configuration file
    """
    check_place(place, storage_root)
    engine = place.engine
    main = _MAIN.format(folder=folder, package=_PACKAGES[engine], map=f"proxy:{_TYPES[engine]}")
    found = [Fragment(folder / "main.cf", main + (_PATIENCE if engine == SQLITE else ""), part=True)]
    alias = "" if engine == SQLITE else "AS found "
    queries = {"virtual-mailbox-domains.cf": _DOMAINS[engine], **_MAPS}
    for name, query in queries.items():
        text = f"{_FILE}{_database(place, password)}query = {query.replace('{alias}', alias)}\n"
        found.append(Fragment(folder / name, text, "root:postfix", 0o640))
    if engine != SQLITE:
        text = grants(place, POSTFIX_ROLE, _COLUMNS[engine], password)
        found.append(Fragment(folder / "mailusers-postfix.sql", text, mode=0o600))
    return found


def _database(place: DatabasePlace, password: str | None) -> str:
    if place.engine == SQLITE:
        return f"dbpath={place.file}\n"
    host = f"unix:{place.host}" if place.host.startswith("/") else f"inet:{place.host}:{place.port}"
    known = placeholder(POSTFIX_ROLE) if password is None else password
    return f"hosts = {host}\ndbname = {place.name}\nuser = {POSTFIX_ROLE}\npassword = {known}\n"

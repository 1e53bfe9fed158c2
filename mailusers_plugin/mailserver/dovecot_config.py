"""Dovecot 2.3's configuration for a box: ``mailusers dovecot-config``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mailusers_plugin.database_place import MARIADB, POSTGRESQL, SQLITE, DatabasePlace
from mailusers_plugin.mailserver.fragments import (
    DOVECOT_ROLE,
    Fragment,
    check_place,
    connect_words,
    grants,
)
from mailusers_plugin.mailserver.fragments_quota import quota_dict_fragment, quota_fragment
from mailusers_plugin.settings import Settings
from mailusers_plugin.settings_checks import QUOTA_CLONE

FOLDER: Final = Path("/etc/dovecot")
QUEUE: Final = Path("/var/spool/postfix")
_COLUMNS: Final = {"users": ("email", "password", "quota")}
_CLONE_RIGHTS: Final = ("SELECT, INSERT, UPDATE ON mailusers_quota",)
_DRIVERS: Final = {SQLITE: "sqlite", POSTGRESQL: "pgsql", MARIADB: "mysql"}
_PACKAGES: Final = {SQLITE: "dovecot-sqlite", POSTGRESQL: "dovecot-pgsql", MARIADB: "dovecot-mysql"}
_RULES: Final = {MARIADB: "CONCAT('*:bytes=', quota)"}

_MAIN: Final = """\
# The users of a mailusers box. Needs the packages dovecot-imapd, dovecot-lmtpd and {package}.
# In conf.d/10-auth.conf put a # in front of "!include auth-system.conf.ext": else the system's users are let in too.
mail_location = maildir:{storage}/mail/mailboxes/%d/%n
mail_privileged_group = mail
# Mail belongs to the user mail, whose number is below Dovecot's usual 500.
first_valid_uid = 1
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf.ext
}}
userdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf.ext
}}
# Here Postfix hands over mail (virtual_transport) ...
service lmtp {{
  unix_listener {queue}/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
# ... and asks whether a mailbox is full (check_policy_service) ...
service quota-status {{
  executable = quota-status -p postfix
  client_limit = 1
  unix_listener {queue}/private/quota-status {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
plugin {{
  quota_grace = 10%%
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = "522 5.2.2 Mailbox is full"
}}
# ... and who sends (smtpd_sasl_path).
service auth {{
  unix_listener {queue}/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
"""
_SQL: Final = """\
# Holds {secret}. For root only: chown root:root {file}; chmod 600 {file}
driver = {driver}
connect = {connect}
# Of hashes without a prefix in braces.
default_pass_scheme = SHA512-CRYPT
password_query = SELECT email AS user, password FROM users WHERE email = '%u'
user_query = SELECT email AS user, 'mail' AS uid, 'mail' AS gid, '{storage}/mail/mailboxes/%d/%n' AS home, \
{rule} AS quota_rule FROM users WHERE email = '%u'
iterate_query = SELECT email AS user FROM users
"""


def dovecot_fragments(
    place: DatabasePlace,
    settings: Settings,
    *,
    folder: Path = FOLDER,
    queue: Path = QUEUE,
    password: str | None = None,
) -> list[Fragment]:
    """Return what Dovecot must be told.

    :param settings: say where the mail is and where sizes come from
    :param folder: Dovecot's configuration folder
    :param queue: Postfix's queue folder, in which both meet
    :param password: of the database user that Dovecot has for itself; ``None`` for a placeholder
    :raises ConfigurationError: if a name cannot stand in a configuration file
    """
    check_place(place, settings.storage_root)
    connect = connect_words(place, DOVECOT_ROLE, password)
    sql_file = folder / "dovecot-sql.conf.ext"
    values = {
        "storage": settings.storage_root,
        "folder": folder,
        "queue": queue,
        "package": _PACKAGES[place.engine],
        "driver": _DRIVERS[place.engine],
        "file": sql_file,
        "secret": "a database password" if place.engine != SQLITE else "no password",
        "connect": connect,
        "rule": _RULES.get(place.engine, "'*:bytes=' || quota"),
    }
    found = [
        Fragment(folder / "conf.d" / "90-mailusers.conf", _MAIN.format(**values)),
        *_quota_fragments(settings, connect, folder),
        Fragment(sql_file, _SQL.format(**values), mode=0o600),
    ]
    if place.engine != SQLITE:
        more = _CLONE_RIGHTS if settings.usage_source == QUOTA_CLONE else ()
        text = grants(place, DOVECOT_ROLE, _COLUMNS, password, more)
        found.append(Fragment(folder / "mailusers-dovecot.sql", text, mode=0o600))
    return found


def _quota_fragments(settings: Settings, connect: str, folder: Path) -> list[Fragment]:
    """Return how Dovecot counts, and tells us where the setting ``usage_source`` wants that."""
    dict_file = folder / "dovecot-dict-mailusers.conf.ext"
    quota = quota_fragment(settings, str(dict_file))
    found = [Fragment(folder / "conf.d" / "91-mailusers-quota.conf", quota)]
    text = quota_dict_fragment(settings, connect, str(dict_file))
    if text:
        # The process that reads it is that user's.
        owner = f"{settings.dovecot_user}:{settings.dovecot_user}"
        found.append(Fragment(dict_file, text, owner, 0o600))
    return found

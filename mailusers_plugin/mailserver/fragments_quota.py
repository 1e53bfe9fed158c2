"""What Dovecot 2.3 must be told so that we learn the sizes of mailboxes, by the setting ``usage_source``."""

from __future__ import annotations

from typing import Final

from mailusers_plugin.settings import Settings
from mailusers_plugin.settings_checks import DOVEADM_HTTP, QUOTA_CLONE

DICT_FILE: Final = "/etc/dovecot/dovecot-dict-mailusers.conf.ext"
_DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "pgsql", "mysql": "mysql", "mariadb": "mysql"}

_QUOTA: Final = """\
# Quotas, counted in the file maildirsize of each maildir. For the service quota-status, and for each
# protocol once more, since a protocol that named its plugins before does not hear of this line.
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins quota imap_quota
}
protocol pop3 {
  mail_plugins = $mail_plugins quota
}
protocol lmtp {
  mail_plugins = $mail_plugins quota
}
protocol lda {
  mail_plugins = $mail_plugins quota
}
protocol doveadm {
  mail_plugins = $mail_plugins quota
}
plugin {
  quota = maildir
}
"""
_CLONE: Final = """\
# Quotas, and their plugin quota_clone, which writes the size of a mailbox into the database whenever it has changed.
# The first line is for the service quota-status; a protocol that named its plugins before does not hear of it.
mail_plugins = $mail_plugins quota
protocol imap {{
  mail_plugins = $mail_plugins quota imap_quota quota_clone
}}
protocol pop3 {{
  mail_plugins = $mail_plugins quota quota_clone
}}
protocol lmtp {{
  mail_plugins = $mail_plugins quota quota_clone
}}
protocol lda {{
  mail_plugins = $mail_plugins quota quota_clone
}}
protocol doveadm {{
  mail_plugins = $mail_plugins quota quota_clone
}}
plugin {{
  quota = maildir
  quota_clone_dict = proxy::mailusers_quota
}}
dict {{
  mailusers_quota = {driver}:{dict_file}
}}
# One process writes, on behalf of all that work with mail. It must run as the owner of the file on SQLite.
service dict {{
  user = {user}
  unix_listener dict {{
    mode = 0660
    group = mail
  }}
}}
"""
_HTTP: Final = """\
# doveadm's HTTP API. Whoever has the key may do with the mail whatever doveadm can: no port for the internet.
# Put  doveadm_api_key = A LONG RANDOM VALUE  into the file below, mode 0600, and the value alone into the file that
# doveadm_http_key_file names on the panel's machine.
!include_try /etc/dovecot/doveadm-api-key.conf
service doveadm {{
  inet_listener http {{
    port = {port}
    ssl = {ssl}
  }}
}}
"""
_DICT: Final = """\
# For Dovecot's user {user} only: chown {user} {file}; chmod 600 {file}
{connect}
map {{
  pattern = priv/quota/storage
  table = mailusers_quota
  username_field = email
  value_field = box_bytes
  value_type = uint
}}
map {{
  pattern = priv/quota/messages
  table = mailusers_quota
  username_field = email
  value_field = messages
  value_type = uint
}}
"""
_GRANTS: Final = """\
# Its database user needs no more than:
# GRANT SELECT, INSERT, UPDATE ON mailusers_quota TO ...;
connect = {connect}"""


def quota_fragment(settings: Settings, dict_file: str = DICT_FILE) -> str:
    """Return what belongs into Dovecot's configuration, behind its other files.

    :param settings: say which source of sizes it is for
    :param dict_file: where :func:`quota_dict_fragment` is put
    """
    if settings.usage_source == QUOTA_CLONE:
        return _CLONE.format(driver=_driver(settings), dict_file=dict_file, user=settings.dovecot_user)
    if settings.usage_source == DOVEADM_HTTP:
        scheme, _, place = settings.doveadm_http_url.partition("://")
        port = place.partition("/")[0].rpartition(":")[2]
        return _QUOTA + _HTTP.format(port=port, ssl="yes" if scheme == "https" else "no")
    return _QUOTA


def quota_dict_fragment(settings: Settings, connect: str, dict_file: str = DICT_FILE) -> str:
    """Return the content of the file that tells Dovecot's dict where to write sizes; empty where it writes none.

    :param connect: the database as Dovecot's SQL drivers want it; not used on SQLite, where the file is known
    :param dict_file: where it is put
    """
    if settings.usage_source != QUOTA_CLONE:
        return ""
    sqlite = _driver(settings) == "sqlite"
    line = f"connect = {settings.usage_file}" if sqlite else _GRANTS.format(connect=connect)
    return _DICT.format(connect=line, user=settings.dovecot_user, file=dict_file)


def _driver(settings: Settings) -> str:
    return _DRIVERS.get(settings.database_url.partition(":")[0].partition("+")[0], "sqlite")

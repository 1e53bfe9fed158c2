"""The examples of the page's API section: commands that work as they stand, for this host and this reader."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from mailusers_plugin.settings import Settings
from mailusers_plugin.texts import N_

_PLAIN: Final = re.compile(r"[A-Za-z0-9@._+-]+", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Example:
    """One command.

    :ivar name: for tests and links
    :ivar title: what it does, to be translated
    :ivar command: as it is to be pasted
    :ivar note: what else there is to say, to be translated
    """

    name: str
    title: str
    command: str
    note: str = ""


def base_url(protocol: str, host: str, settings: Settings) -> str:
    """Return the address that the examples call.

    :param host: as the browser sent it; what is not a host name is not put into a command, and where ``public_url`` is
        set it does not count at all
    """
    place = settings.public_url or f"{protocol}://{host if _HOST.fullmatch(host) else 'localhost'}"
    return place + settings.prefix


def examples(url: str, caller: str | None, email: str, *, has_login: bool) -> list[Example]:
    """Return the examples, in an order in which they can be run one after the other.

    :param url: from :func:`base_url`
    :param caller: the reader's address
    :param email: of the user that is added, changed, archived and purged
    :param has_login: whether there is a ``/login`` for session keys
    """
    name = caller if caller and "@" in caller else "me@example.com"
    users = f"{url}/mail/users"
    get, post = (f"curl -X {verb} --user {_credentials(name, 'PASSWORD')} " for verb in ("GET", "POST"))

    def about(*more: str) -> str:
        return " ".join([f"-d {shlex.quote(f'email={email}')}", *more])

    confirmation = "-d " + shlex.quote(f"confirm={email}")
    found = [
        Example("list", N_("List the addresses of all active users"), get + shlex.quote(users)),
        Example(
            "list-json",
            N_("List everything as JSON"),
            get + shlex.quote(f"{users}?format=json"),
            N_("Grouped by domain, with sizes and quotas; archived users too."),
        ),
        Example(
            "add",
            N_("Add a user, or restore an archived one"),
            f"{post}{about('--data-urlencode', _variable('password', 'NEW_PASSWORD'), '-d quota=5G')} "
            + shlex.quote(f"{users}/add"),
            N_("Add -d privileges=admin for an administrator. Without a quota the default applies."),
        ),
        Example(
            "password",
            N_("Set a password"),
            f"{post}{about('--data-urlencode', _variable('password', 'NEW_PASSWORD'))} "
            + shlex.quote(f"{users}/password"),
        ),
        Example(
            "quota-get",
            N_("Ask for a quota"),
            f"{get}{about()} {shlex.quote(f'{users}/quota')}",
            N_("Answers with JSON; add -d text=1 for the bare quota."),
        ),
        Example(
            "quota-set", N_("Set a quota"), f"{post}{about('-d quota=10G')} {shlex.quote(f'{users}/quota')}"
        ),
        Example(
            "privileges-add",
            N_("Make an administrator"),
            f"{post}{about('-d privilege=admin')} {shlex.quote(f'{users}/privileges/add')}",
        ),
        Example(
            "privileges-get",
            N_("List privileges"),
            get + shlex.quote(f"{users}/privileges?email={email}"),
        ),
        Example(
            "privileges-remove",
            N_("Make an administrator a normal user"),
            f"{post}{about()} {shlex.quote(f'{users}/privileges/remove')}",
        ),
        Example(
            "archive",
            N_("Archive a user, and wait until the mail server knows"),
            f"{post}-H 'Prefer: wait=5' {about()} {shlex.quote(f'{users}/remove')}",
            N_(
                "The mailbox is kept. With Prefer: wait=5 any change answers after its hooks have run, or after five "
                "seconds."
            ),
        ),
        Example(
            "purge",
            N_("Delete an archived mailbox for good"),
            f"{post}{about(confirmation)} {shlex.quote(f'{users}/purge')}",
            N_("There is no way back."),
        ),
    ]
    if has_login:
        found += _session_examples(url, name, post)
    return found


def _session_examples(url: str, name: str, post: str) -> list[Example]:
    key = f"--user {_credentials(name, 'SESSION_KEY')}"
    return [
        Example("login", N_("Get a session key for your password"), post + shlex.quote(f"{url}/login")),
        Example(
            "session-key",
            N_("Keep the session key in a variable"),
            f"SESSION_KEY=$({post.replace('curl', 'curl --silent', 1)}{shlex.quote(f'{url}/login')}"
            """ | sed -n 's/.*"api_key":"\\([^"]*\\)".*/\\1/p')""",
        ),
        Example(
            "session-list",
            N_("Use the session key in place of the password"),
            f"curl -X GET {key} {shlex.quote(f'{url}/mail/users')}",
        ),
        Example("logout", N_("End the session"), f"curl -X POST {key} {shlex.quote(f'{url}/logout')}"),
    ]


def _variable(name: str, variable: str) -> str:
    return f'"{name}=${variable}"'


def _credentials(name: str, variable: str) -> str:
    # Inside double quotes a shell would read some characters as its own.
    return f'"{name}:${variable}"' if _PLAIN.fullmatch(name) else f'{shlex.quote(name)}:"${variable}"'

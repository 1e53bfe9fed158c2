"""What the page says after an action. The address says what was done; the box, whether that is so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mailusers_plugin import validation
from mailusers_plugin.models import ADMIN, Entry
from mailusers_plugin.texts import N_

_PLAUSIBLE: Final = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")


@dataclass(frozen=True, slots=True)
class Done:
    """A thing that can be done.

    :ivar text: what is said then, to be translated; with ``%(email)s``
    :ivar is_so: tells whether the box looks like it
    """

    text: str
    is_so: Callable[[Entry | None], bool]


def _active(entry: Entry | None) -> bool:
    return entry is not None and entry.active


def _archived(entry: Entry | None) -> bool:
    return entry is not None and not entry.active


def _administrator(entry: Entry | None) -> bool:
    return entry is not None and entry.active and ADMIN in entry.privileges


def _normal(entry: Entry | None) -> bool:
    return entry is not None and entry.active and ADMIN not in entry.privileges


def _gone(entry: Entry | None) -> bool:
    return entry is None


MESSAGES: Final[Mapping[str, Done]] = {
    "added": Done(N_("%(email)s was added."), _active),
    "quota": Done(N_("The quota of %(email)s is now %(quota)s."), _active),
    "password": Done(N_("The password of %(email)s was set."), _active),
    "made-admin": Done(N_("%(email)s is now an administrator."), _administrator),
    "removed-admin": Done(N_("%(email)s is now a normal user."), _normal),
    "archived": Done(N_("%(email)s was archived. The mailbox is kept."), _archived),
    "undone": Done(N_("%(email)s is active again, with the old password."), _active),
    "restored": Done(N_("%(email)s was restored, with its old mailbox."), _active),
    "purged": Done(N_("The mailbox of %(email)s was deleted for good."), _gone),
}
"""By the code that stands in the address."""


def done_message(code: str, email: str, entry: Entry | None) -> str:
    """Return what to say, to be translated; empty where that cannot be true, for anybody can make a link.

    :param code: one of :data:`MESSAGES`
    :param email: of the user that it was done to
    :param entry: its line as it is now
    """
    done = MESSAGES.get(code)
    # An address that is in the box is one, whatever another program let it look like.
    could_be = entry is not None or (
        len(email) <= validation.MAX_EMAIL_LENGTH and _PLAUSIBLE.fullmatch(email) is not None
    )
    return done.text if done is not None and could_be and done.is_so(entry) else ""

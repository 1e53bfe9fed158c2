"""The tag of a list (``ETag``): as long as it is the same, so is the list.

It is weak, since a host may compress what we send (RFC 9110, section 8.8.1). Where another program has changed the
accounts and that is not in the list yet, there is no tag, and nothing is said to be unchanged.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from mailusers_plugin._version import __version__
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.models import ListState

REVALIDATED: Final = "private, no-cache"
"""The reader may keep the list, but asks each time whether it is still true."""


class TaggedList(BaseHandler):
    """For handlers that answer with a list of the directory."""

    def tag(self, state: ListState, *of_what: Any) -> None:
        """Set the tag of a list.

        :param of_what: what else the answer depends on
        """
        made_of = repr((__version__, str(self.dependencies.settings.mailboxes), of_what))
        kind = blake2b(made_of.encode(), digest_size=6).hexdigest()
        self.set_header("ETag", f'W/"{state.epoch}-{state.newest}-{state.silent}-{kind}"')
        self.set_header("Cache-Control", REVALIDATED)

    def is_unchanged(self) -> bool:
        """Answer ``304 Not Modified`` where the reader has what is tagged, and say whether that was so."""
        if not self.check_etag_header():
            return False
        self.set_status(304)
        self.finish()
        return True

"""Mail users for admin panels that run on Tornado: the Users page, its HTTP API, and hooks."""

from mailusers_plugin import events
from mailusers_plugin._version import __version__
from mailusers_plugin.hooks import hookimpl
from mailusers_plugin.host import Host, Identity
from mailusers_plugin.plugin import MailUsers, mount

__all__ = ["Host", "Identity", "MailUsers", "__version__", "events", "hookimpl", "mount"]

"""Mail users for admin panels that run on Tornado: the Users page, its HTTP API, and hooks."""

from mailusers_plugin import events
from mailusers_plugin.hooks import hookimpl
from mailusers_plugin.host import Host, Identity
from mailusers_plugin.plugin import MailUsers, mount

__version__ = "0.1.0"

__all__ = ["Host", "Identity", "MailUsers", "__version__", "events", "hookimpl", "mount"]

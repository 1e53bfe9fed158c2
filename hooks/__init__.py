"""The markers with which modules take part: ``from mailusers_plugin import hookimpl``."""

from __future__ import annotations

import pluggy

PROJECT = "mailusers"
"""Name of the plugin manager and of the entry-point group through which modules are found."""
HOST_PROJECT = "adminpanel"
"""The same for a host panel that uses pluggy itself."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
host_hookspec = pluggy.HookspecMarker(HOST_PROJECT)
host_hookimpl = pluggy.HookimplMarker(HOST_PROJECT)

__all__ = ["HOST_PROJECT", "PROJECT", "hookimpl", "hookspec", "host_hookimpl", "host_hookspec"]

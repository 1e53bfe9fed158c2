"""The hooks of a host panel that uses pluggy itself: how this plugin enters it by being installed.

The panel makes ``pluggy.PluginManager("adminpanel")``, adds these specifications (or its own of the same names),
loads the entry-point group ``adminpanel``, and calls the hooks while it builds its application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mailusers_plugin.hooks import host_hookspec

if TYPE_CHECKING:
    from tornado.web import Application


@host_hookspec
def adminpanel_register_handlers(app: Application, host: Any, settings: Mapping[str, Any]) -> Any:
    """Add the module's routes to the panel.

    :param app: the panel's application
    :param host: the panel's :class:`mailusers_plugin.Host`, ``None`` for the plugin's own
    :param settings: keyword arguments for :func:`mailusers_plugin.mount`
    :returns: a handle that has ``async start()`` and ``async stop()``
    """


@host_hookspec
def adminpanel_navigation(app: Application) -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return an entry for the panel's navigation.

    :param app: the panel's application
    :returns: ``label``, ``url`` and ``permission``
    """

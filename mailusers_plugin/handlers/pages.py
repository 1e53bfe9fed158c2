"""The Users page and its forms."""

from __future__ import annotations

from mailusers_plugin.handlers.base import READ, requires
from mailusers_plugin.handlers.page_base import PageHandler


class UsersPage(PageHandler):
    """The page."""

    @requires(READ)
    async def get(self) -> None:
        """Show it."""
        self.render_page("users.html", domains=await self.dependencies.listing.domains())

    head = get


ROUTES = [("/users", UsersPage)]

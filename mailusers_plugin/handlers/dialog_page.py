"""What the forms share that are a page of their own without scripts and a dialog on the Users page with them."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.handlers.list_state import ListState
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.models import Entry

DIALOGS: Final = "#mu-dialogs"
"""Where a dialog is put on the page."""
_MAX_QUERY: Final = 2000
"""Characters of typed values that are kept in an address while somebody logs in."""


class DialogPage(PageHandler):
    """Base of those forms."""

    fields: ClassVar[tuple[str, ...]] = ()
    """What was typed and may be shown again; never a password."""

    @property
    def back(self) -> str:
        """The query string of the list that the reader came from."""
        return ListState.of_query(self.parameters.text("back")).query_string()

    def back_url(self, **more: str) -> str:
        """Return the address of the list as the reader left it.

        :param more: what else the page is to know
        """
        query = ListState.of_query(self.parameters.text("back")).query_string(more)
        return self.users_url() + (f"?{query}" if query else "")

    def here(self) -> str:
        """Return the address of this form with what was typed, so that it is there again after logging in."""
        if self.request.method in ("GET", "HEAD"):
            return super().here()
        try:
            typed = {name: self.parameters.text(name) for name in ("email", *self.fields, "back")}
        except MailUsersError:
            return self.users_url()
        query = urlencode({name: value for name, value in typed.items() if value})
        return self.request.path + (f"?{query}" if query and len(query) <= _MAX_QUERY else "")

    def render_form(self, template: str, **values: Any) -> None:
        """Show a form, as a dialog where a script asks for it.

        :param template: its name below ``mailusers/``; it extends ``layout``
        """
        partial = self.is_partial
        if partial:
            self.aim(DIALOGS)
        self.render_page(
            template,
            layout="mailusers/_dialog.html" if partial else "mailusers/_action.html",
            # The dialog stands on a page that has fields of the same names.
            at="mu-d-" if partial else "mu-",
            in_dialog=partial,
            back=self.back,
            back_url=self.back_url(),
            **values,
        )

    def aim(self, target: str, swap: str = "innerHTML") -> None:
        """Say where on the page a part is to go.

        A script puts nothing on the page from an error that does not say so: it may be a proxy's.
        """
        self.set_header("HX-Retarget", target)
        # htmx would give a new element the old one's attributes for a moment, an open dialog's too.
        self.set_header("HX-Reswap", f"{swap} settle:0 show:none")

    def tell_page(self, **changes: Any) -> None:
        """Let the page know of a change, or that its list is out of date, by events on its body.

        :param changes: by the event's name behind ``mailusers:``
        """
        events = {f"mailusers:{name}": {**detail, "target": "body"} for name, detail in changes.items()}
        self.set_header("HX-Trigger", json.dumps(events))

    async def answer_done(self, done: str, email: str) -> None:
        """Say what was done: on the page that the form leads back to, or in its live region."""
        if not self.is_partial:
            self.redirect(self.back_url(done=done, email=email), status=303)
            return
        self.tell_page(changed={"email": email})
        self.render_done(
            self.done_text(done, email, await self.entry(email)), email, can_undo=done == "archived"
        )

    def render_done(self, message: str, email: str = "", *, can_undo: bool = False) -> None:
        """Close the dialog and say something in the page's live region.

        :param can_undo: whether the user was archived and undoing is to be offered
        """
        self.aim(DIALOGS)
        undo = can_undo and self.dependencies.settings.undo_minutes > 0
        self.render_page("_done.html", message=message, email=email, undo=undo, back=self.back)

    async def entry(self, email: str) -> Entry | None:
        """Return a user as the list shows it."""
        return (await self.dependencies.directory.entries([email])).get(email)

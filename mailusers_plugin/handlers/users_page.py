"""The Users page: the list, the form to add a user, the API."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mailusers_plugin import validation
from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.handlers import list_view
from mailusers_plugin.handlers.add_page import empty_form
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.list_state import ListState
from mailusers_plugin.handlers.list_view import MAX_DOMAINS, ListView
from mailusers_plugin.handlers.mail_settings import mail_settings
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.page_examples import base_url, examples
from mailusers_plugin.handlers.page_request import BUILDING_SECONDS, CATCH_UP_SECONDS
from mailusers_plugin.handlers.page_rows import Row, row_of
from mailusers_plugin.models import Counts, Entry, EntryPage, Selection
from mailusers_plugin.permissions import ADMINISTER, PURGE, QUOTA, READ, WRITE
from mailusers_plugin.validation import split_address

_EXAMPLES_TRIED: Final = 10
_OLD_INTERVALS: Final = 2
"""A size that was seen longer ago than so many intervals is read out of turn when somebody looks at it."""


class UsersPage(PageHandler):
    """The page, and for a script its list alone."""

    @requires(READ)
    async def get(self) -> None:
        """Show it."""
        state = ListState.of(self.parameters.text)
        directory = self.dependencies.directory
        await directory.wait_until_built(BUILDING_SECONDS)
        changed = self.parameters.text("email")
        if self.is_partial:
            if changed:
                await directory.catch_up(CATCH_UP_SECONDS)
            values = await self._list_values(state, changed)
            self.set_header("HX-Push-Url", self.list_url(values["view"].state))
            await self.render_page_aside("_list.html", lambda: values)
            return
        await directory.catch_up(CATCH_UP_SECONDS)
        # Before the list is read, so that nothing is lost between the two.
        newest = await directory.newest()
        done = await self._done(changed)
        code = self.parameters.text("done")
        values = {
            **await self._list_values(state, changed if done else ""),
            **await self._page_values(),
            "live_after": newest,
            "message": done,
            "email": changed,
            "undo": bool(done)
            and code == "archived"
            and await self.may(WRITE)
            and await self._can_undo(changed),
            "added": changed if done and code in ("added", "restored") else "",
            "mail": await mail_settings(self.dependencies.settings),
        }
        await self.render_page_aside("users.html", lambda: values)

    head = get

    def list_url(self, state: ListState) -> str:
        """Return the address of the list in a state."""
        query = state.query_string()
        return f"{self.users_url()}?{query}" if query else self.users_url()

    async def _list_values(self, state: ListState, changed: str) -> dict[str, Any]:
        """Return what the list's template shows.

        :param changed: address of the user that something was done to
        """
        view = await self._view(state)
        is_shown = changed in {row.email for row in view.rows}
        # Who was deleted for good is nowhere.
        is_elsewhere = changed and not is_shown and await self.dependencies.directory.entries([changed])
        return {
            "view": view,
            "changed": changed,
            "elsewhere": state.searching(changed) if is_elsewhere else None,
            "list_url": self.list_url,
            "back": view.state.query_string(),
            "may_write": await self.may(WRITE),
            "may_quota": await self.may(QUOTA),
            "may_administer": await self.may(ADMINISTER),
            "may_purge": await self.may(PURGE),
        }

    async def _view(self, state: ListState) -> ListView:
        directory = self.dependencies.directory
        limit = state.limit or self.dependencies.settings.page_size
        state, page, found = await self._entries(state, limit)
        everybody = await directory.count(Selection())
        rows = await self._rows(page)
        shown = {split_address(row.email)[1] for row in rows}
        return ListView(
            state=state,
            everybody=everybody,
            found=found,
            domains=list_view.domain_choice(await directory.domains("", MAX_DOMAINS + 1), state.domain),
            columns=list_view.columns(state),
            groups=list_view.groups(
                state, rows, await directory.domain_counts(shown) if state.grouped else {}
            ),
            previous=None if page.previous is None else state.placed(page.previous),
            next=None if page.next is None else state.placed(page.next),
            limit=limit,
            limits=list_view.limits(state, self.dependencies.settings.page_size),
        )

    async def _entries(self, state: ListState, limit: int) -> tuple[ListState, EntryPage, Counts]:
        """Return a page, and how many users match.

        It is the first one where the place is not known any more, or has come to be the first.
        """
        directory = self.dependencies.directory
        if state.at:
            try:
                found = await directory.page_and_count(state.selection(), state.sort, state.at, limit)
            except InvalidInputError:
                pass
            else:
                if found[0].entries and found[0].previous is not None:
                    return state, *found
            state = replace(state, at="")
        return state, *await directory.page_and_count(state.selection(), state.sort, "", limit)

    async def _rows(self, page: EntryPage) -> list[Row]:
        administrators = await self.dependencies.directory.administrators()
        sizes_read_at = await self.dependencies.usage.read_at()
        now = datetime.now(UTC)

        def row(entry: Entry) -> Row:
            local_part, domain = split_address(entry.email)
            return row_of(
                entry,
                reader=self.caller.name,
                administrators=administrators,
                mailbox=str(self.dependencies.settings.mailboxes / domain / local_part),
                sizes_read_at=sizes_read_at,
                now=now,
            )

        rows = [row(entry) for entry in page.entries]
        # Where there are so many mailboxes that a pass takes long, those that somebody looks at come first.
        old = now - timedelta(seconds=_OLD_INTERVALS * self.dependencies.settings.usage_interval_seconds)
        self.dependencies.usage.want(
            row.email
            for row in rows
            if not row.archived and (row.measured_at is None or row.measured_at < old)
        )
        return rows

    async def _done(self, email: str) -> str:
        """Return what was done, in words, where that can be so."""
        code = self.parameters.text("done")
        found = await self.dependencies.directory.entries([email]) if code and email else {}
        return self.done_text(code, email, found.get(email))

    async def _can_undo(self, email: str) -> bool:
        """Tell whether archiving a user can be taken back."""
        entry = (await self.dependencies.directory.entries([email])).get(email)
        return entry is not None and entry.undo_until is not None and entry.undo_until > datetime.now(UTC)

    async def _page_values(self) -> dict[str, Any]:
        """Return what the page shows beside the list."""
        reader = self.caller.name
        url = base_url(self.request.protocol, self.request.host, self.dependencies.settings)
        has_login = self.dependencies.has_own_login
        return {
            "examples": examples(url, reader, await self._example_address(), has_login=has_login),
            "example_url": url,
            "has_login": has_login,
            "at": "mu-",
            "in_dialog": False,
            **empty_form(self.service.default_quota),
        }

    async def _example_address(self) -> str:
        """Return an address that is free and could be added, for the examples."""
        directory = self.dependencies.directory
        for domain, counts in await directory.domains("", MAX_DOMAINS + 1):
            numbers = ("", *range(2, _EXAMPLES_TRIED))
            candidates = [f"new_user{number}@{domain}" for number in numbers] if counts.active else []
            taken = await directory.entries(candidates) if candidates else {}
            for email in candidates:
                if email not in taken and _could_be_added(email):
                    return email
        return "new_user@example.com"


def _could_be_added(email: str) -> bool:
    try:
        validation.check_new_address(email)
    except InvalidInputError:
        return False
    return True


class DomainSuggestions(PageHandler):
    """Domains that go with what was typed so far, for the filter of a box with very many."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with options."""
        typed = validation.stored_domain(self.parameters.text("domain").strip()[:255])
        found = await self.dependencies.directory.domains(typed, MAX_DOMAINS)
        names = [(name, validation.display_domain(name)) for name, _ in found]
        self.render_partial("_domains.html", names=names)

    head = get


ROUTES = [("/users", UsersPage), ("/users/domains", DomainSuggestions)]

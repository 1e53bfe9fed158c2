"""The HTTP API at ``{prefix}/mail/users``, as Mail-in-a-Box's clients speak it."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator
from contextlib import suppress

from mailusers_plugin.errors import MailUsersError, UnknownUserError
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.conditions import if_match
from mailusers_plugin.handlers.list_tag import TaggedList
from mailusers_plugin.handlers.once import OnceHandler, repeatable
from mailusers_plugin.handlers.page_examples import base_url
from mailusers_plugin.handlers.page_request import (
    BUILDING_SECONDS,
    CATCH_UP_SECONDS,
    LIST_CATCH_UP_SECONDS,
    PAGING,
    PageRequest,
)
from mailusers_plugin.handlers.sending import Sending
from mailusers_plugin.models import ADMIN, Account
from mailusers_plugin.permissions import ADMINISTER, PURGE, QUOTA, READ, WRITE
from mailusers_plugin.settings_browser import API
from mailusers_plugin.user_versions import as_tag, of_account
from mailusers_plugin.validation import display_quota


class APIHandler(OnceHandler):
    """Base of the API's handlers."""

    def wanted_versions(self) -> tuple[str, ...] | None:
        """Return those that ``If-Match`` names."""
        return if_match(self.request.headers.get("If-Match"))

    def tag_version(self, account: Account) -> None:
        """Say at which version a user is, for ``If-Match``."""
        self.set_header("ETag", as_tag(of_account(account)))


class OneUserAPI(APIHandler):
    """Base of what reads a single user."""

    _sought: Future[Account | None] | None = None

    def look_ahead(self) -> None:
        """Begin to look for the user; what is wrong with the request is said once it is known who sends it."""
        if self.request.method in ("GET", "HEAD"):
            with suppress(MailUsersError):
                self._sought = self.service.seek(self.parameters.email())
                # Where the caller is refused nobody asks for it.
                self._sought.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def account(self) -> Account:
        """Return the user that the request names.

        :raises UnknownUserError: if there is no such user
        """
        email = self.parameters.email()
        account = await (self._sought or self.service.seek(email))
        if account is None:
            raise UnknownUserError(email)
        return account


class UserListAPI(APIHandler, TaggedList, Sending):
    """All users."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with one address a line, or with everything or a page of it as JSON."""
        as_json = self.parameters.get("format") == "json"
        if as_json and PAGING & self.parameters.names():
            await self.answer_page()
            return
        directory = self.dependencies.directory
        # Longer than for a page: who asks for everything wants to have everything.
        state = await directory.settled_state(BUILDING_SECONDS, LIST_CATCH_UP_SECONDS)
        if state is not None:
            self.tag(state, as_json)
            if self.is_unchanged():
                return
        if as_json:
            self.set_header("Content-Type", "application/json")
        if self.request.method == "HEAD":
            # How long it is nobody knows; Tornado would say that it is empty.
            await self.flush()
            return
        await self.send(self.parts(as_json=as_json, tagged=state is not None))

    head = get

    async def parts(self, *, as_json: bool, tagged: bool) -> AsyncIterator[bytes]:
        """Yield the whole list, all of it as it is at one moment.

        :param as_json: one address a line otherwise
        :param tagged: whether to set the tag of that moment
        """
        async with self.dependencies.listing.everything(as_json=as_json) as (state, parts):
            if tagged and state is not None:
                self.tag(state, as_json)
            async for part in parts:
                yield part

    async def answer_page(self) -> None:
        """Answer with one page; the next one is named in ``Link`` (RFC 8288), the count in ``X-Total-Count``."""
        asked = PageRequest.of(self.parameters)
        directory = self.dependencies.directory
        # Before the page is read: of what changes in between the page may be ahead of its tag, never behind.
        state = await directory.settled_state(BUILDING_SECONDS, CATCH_UP_SECONDS)
        url = base_url(self.request.protocol, self.request.host, self.dependencies.settings)
        if state is not None:
            # The address of the next page is a part of the answer.
            self.tag(state, asked, url)
            if self.is_unchanged():
                return
        page, counts = await directory.page_of_lines(asked.selection, asked.sort, asked.cursor, asked.limit)
        self.set_header("X-Total-Count", str(counts.active + counts.archived))
        if page.next is not None:
            self.set_header("Link", f'<{url}/mail/users?{asked.query(page.next)}>; rel="next"')
        self.set_header("Content-Type", "application/json")
        self.finish(self.dependencies.listing.page(page))


class UserAddAPI(APIHandler):
    """Add a user, or restore an archived one."""

    @requires(WRITE)
    @repeatable
    async def post(self) -> None:
        """Add."""
        given = self.parameters
        email = given.email()
        change = await self.made_once(
            email,
            lambda actor: self.service.add(
                actor,
                email,
                given.text("password"),
                given.privileges() or (),
                given.get("quota"),
                place=API,
            ),
        )
        await self.wait_if_preferred(change)
        self.answer_text("mail user added\n")


class UserRemoveAPI(APIHandler):
    """Archive a user."""

    @requires(WRITE)
    @repeatable
    async def post(self) -> None:
        """Archive."""
        email = self.parameters.email()
        change = await self.made_once(email, lambda actor: self.service.archive(actor, email))
        await self.wait_if_preferred(change)
        self.answer_text("mail user removed\n")


class UserPurgeAPI(APIHandler):
    """Delete an archived mailbox for good."""

    @requires(PURGE)
    @repeatable
    async def post(self) -> None:
        """Delete."""
        given = self.parameters
        email, confirm = given.email(), given.email("confirm")
        change = await self.made_once(email, lambda actor: self.service.purge(actor, email, confirm))
        await self.wait_if_preferred(change)
        self.answer_text("mail user purged\n")


class UserPasswordAPI(APIHandler):
    """A user's password."""

    @requires(WRITE)
    @repeatable
    async def post(self) -> None:
        """Set it."""
        given = self.parameters
        email, password = given.email(), given.text("password")
        change = await self.made_once(
            email, lambda actor: self.service.set_password(actor, email, password, place=API)
        )
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserPrivilegesAPI(OneUserAPI):
    """A user's privileges."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with one a line."""
        account = await self.account()
        self.tag_version(account)
        self.answer_text("\n".join(account.privileges))

    head = get


class UserPrivilegesAddAPI(APIHandler):
    """Give privileges."""

    @requires(ADMINISTER)
    @repeatable
    async def post(self) -> None:
        """Add."""
        given = self.parameters
        wanted = given.privileges() or [given.text("privilege")]
        email = given.email()
        change = await self.made_once(email, lambda actor: self.service.add_privileges(actor, email, wanted))
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserPrivilegesRemoveAPI(APIHandler):
    """Take privileges away."""

    @requires(ADMINISTER)
    @repeatable
    async def post(self) -> None:
        """Remove; ``admin`` where none is named."""
        given = self.parameters
        unwanted = given.privileges() or [ADMIN]
        email = given.email()
        change = await self.made_once(
            email, lambda actor: self.service.remove_privileges(actor, email, unwanted)
        )
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserQuotaAPI(OneUserAPI):
    """A user's quota."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with it, as JSON or bare."""
        account = await self.account()
        quota = display_quota(account.quota)
        self.tag_version(account)
        if self.parameters.get("text"):
            self.answer_text(quota)
        else:
            self.answer_json({"email": account.email, "quota": quota})

    head = get

    @requires(QUOTA)
    @repeatable
    async def post(self) -> None:
        """Set it."""
        given = self.parameters
        email, quota = given.email(), given.text("quota")
        change = await self.made_once(email, lambda actor: self.service.set_quota(actor, email, quota))
        await self.wait_if_preferred(change)
        self.answer_text("OK")


ROUTES = [
    ("/mail/users", UserListAPI),
    ("/mail/users/add", UserAddAPI),
    ("/mail/users/remove", UserRemoveAPI),
    ("/mail/users/purge", UserPurgeAPI),
    ("/mail/users/password", UserPasswordAPI),
    ("/mail/users/privileges", UserPrivilegesAPI),
    ("/mail/users/privileges/add", UserPrivilegesAddAPI),
    ("/mail/users/privileges/remove", UserPrivilegesRemoveAPI),
    ("/mail/users/quota", UserQuotaAPI),
]

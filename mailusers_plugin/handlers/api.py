"""The HTTP API at ``{prefix}/mail/users``, as Mail-in-a-Box's clients speak it."""

from __future__ import annotations

from tornado.iostream import StreamClosedError

from mailusers_plugin.auth.basic import HEADER_INVALID
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.handlers.base import PURGE, READ, WRITE, BaseHandler, requires
from mailusers_plugin.models import ADMIN, Actor
from mailusers_plugin.validation import display_quota


class APIHandler(BaseHandler):
    """Base of the API's handlers."""

    @property
    def actor(self) -> Actor:
        """The caller, who is known once the verb runs."""
        if self.identity is None:
            raise LoginRefusedError(HEADER_INVALID)
        return self.identity.actor


class UserListAPI(APIHandler):
    """All users."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with one address a line, or with everything as JSON."""
        if self.parameters.get("format") != "json":
            self.answer_text("".join(f"{email}\n" for email in await self.service.addresses()))
            return
        pieces = await self.dependencies.listing.json()
        self.set_header("Content-Type", "application/json")
        try:
            for piece in pieces:
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return
        self.finish()

    head = get


class UserAddAPI(APIHandler):
    """Add a user, or restore an archived one."""

    @requires(WRITE)
    async def post(self) -> None:
        """Add."""
        given = self.parameters
        change = await self.service.add(
            self.actor,
            given.email(),
            given.text("password"),
            given.privileges() or (),
            given.get("quota"),
        )
        await self.wait_if_preferred(change)
        self.answer_text("mail user added\n")


class UserRemoveAPI(APIHandler):
    """Archive a user."""

    @requires(WRITE)
    async def post(self) -> None:
        """Archive."""
        change = await self.service.archive(self.actor, self.parameters.email())
        await self.wait_if_preferred(change)
        self.answer_text("mail user removed\n")


class UserPurgeAPI(APIHandler):
    """Delete an archived mailbox for good."""

    @requires(PURGE)
    async def post(self) -> None:
        """Delete."""
        given = self.parameters
        change = await self.service.purge(self.actor, given.email(), given.email("confirm"))
        await self.wait_if_preferred(change)
        self.answer_text("mail user purged\n")


class UserPasswordAPI(APIHandler):
    """A user's password."""

    @requires(WRITE)
    async def post(self) -> None:
        """Set it."""
        given = self.parameters
        change = await self.service.set_password(self.actor, given.email(), given.text("password"))
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserPrivilegesAPI(APIHandler):
    """A user's privileges."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with one a line."""
        account = await self.service.account(self.parameters.email())
        self.answer_text("\n".join(account.privileges))

    head = get


class UserPrivilegesAddAPI(APIHandler):
    """Give privileges."""

    @requires(WRITE)
    async def post(self) -> None:
        """Add."""
        given = self.parameters
        wanted = given.privileges() or [given.text("privilege")]
        change = await self.service.add_privileges(self.actor, given.email(), wanted)
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserPrivilegesRemoveAPI(APIHandler):
    """Take privileges away."""

    @requires(WRITE)
    async def post(self) -> None:
        """Remove; ``admin`` where none is named."""
        given = self.parameters
        unwanted = given.privileges() or [ADMIN]
        change = await self.service.remove_privileges(self.actor, given.email(), unwanted)
        await self.wait_if_preferred(change)
        self.answer_text("OK")


class UserQuotaAPI(APIHandler):
    """A user's quota."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with it, as JSON or bare."""
        given = self.parameters
        account = await self.service.account(given.email())
        quota = display_quota(account.quota)
        if given.get("text"):
            self.answer_text(quota)
        else:
            self.answer_json({"email": account.email, "quota": quota})

    head = get

    @requires(WRITE)
    async def post(self) -> None:
        """Set it."""
        given = self.parameters
        change = await self.service.set_quota(self.actor, given.email(), given.text("quota"))
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

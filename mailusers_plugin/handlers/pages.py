"""The Users page and its forms: a GET asks, a POST does it and leads back to the page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from mailusers_plugin import validation
from mailusers_plugin.errors import (
    HTTP_STATUS,
    InvalidInputError,
    MailUsersError,
    NotArchivedError,
    UnavailableError,
    UnknownUserError,
    UserExistsError,
)
from mailusers_plugin.handlers.base import PURGE, READ, WRITE, requires
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.page_examples import base_url, examples
from mailusers_plugin.handlers.page_models import (
    Row,
    Wanted,
    active_row,
    archived_row,
    done_message,
    users_view,
)
from mailusers_plugin.models import ADMIN, Actor

Faults = Mapping[str, str]
"""What is wrong, by field; under ``""`` what belongs to no field."""


class UsersPage(PageHandler):
    """The page."""

    @requires(READ)
    async def get(self) -> None:
        """Show it."""
        reader = self.caller.name
        given = self.parameters
        number = given.text("page")
        wanted = Wanted(
            given.text("q").strip(),
            given.text("domain").strip(),
            int(number) if number.isdecimal() and len(number) < 8 else 1,
        )
        done, changed = given.text("done"), given.text("email")
        may = {permission: await self.may(permission) for permission in (WRITE, PURGE)}
        domains = await self.dependencies.listing.domains()
        url = base_url(self.request.protocol, self.request.host, self.dependencies.settings.prefix)
        has_login = self.dependencies.has_own_login

        def values() -> dict[str, Any]:
            view = users_view(domains, wanted, reader)
            message = done_message(done, changed, domains)
            return {
                "view": view,
                "message": message,
                "changed": changed if message else "",
                "may_write": may[WRITE],
                "may_purge": may[PURGE],
                "examples": examples(url, reader, view.example, has_login=has_login),
                "example_url": url,
                "has_login": has_login,
                "typed": {"email": "", "privilege": "", "quota": self.service.default_quota},
                "faults": {},
                "default_quota": self.service.default_quota,
            }

        await self.render_page_aside("users.html", values)

    head = get


class ActionPage(PageHandler):
    """Base of the actions: a form that asks, and what it does."""

    template: ClassVar[str]
    done: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()

    @requires(WRITE)
    async def get(self) -> None:
        """Ask."""
        await self.ask(self.parameters.email().strip(), {})

    head = get

    @requires(WRITE)
    async def post(self) -> None:
        """Do it, or ask again."""
        await self.act()

    async def act(self) -> None:
        """Do it and lead back to the page; where something is wrong, ask again."""
        email = self.parameters.text("email").strip()
        faults = self.check(email)
        status = 400
        if not faults:
            try:
                await self.perform(self.caller.actor, email)
            except MailUsersError as error:
                faults, status = {self.field_of(error): error.message}, HTTP_STATUS[error.code]
                if isinstance(error, UnavailableError):
                    self.set_header("Retry-After", str(error.retry_after_seconds))
        if faults:
            self.set_status(status)
            await self.ask(email, faults)
            return
        self.redirect(f"{self.users_url()}?{urlencode({'done': self.done, 'email': email})}", status=303)

    async def ask(self, email: str, faults: Faults) -> None:
        """Show the form, with what was typed but passwords.

        :raises MailUsersError: if there is no such user
        """
        row = await self.row(email)
        typed = {name: self.typed(name, row) for name in self.fields}
        self.render_page(
            self.template,
            row=row,
            email=email,
            faults=faults,
            typed=typed,
            default_quota=self.service.default_quota,
        )

    async def row(self, email: str) -> Row | None:
        """Return the user that it is about.

        :raises UnknownUserError: if there is none
        """
        validation.check_known_address(email)
        user = await self.dependencies.listing.user(email)
        if user is None:
            raise UnknownUserError(email)
        return active_row(user, self.caller.name, administrators=0)

    async def archived_row(self, email: str) -> Row:
        """Return an archived user.

        :raises NotArchivedError: if it is active, or nothing of it is kept
        """
        validation.check_known_address(email)
        user = await self.dependencies.listing.archived(email)
        if user is None:
            raise NotArchivedError
        return archived_row(user)

    def typed(self, name: str, row: Row | None) -> str:
        """Return what stands in a field: what was typed, at first what is likely."""
        given = self.parameters.get(name)
        if given is not None:
            return given
        if name == "quota":
            return row.raw_quota if row and row.raw_quota else self.service.default_quota
        return ""

    def check(self, email: str) -> Faults:
        """Return what is wrong with the fields by themselves, all at once."""
        return {}

    def field_of(self, error: MailUsersError) -> str:
        """Return the field that an error is about."""
        return self.fields[0] if self.fields and isinstance(error, InvalidInputError) else ""

    @abstractmethod
    async def perform(self, actor: Actor, email: str) -> None:
        """Do it."""


class AddPage(ActionPage):
    """Add a user."""

    template = "add.html"
    done = "added"
    fields = ("email", "privilege", "quota")

    async def row(self, email: str) -> Row | None:
        """Return nobody: the user is yet to be."""
        return None

    def check(self, email: str) -> Faults:
        """Check every field."""
        given = self.parameters
        rules: tuple[tuple[str, Callable[[str], str], str], ...] = (
            ("email", validation.check_new_address, email),
            ("password", validation.check_password, given.text("password")),
            ("quota", validation.check_quota, given.text("quota").strip() or self.service.default_quota),
        )
        faults = {}
        for name, rule, value in rules:
            try:
                rule(value)
            except InvalidInputError as error:
                faults[name] = error.message
        return faults

    def field_of(self, error: MailUsersError) -> str:
        """Tell apart what only the service knows: a reserved address, a password too long for the scheme."""
        if isinstance(error, (InvalidInputError, UserExistsError)):
            return "password" if error.message.startswith("Password") else "email"
        return ""

    async def perform(self, actor: Actor, email: str) -> None:
        """Add."""
        given = self.parameters
        quota = given.text("quota").strip() or None
        await self.service.add(actor, email, given.text("password"), given.privileges() or (), quota)


class RestorePage(AddPage):
    """Give an archived address an account again, with its old mailbox."""

    template = "restore.html"
    done = "restored"

    async def row(self, email: str) -> Row | None:
        """Return the archived user."""
        return await self.archived_row(email)

    async def perform(self, actor: Actor, email: str) -> None:
        """Add the user, if there is something to restore."""
        await self.archived_row(email)
        await super().perform(actor, email)


class QuotaPage(ActionPage):
    """Set a quota."""

    template = "quota.html"
    done = "quota"
    fields = ("quota",)

    async def perform(self, actor: Actor, email: str) -> None:
        """Set it."""
        await self.service.set_quota(actor, email, self.parameters.text("quota"))


class PasswordPage(ActionPage):
    """Set a password."""

    template = "password.html"
    done = "password"

    def field_of(self, error: MailUsersError) -> str:
        """Every rule here is about the password, which is never kept."""
        return "password" if isinstance(error, InvalidInputError) else ""

    async def perform(self, actor: Actor, email: str) -> None:
        """Set it."""
        await self.service.set_password(actor, email, self.parameters.text("password"))


class MakeAdminPage(ActionPage):
    """Make a user an administrator."""

    template = "make_admin.html"
    done = "made-admin"

    async def perform(self, actor: Actor, email: str) -> None:
        """Give the privilege."""
        await self.service.add_privileges(actor, email, (ADMIN,))


class RemoveAdminPage(ActionPage):
    """Make an administrator a normal user."""

    template = "remove_admin.html"
    done = "removed-admin"

    async def perform(self, actor: Actor, email: str) -> None:
        """Take the privilege away."""
        await self.service.remove_privileges(actor, email, (ADMIN,))


class ArchivePage(ActionPage):
    """Archive a user."""

    template = "archive.html"
    done = "archived"

    async def perform(self, actor: Actor, email: str) -> None:
        """Archive."""
        await self.service.archive(actor, email)


class PurgePage(ActionPage):
    """Delete an archived mailbox for good."""

    template = "purge.html"
    done = "purged"
    fields = ("confirm",)

    @requires(PURGE)
    async def get(self) -> None:
        """Ask."""
        await self.ask(self.parameters.email().strip(), {})

    head = get

    @requires(PURGE)
    async def post(self) -> None:
        """Delete, or ask again."""
        await self.act()

    async def row(self, email: str) -> Row | None:
        """Return the archived user."""
        return await self.archived_row(email)

    def check(self, email: str) -> Faults:
        """Compare what was typed with the address."""
        if self.parameters.text("confirm").strip() == email:
            return {}
        return {"confirm": "This is not the address of the mailbox. Nothing was deleted."}

    async def perform(self, actor: Actor, email: str) -> None:
        """Delete."""
        await self.service.purge(actor, email, email)


ROUTES = [
    ("/users", UsersPage),
    ("/users/add", AddPage),
    ("/users/restore", RestorePage),
    ("/users/quota", QuotaPage),
    ("/users/password", PasswordPage),
    ("/users/make-admin", MakeAdminPage),
    ("/users/remove-admin", RemoveAdminPage),
    ("/users/archive", ArchivePage),
    ("/users/purge", PurgePage),
]

"""What can be done to a user from the page: a GET asks, a POST does it and leads back to the page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from mailusers_plugin import validation
from mailusers_plugin.errors import (
    HTTP_STATUS,
    ChangedError,
    InvalidInputError,
    MailUsersError,
    NotArchivedError,
    UndoOverError,
    UnknownUserError,
)
from mailusers_plugin.handlers import subject
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.fields import ALPHABET, quota_field, quota_text, suggest_password
from mailusers_plugin.handlers.form_once import FormOnce, new_form
from mailusers_plugin.handlers.subject import Subject
from mailusers_plugin.models import ADMIN, Actor
from mailusers_plugin.settings_browser import PAGE
from mailusers_plugin.user_versions import STATUS, of_account, of_archived

Faults = Mapping[str, str]
"""What is wrong, by field, in the reader's language; under ``""`` what belongs to no field."""


class ActionPage(FormOnce):
    """Base of the actions: a form that asks, and what it does."""

    template: ClassVar[str]
    done: ClassVar[str]
    is_about_password: ClassVar[bool] = False
    _shows_now = False
    """Whether the form shows the user as it is now, and not as it was when the form was opened."""

    @requires()
    async def get(self) -> None:
        """Ask."""
        await self.ask(self.parameters.text("email").strip(), {})

    head = get

    @requires()
    async def post(self) -> None:
        """Do it, or ask again."""
        await self.act()

    async def act(self) -> None:
        """Do it and lead back to the page; where something is wrong, ask again."""
        email = self.parameters.text("email").strip()
        if self.parameters.get("suggest") is not None:
            await self.ask(email, {}, password=suggest_password())
            return
        faults = self.check(email)
        status = 400
        if not faults:
            try:
                await self._perform_once(email)
            except ChangedError as error:
                if STATUS in error.what:
                    raise
                self._shows_now = True
                faults, status = {"": await self.conflict_text(email, error)}, HTTP_STATUS[error.code]
            except MailUsersError as error:
                faults, status = {self.field_of(error): self.error_text(error)}, HTTP_STATUS[error.code]
                self.say_when_to_retry(error)
        if faults:
            self.set_status(status)
            await self.ask(email, faults)
            return
        await self.answer_done(self.done, email)

    async def _perform_once(self, email: str) -> None:
        if not await self.begin():
            return
        done = False
        try:
            await self.perform(self.actor, email)
            done = True
        finally:
            await self.end(done=done)

    async def ask(self, email: str, faults: Faults, password: str = "") -> None:
        """Show the form, with what was typed but passwords.

        :param password: a suggested one, to be shown
        :raises MailUsersError: if there is no such user
        """
        self.render_form(self.template, **await self.values(email, faults, password))

    async def values(self, email: str, faults: Faults, password: str = "") -> dict[str, Any]:
        """Return what the form shows; parameters as of :meth:`ask`."""
        # Before what is shown: where somebody changes the user in between, sending the form is refused for nothing.
        version = await self.version(email)
        seen = self.parameters.get("version")
        found = await self.subject(email)
        return {
            "subject": found,
            "version": seen if seen and not self._shows_now else version,
            "sending": new_form(),
            "email": email,
            "faults": faults,
            "typed": {name: self.parameters.text(name) for name in self.fields},
            "quota": quota_field(self.parameters, found.quota if found else ""),
            "default_quota": self.service.default_quota,
            "suggested": password,
            "alphabet": ALPHABET,
        }

    async def subject(self, email: str) -> Subject | None:
        """Return the user that it is about.

        :raises UnknownUserError: if there is none
        """
        validation.check_known_address(email)
        user = await self.dependencies.listing.user(email)
        if user is None:
            raise UnknownUserError(email)
        administrators = 0
        if ADMIN in user.privileges:
            administrators = await self.dependencies.directory.administrators()
        return subject.of_user(user, self.caller.name, administrators)

    async def version(self, email: str) -> str:
        """Return at which version the user is, as far as the form is about it; empty where that does not matter.

        :raises UnknownUserError: if there is none
        """
        account = await self.service.account(email)
        return of_account(account, with_password=self.is_about_password)

    async def archived_version(self, email: str) -> str:
        """Return at which version an archived user is, empty where there is none."""
        user = await self.dependencies.listing.archived(email)
        return "" if user is None else of_archived(email, user.archived_at)

    async def archived_subject(self, email: str) -> Subject:
        """Return an archived user.

        :raises NotArchivedError: if it is active, or nothing of it is kept
        """
        validation.check_known_address(email)
        found = await subject.archived(self.dependencies.listing, email)
        if found is None:
            raise NotArchivedError
        return found

    def check(self, email: str) -> Faults:
        """Return what is wrong with the fields by themselves, all at once."""
        return {}

    def field_of(self, error: MailUsersError) -> str:
        """Return the field that an error is about."""
        return self.fields[0] if self.fields and isinstance(error, InvalidInputError) else ""

    @abstractmethod
    async def perform(self, actor: Actor, email: str) -> None:
        """Do it."""


class QuotaPage(ActionPage):
    """Set a quota."""

    template = "quota.html"
    done = "quota"
    fields = ("quota", "quota_number", "quota_unit")

    async def perform(self, actor: Actor, email: str) -> None:
        """Set it."""
        await self.service.set_quota(actor, email, quota_text(self.parameters))


class PasswordPage(ActionPage):
    """Set a password."""

    template = "password.html"
    done = "password"
    is_about_password = True

    def field_of(self, error: MailUsersError) -> str:
        """Every rule here is about the password, which is never kept."""
        return "password" if isinstance(error, InvalidInputError) else ""

    async def perform(self, actor: Actor, email: str) -> None:
        """Set it."""
        await self.service.set_password(actor, email, self.parameters.text("password"), place=PAGE)


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


class UndoPage(ActionPage):
    """Bring back a user who was archived a moment ago, with the old password."""

    template = "undo.html"
    done = "undone"

    async def version(self, email: str) -> str:
        """Return that of the archived user."""
        return await self.archived_version(email)

    async def subject(self, email: str) -> Subject | None:
        """Return the archived user.

        :raises UndoOverError: if it is too late
        """
        found = await self.archived_subject(email)
        if self.request.method != "POST":
            entry = await self.entry(email)
            if entry is None or entry.undo_until is None:
                raise UndoOverError
        return found

    async def values(self, email: str, faults: Faults, password: str = "") -> dict[str, Any]:
        """Return what the form shows, and until when it can be done."""
        entry = await self.entry(email)
        return {
            **await super().values(email, faults, password),
            "undo_until": None if entry is None else entry.undo_until,
        }

    async def perform(self, actor: Actor, email: str) -> None:
        """Bring the user back."""
        await self.service.undo_archive(actor, email)


class PurgePage(ActionPage):
    """Delete an archived mailbox for good."""

    template = "purge.html"
    done = "purged"
    fields = ("confirm",)

    async def version(self, email: str) -> str:
        """Return that of the archived user."""
        return await self.archived_version(email)

    async def subject(self, email: str) -> Subject | None:
        """Return the archived user."""
        return await self.archived_subject(email)

    def check(self, email: str) -> Faults:
        """Compare what was typed with the address."""
        if self.parameters.text("confirm").strip() == email:
            return {}
        return {"confirm": self.gettext("This is not the address of the mailbox. Nothing was deleted.")}

    async def perform(self, actor: Actor, email: str) -> None:
        """Delete."""
        await self.service.purge(actor, email, email)


ROUTES = [
    ("/users/quota", QuotaPage),
    ("/users/password", PasswordPage),
    ("/users/make-admin", MakeAdminPage),
    ("/users/remove-admin", RemoveAdminPage),
    ("/users/archive", ArchivePage),
    ("/users/undo", UndoPage),
    ("/users/purge", PurgePage),
]

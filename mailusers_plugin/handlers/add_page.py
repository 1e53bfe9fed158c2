"""Adding a user, and giving an archived one an account again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from mailusers_plugin import validation
from mailusers_plugin.errors import (
    InvalidInputError,
    MailUsersError,
    NotArchivedError,
    RestoreConsentError,
    UserExistsError,
    WeakPasswordError,
)
from mailusers_plugin.handlers import subject
from mailusers_plugin.handlers.actions import ActionPage, Faults
from mailusers_plugin.handlers.dialog_page import DIALOGS
from mailusers_plugin.handlers.fields import ALPHABET, quota_field, quota_text, split_quota
from mailusers_plugin.handlers.form_once import new_form
from mailusers_plugin.handlers.mail_settings import mail_settings
from mailusers_plugin.handlers.subject import Subject
from mailusers_plugin.models import Actor
from mailusers_plugin.permissions import ADMINISTER
from mailusers_plugin.settings_browser import PAGE

_RESTORED: Final = "restored"
_BODY: Final = "#mu-add-body"
_ON_PAGE: Final = "div#mu-add-body"
"""What a script says of the form on the Users page, in ``HX-Target``."""


def empty_form(default_quota: str) -> dict[str, Any]:
    """Return what the form on the Users page shows at first.

    :param default_quota: of a new user when none is given
    """
    return {
        "typed": {"email": "", "privilege": ""},
        "quota": split_quota(default_quota),
        "faults": {},
        "suggested": "",
        "alphabet": ALPHABET,
        "version": "",
        "sending": new_form(),
        "archived": None,
        "consented": False,
        "added": "",
        "at": "mu-",
        "in_dialog": False,
        "on_page": True,
    }


class AddPage(ActionPage):
    """Add a user."""

    template: ClassVar[str] = "add.html"
    done: ClassVar[str] = "added"
    fields: ClassVar[tuple[str, ...]] = ("email", "privilege", "quota", "quota_number", "quota_unit")

    async def version(self, email: str) -> str:
        """Return none: the user is yet to be."""
        return ""

    async def subject(self, email: str) -> Subject | None:
        """Return nobody: the user is yet to be."""
        return None

    @property
    def consented(self) -> bool:
        """Whether the reader agrees that the new user gets the old mailbox of this address."""
        # The form names the address, so that the consent for one is none for another that is typed after it.
        email = self.parameters.text("email").strip()
        return self.parameters.text("restore") in ("yes", email or "yes")

    async def values(self, email: str, faults: Faults, password: str = "") -> dict[str, Any]:
        """Return what the form shows; where a mailbox is archived, what is known of it."""
        shown = await super().values(email, faults, password)
        archived = None
        if validation.ACCOUNT_CHARACTERS.fullmatch(email):
            archived = await subject.archived(self.dependencies.listing, email)
        if self.parameters.get("quota_unit") is None and self.parameters.get("quota") is None:
            shown["quota"] = split_quota(self.service.default_quota)
        more = {
            "archived": archived,
            "consented": self.consented,
            "added": "",
            "on_page": self.on_page,
            "may_administer": await self.may(ADMINISTER),
        }
        return {**shown, **more}

    def check(self, email: str) -> Faults:
        """Check every field."""
        given = self.parameters
        rules: tuple[tuple[str, Callable[[str], object], str], ...] = (
            ("email", validation.check_new_address, email),
            ("password", self.service.check_password, given.text("password")),
            ("quota", validation.check_quota, quota_text(given) or self.service.default_quota),
        )
        faults = {}
        for name, rule, value in rules:
            try:
                rule(value)
            except InvalidInputError as error:
                faults[name] = self.error_text(error)
        return faults

    def field_of(self, error: MailUsersError) -> str:
        """Tell apart what only the service knows: a reserved address, a password too long for the scheme."""
        if isinstance(error, RestoreConsentError):
            return "restore"
        if isinstance(error, WeakPasswordError):
            return "password"
        if isinstance(error, (InvalidInputError, UserExistsError)):
            return "password" if error.message.startswith("Password") else "email"
        return ""

    async def perform(self, actor: Actor, email: str) -> None:
        """Add."""
        given = self.parameters
        old = await self.dependencies.listing.archived(email) if self.consented else None
        await self.service.add(
            actor,
            email,
            given.text("password"),
            given.privileges() or (),
            quota_text(given) or None,
            restore=self.consented,
            place=PAGE,
        )
        self.outcome = "" if old is None else _RESTORED

    @property
    def on_page(self) -> bool:
        """Whether the form stands on the Users page and a script sends it."""
        return self.is_partial and self.request.headers.get("HX-Target") == _ON_PAGE

    async def ask(self, email: str, faults: Faults, password: str = "") -> None:
        """Show the form where it stands."""
        values = await self.values(email, faults, password)
        if self.on_page:
            self.aim(_BODY, "outerHTML")
            self.render_page("_add_form.html", at="mu-", in_dialog=False, back=self.back, **values)
        else:
            self.render_form(self.template, **values)

    async def answer_done(self, done: str, email: str) -> None:
        """Show the settings for the mail program; on the page beside an empty form for the next user."""
        done = _RESTORED if self.outcome == _RESTORED else done
        if not self.is_partial:
            await super().answer_done(done, email)
            return
        self.tell_page(changed={"email": email})
        values: dict[str, Any] = {"with_form": self.on_page, "may_administer": await self.may(ADMINISTER)}
        if self.on_page:
            self.aim(_BODY, "outerHTML")
            values |= {**empty_form(self.service.default_quota), "back": self.back}
        else:
            self.aim(DIALOGS)
        values |= {
            "message": self.done_text(done, email, await self.entry(email)),
            "added": email,
            "mail": await mail_settings(self.dependencies.settings),
        }
        self.render_page("_added_answer.html", **values)


class RestorePage(AddPage):
    """Give an archived address an account again, with its old mailbox."""

    template = "restore.html"
    done = "restored"
    consented = True

    async def version(self, email: str) -> str:
        """Return that of the archived user."""
        return await self.archived_version(email)

    async def subject(self, email: str) -> Subject | None:
        """Return the archived user."""
        return await self.archived_subject(email)

    async def values(self, email: str, faults: Faults, password: str = "") -> dict[str, Any]:
        """Return what the form shows; the quota is the old one at first."""
        shown = await super().values(email, faults, password)
        old = shown["subject"].quota or self.service.default_quota
        return {**shown, "quota": quota_field(self.parameters, old)}

    async def perform(self, actor: Actor, email: str) -> None:
        """Add the user, if there is something to restore."""
        if await self.dependencies.listing.archived(email) is None:
            raise NotArchivedError
        await super().perform(actor, email)


ROUTES = [("/users/add", AddPage), ("/users/restore", RestorePage)]

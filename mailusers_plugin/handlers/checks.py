"""What the server thinks of a field while somebody fills in a form: its own rules, in its own words."""

from __future__ import annotations

import re
from typing import Any, Final

from mailusers_plugin import validation
from mailusers_plugin.errors import (
    ForgeryError,
    InvalidInputError,
    LoginRefusedError,
    MailUsersError,
    UnavailableError,
)
from mailusers_plugin.handlers import subject
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.fields import quota_text
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.password_policy import words_of
from mailusers_plugin.permissions import WRITE
from mailusers_plugin.settings_browser import PAGE
from mailusers_plugin.texts import N_

_TARGET: Final = re.compile(r"div#(mu-(?:d-)?)(email|password|quota)-note", re.ASCII)


class CheckPage(PageHandler):
    """Answers with what is to stand below one field. Nothing of it is kept, and no password is ever sent back."""

    @property
    def is_background(self) -> bool:
        """Tell that a script asks by itself."""
        return self.is_partial

    def aside(self, error: MailUsersError | None, message: str) -> dict[str, Any]:
        """Say below the field why it is not checked, without a link that would be in the way of the next field."""
        if isinstance(error, (LoginRefusedError, ForgeryError)):
            message = self.gettext(
                "Your session has ended, so that this is not checked now. Send the form nevertheless: nothing is lost."
            )
        return {"message": message, "with_login": False}

    @requires(WRITE)
    async def post(self) -> None:
        """Check the field that is named.

        :raises InvalidInputError: if it is none of ours
        """
        given = self.parameters
        name = given.text("field")
        checks = {"email": self._email, "password": self._password, "quota": self._quota}
        if name not in checks:
            raise InvalidInputError(N_("There is no such field."))
        match = _TARGET.fullmatch(self.request.headers.get("HX-Target", ""))
        self._at = match[1] if match else "mu-"
        # A word that is not finished is not wrong yet.
        self._typing = given.text("typing") == "1"
        await checks[name]()

    async def _email(self) -> None:
        email = self.parameters.text("email").strip()
        faults = {}
        archived = None
        try:
            await self.service.check_free(email)
        except MailUsersError as error:
            if not self._typing or not isinstance(error, InvalidInputError) or _looks_finished(email):
                faults["email"] = self.error_text(error)
        else:
            archived = await subject.archived(self.dependencies.listing, email)
        consented = self.parameters.text("restore") == email
        self._answer("email", faults, archived=archived, consented=consented)

    async def _password(self) -> None:
        password = self.parameters.text("password")
        email = self.parameters.text("email")
        policy = self.service.policy
        faults = {}
        strength = None
        try:
            self.service.check_password(password)
            if not self._typing:
                # What is asked elsewhere is not asked at each letter.
                strength = await policy.check(PAGE, password, email)
        except InvalidInputError as error:
            if not self._typing or len(password) >= policy.min_length:
                faults["password"] = self.error_text(error)
        except UnavailableError:
            # Whoever sends the form is told.
            pass
        if password and not faults and strength is None:
            strength = await self.dependencies.strength.estimate(password, words_of(email))
        self._answer("password", faults, strength=strength)

    async def _quota(self) -> None:
        quota = quota_text(self.parameters)
        faults = {}
        if quota:
            try:
                validation.check_quota(quota)
            except InvalidInputError as error:
                faults["quota"] = self.error_text(error)
        self._answer("quota", faults)

    def _answer(self, field: str, faults: dict[str, str], **values: object) -> None:
        self.render_page(f"_check_{field}.html", at=self._at, faults=faults, **values)


def _looks_finished(email: str) -> bool:
    """Tell whether somebody who types has come to the top-level domain, or to what stands in no address."""
    return re.search(r"\s|@[^@]+\.[^.]{2,}$", email) is not None


ROUTES = [("/users/check", CheckPage)]

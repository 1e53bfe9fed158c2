"""The page on which somebody sets up a second factor, sees and removes it, and gets recovery codes."""

from __future__ import annotations

import re
from typing import Final

from mailusers_plugin.auth import one_time_codes
from mailusers_plugin.auth.second_factor import WRONG_FIRST_CODE, check_label
from mailusers_plugin.errors import (
    InvalidInputError,
    LoginRefusedError,
    MailUsersError,
    StorageError,
    UnavailableError,
)
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.mail_settings import mail_settings
from mailusers_plugin.handlers.mfa_api import FactorHandler
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.qr import provision
from mailusers_plugin.permissions import SECOND_FACTOR
from mailusers_plugin.texts import N_

Faults = dict[str, str]

_PATH: Final = "/mailusers/second-factor"
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_DONE: Final = {
    "removed": N_("The second factor was removed. Your other sessions have ended."),
}
_TEXTS: Final = {
    WRONG_FIRST_CODE: N_(
        "That code does not fit. Enter the one that the app shows now, and see that the clocks of this server and of "
        "your device are right."
    ),
}


class _FactorPage(FactorHandler, PageHandler):
    """What the page and its forms share."""

    def _can_log_in(self) -> bool:
        # Below /mailusers/ like the log-in, but for those who are logged in.
        return True

    async def show(
        self,
        *,
        faults: Faults | None = None,
        at: str = "",
        error: str = "",
        done: str = "",
        codes: list[str] | None = None,
    ) -> None:
        """Show the page.

        :param faults: by field, of the form that was sent
        :param at: which form that was: ``add``, ``codes``, or the number of a second factor
        :param error: what is wrong besides
        :param done: what was done
        :param codes: recovery codes, which are shown this once
        """
        email = self.own_name
        status = await self.factors.status(email)
        given = self.parameters
        offered = provision(email, (await mail_settings(self.dependencies.settings)).host, self._secret(at))
        self.render_page(
            "second_factor.html",
            email=email,
            status=status,
            offered=offered,
            picture=await offered.svg(),
            label=given.text("label") if at == "add" else "",
            faults=faults or {},
            at=at,
            error=error,
            done=done,
            codes=codes or [],
            path=self.url(_PATH),
        )

    def _secret(self, at: str) -> str:
        """Return the secret that the form was sent with: the app has it already."""
        try:
            return one_time_codes.check_secret(self.parameters.text("secret")) if at == "add" else ""
        except InvalidInputError:
            return ""

    async def password_faults(self) -> Faults:
        """Return what is wrong with the password that confirms a change."""
        if not self.parameters.text("password").strip():
            return {"password": self.gettext("Enter your password.")}
        try:
            await self.confirm_password()
        except LoginRefusedError:
            return {"password": self.gettext("That is not your password.")}
        return {}

    async def show_error(self, error: MailUsersError, at: str) -> None:
        """Show the page with what was typed, and what went wrong."""
        self.set_status_of(error)
        await self.show(at=at, error=self.error_text(error))

    async def show_faults(self, faults: Faults, at: str) -> None:
        """Show the page with what was typed, and what is wrong with it."""
        self.set_status(400)
        await self.show(at=at, faults=faults)


class SecondFactorPage(_FactorPage):
    """``/mailusers/second-factor``."""

    @requires(SECOND_FACTOR)
    async def get(self) -> None:
        """Show what there is, and offer a new one."""
        done = _DONE.get(self.parameters.text("done"))
        await self.show(done=self.gettext(done) if done else "")

    head = get

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """Add a second factor, once its first code and the password show that it is meant."""
        given = self.parameters
        secret, code, label = given.text("secret"), given.text("code"), given.text("label").strip()
        faults: Faults = {}
        for name, check in (
            ("code", lambda: self.factors.check_first_code(secret, code)),
            ("label", lambda: check_label(label)),
        ):
            try:
                check()
            except InvalidInputError as error:
                text = _TEXTS.get(error.message)
                faults[name] = self.gettext(text) if text else self.error_text(error)
        try:
            faults |= await self.password_faults()
            if faults:
                await self.show_faults(faults, "add")
                return
            before = await self.service.account(self.own_name)
            codes = await self.factors.enrol(before.email, secret, code, label)
            await noting.changed(self, "SecondFactorAdded", before.email, label=label)
        except (InvalidInputError, UnavailableError, StorageError) as error:
            await self.show_error(error, "add")
            return
        await self.end_other_sessions(before)
        text = self.gettext(
            "The second factor is set up. From now on you are asked for a code when you log in. Your other sessions "
            "have ended."
        )
        await self.show(done=text, codes=codes)


class RemoveFactorPage(_FactorPage):
    """``/mailusers/second-factor/remove``."""

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """Remove a second factor, once the password shows that it is meant."""
        number = self.parameters.text("id")
        try:
            faults = await self.password_faults()
            if faults:
                await self.show_faults(faults, number)
                return
            before = await self.service.account(self.own_name)
            if _NUMBER.fullmatch(number):
                # One that is gone already is what was wanted.
                await self.factors.disable(before.email, int(number))
                await noting.changed(self, "SecondFactorRemoved", before.email, id=int(number))
        except (InvalidInputError, UnavailableError, StorageError) as error:
            await self.show_error(error, number)
            return
        await self.end_other_sessions(before)
        self.redirect(self.url(f"{_PATH}?done=removed"), status=303)


class RecoveryCodesPage(_FactorPage):
    """``/mailusers/second-factor/codes``."""

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """Make new recovery codes, once the password shows that it is meant."""
        try:
            faults = await self.password_faults()
            if faults:
                await self.show_faults(faults, "codes")
                return
            codes = await self.factors.new_codes(self.own_name)
            await noting.changed(self, "RecoveryCodesMade", self.own_name)
        except (InvalidInputError, UnavailableError, StorageError) as error:
            await self.show_error(error, "codes")
            return
        await self.show(
            codes=codes, done=self.gettext("These are your recovery codes. The old ones have ended.")
        )


ROUTES = [
    (_PATH, SecondFactorPage),
    (f"{_PATH}/remove", RemoveFactorPage),
    (f"{_PATH}/codes", RecoveryCodesPage),
]

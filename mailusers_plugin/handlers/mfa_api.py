"""The second factor for programs, by the endpoints that Mail-in-a-Box has."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final

from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.auth.second_factor import SecondFactors
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError, ThrottledError
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.mail_settings import mail_settings
from mailusers_plugin.handlers.qr import provision
from mailusers_plugin.handlers.session import SessionMixin
from mailusers_plugin.models import Account
from mailusers_plugin.permissions import SECOND_FACTOR
from mailusers_plugin.texts import N_

_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_NO_SUCH: Final = N_("Invalid user or MFA id.")


class FactorHandler(SessionMixin):
    """What the page and the API share."""

    @property
    def factors(self) -> SecondFactors:
        """The use cases."""
        return self.login.authenticator.second_factors

    @property
    def own_name(self) -> str:
        """The caller's address, empty for the system API key, which acts for nobody."""
        return (self.identity.name if self.identity else None) or ""

    def own_session(self) -> str:
        """Return the key of the session by which the request came, empty where it came by something else."""
        header = self.request.headers.get("Authorization")
        if header is None:
            return self.cookie_key
        with suppress(LoginRefusedError):
            return parse_basic(header)[1]
        return ""

    async def confirm_password(self) -> None:
        """Check the caller's own password, without which a browser that was left alone would be enough.

        :raises LoginRefusedError: if it is missing or wrong
        :raises ThrottledError: if too many log-ins have failed
        :raises UnavailableError: if too many passwords are being checked
        """
        try:
            password = self.parameters.text("password")
            await self.login.authenticator.check_password(self.own_name, password, ip=self.request.remote_ip)
        except (LoginRefusedError, ThrottledError):
            self.log_failure()
            raise

    async def end_other_sessions(self, before: Account) -> None:
        """End the sessions of a user whose second factors have changed, but the one in which that was done.

        :param before: the account as it was before
        """
        key = self.own_session() if before.email == self.own_name else ""
        await self.login.authenticator.keep_session(before, key)


class _MfaAPI(FactorHandler):
    """An endpoint of Mail-in-a-Box."""

    async def check_caller(self) -> None:
        """Ask a browser for the password: only programs are trusted with the session alone, as Mail-in-a-Box does.

        :raises InvalidInputError: if it is missing or wrong
        """
        if self.identity is None or self.identity.via in ("basic", "token"):
            return
        try:
            await self.confirm_password()
        except LoginRefusedError:
            # Not a refusal: the caller is logged in.
            raise InvalidInputError(N_("Send your own password as password.")) from None

    def subject(self) -> str:
        """Return about whom it is: an administrator may name another user."""
        given = self.parameters.get("user")
        return self.own_name if given is None else self.parameters.email("user")


class MfaStatusAPI(_MfaAPI):
    """``POST /mfa/status``."""

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """List a user's second factors, and offer the caller a new one."""
        email = self.subject()
        status = await self.factors.status(email)
        answer: dict[str, Any] = {
            "enabled_mfa": [
                {"id": factor.id, "type": factor.type, "label": factor.label} for factor in status.factors
            ],
            "recovery_codes": status.codes,
        }
        if email == self.own_name:
            offered = provision(email, (await mail_settings(self.dependencies.settings)).host)
            picture = await offered.png_base64()
            answer["new_mfa"] = {
                "totp": {"type": "totp", "secret": offered.secret, "qr_code_base64": picture}
            }
        self.answer_json(answer)


class TotpEnableAPI(_MfaAPI):
    """``POST /mfa/totp/enable``."""

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """Add a second factor for the caller."""
        given = self.parameters
        if given.get("token") is None:
            raise InvalidInputError(N_("Bad Input"))
        await self.check_caller()
        before = await self.service.account(self.own_name)
        secret, token, label = given.text("secret"), given.text("token"), given.text("label")
        # The answer has no room for recovery codes: they are made on the page.
        await self.factors.enrol(before.email, secret, token, label, with_codes=False)
        await noting.changed(self, "SecondFactorAdded", before.email, label=label)
        await self.end_other_sessions(before)
        self.answer_text("OK")


class MfaDisableAPI(_MfaAPI):
    """``POST /mfa/disable``."""

    @requires(SECOND_FACTOR)
    async def post(self) -> None:
        """Remove one second factor of a user, or all where none is named."""
        number = self.parameters.text("mfa-id")
        if number and not _NUMBER.fullmatch(number):
            raise InvalidInputError(_NO_SUCH)
        await self.check_caller()
        before = await self.service.account(self.subject())
        if not await self.factors.disable(before.email, int(number) if number else None):
            raise InvalidInputError(_NO_SUCH)
        await noting.changed(self, "SecondFactorRemoved", before.email, id=number or "all")
        await self.end_other_sessions(before)
        self.answer_text("OK")


ROUTES = [
    ("/mfa/status", MfaStatusAPI),
    ("/mfa/totp/enable", TotpEnableAPI),
    ("/mfa/disable", MfaDisableAPI),
]

"""The page of API tokens: which there are, making one, which is shown this once, and revoking one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.auth.tokens import Token
from mailusers_plugin.errors import InvalidInputError, MailUsersError
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.permissions import ADMINISTER, EVENTS, QUOTA, READ, SCOPES, TOKENS, WRITE
from mailusers_plugin.texts import N_

_SCOPE_TEXTS: Final = {
    READ: N_("See users, lists, statistics and exports, and hear of changes."),
    WRITE: N_(
        "Add, archive, restore and import users without privileges, and set their passwords; set all quotas."
    ),
    QUOTA: N_("Set quotas."),
    EVENTS: N_("Hear of changes as they happen."),
    ADMINISTER: N_("Everything that an administrator may do, but for API tokens."),
}
_DAYS: Final = (7, 30, 90, 365)
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", re.ASCII)
_NEVER: Final = "never"
_NO_OWNER: Final = N_(
    "The system API key acts for nobody, and a token needs an owner. Log in as an administrator, or use the command "
    "'mailusers token create'."
)


class TokensPage(PageHandler):
    """All tokens, and a form for a new one."""

    def here(self) -> str:
        """Return the page's own address, also where the form was sent: nothing typed in it is secret or long."""
        return self.url("/mailusers/tokens")

    @requires(TOKENS)
    async def get(self) -> None:
        """Show them."""
        await self._show(revoked=self.parameters.text("done") == "revoked")

    head = get

    @requires(TOKENS)
    async def post(self) -> None:
        """Make one and show it."""
        given = self.parameters
        scopes = given.every("scope")
        try:
            days = _days(given.text("days"), self.dependencies.tokens.days)
            if self.caller.name is None:
                raise InvalidInputError(_NO_OWNER)
            await self._check_scopes(scopes)
            token, key = await self.dependencies.tokens.create(
                self.caller.name,
                given.text("name"),
                scopes,
                days=days,
                networks=given.text("networks").replace(",", "\n").split("\n"),
            )
        except MailUsersError as error:
            self.set_status_of(error)
            await self._show(fault=self.error_text(error))
            return
        await noting.changed(
            self, "TokenCreated", token.owner, id=token.id, name=token.name, scopes=list(token.scopes)
        )
        # Not by a redirect, which would need the token to be kept for it, or to stand in an address.
        await self._show(new=token, key=key)

    async def _check_scopes(self, scopes: list[str]) -> None:
        """Refuse a scope that holds what the caller may not do.

        :raises InvalidInputError: naming it
        """
        for scope in scopes:
            if scope in SCOPES and not await self._may_give(scope):
                raise InvalidInputError(
                    N_("You may not give the scope %(scope)s, for you may not do that yourself."), scope=scope
                )

    async def _may_give(self, scope: str) -> bool:
        for permission in SCOPES[scope]:
            if not await self.may(permission):
                return False
        return True

    async def _show(
        self, *, fault: str = "", revoked: bool = False, new: Token | None = None, key: str = ""
    ) -> None:
        given = self.parameters
        tokens = self.dependencies.tokens
        typed = self.request.method == "POST" and new is None
        days = given.text("days") if typed else f"{tokens.days:g}"
        self.render_page(
            "tokens.html",
            fault=fault,
            revoked=revoked,
            new=new,
            key=key,
            tokens=await tokens.everything(),
            now=datetime.now(UTC),
            scopes=[(scope, _SCOPE_TEXTS[scope]) for scope in SCOPES if await self._may_give(scope)],
            chosen=given.every("scope") if typed else (),
            name=given.text("name") if typed else "",
            networks=given.text("networks") if typed else "",
            days=days,
            choices=sorted({*_DAYS, tokens.days}),
        )


class RevokeTokenPage(PageHandler):
    """Makes a token invalid."""

    def here(self) -> str:
        """Return the address of all tokens, where this begins."""
        return self.url("/mailusers/tokens")

    @requires(TOKENS)
    async def get(self) -> None:
        """Ask."""
        token = await self.dependencies.tokens.find(self.parameters.text("id"))
        self.render_page("token_revoke.html", token=token)

    head = get

    @requires(TOKENS)
    async def post(self) -> None:
        """Do it and lead back."""
        token_id = self.parameters.text("id")
        await self.dependencies.tokens.revoke(token_id)
        await noting.changed(self, "TokenRevoked", id=token_id)
        self.redirect(self.url("/mailusers/tokens?done=revoked"), status=303)


def _days(text: str, default: float) -> float | None:
    """Return after how many days a token is to expire, ``None`` for never.

    :raises InvalidInputError: if it is no such number
    """
    if text == _NEVER:
        return None
    if not text:
        return default
    if not _NUMBER.fullmatch(text):
        raise InvalidInputError(N_("Say after how many days the token expires, or never."))
    return float(text)


ROUTES = [("/mailusers/tokens", TokensPage), ("/mailusers/tokens/revoke", RevokeTokenPage)]

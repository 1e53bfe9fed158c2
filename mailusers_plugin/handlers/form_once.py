"""Forms that are sent twice, and forms of a user who has changed since they were opened.

A form carries a number of its own, which is an ``Idempotency-Key`` in a field, and the version of the user that it
shows. So a double click, or sending again what was not answered, does nothing twice; and whoever did not see what
somebody else has done is told, with what was typed still there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

from mailusers_plugin.errors import ChangedError, KeyBusyError, KeyReusedError, MailUsersError
from mailusers_plugin.handlers.dialog_page import DialogPage
from mailusers_plugin.idempotency import StoredAnswer, Wanted
from mailusers_plugin.models import Claim
from mailusers_plugin.texts import N_
from mailusers_plugin.user_versions import PASSWORD, PRIVILEGES, QUOTA

_NO_PART: Final = frozenset(("_xsrf", "back"))
_SECRET: Final = frozenset(("password",))
_PATIENCE_SECONDS: Final = 20.0
"""How long a second request waits for the first one: longer than most take, shorter than a browser waits."""
_LOOK_SECONDS: Final = 0.2

_QUOTA_NOW: Final = N_(
    "Somebody has set another quota for this user since you opened this form. Nothing was done yet. Send it once more "
    "if it is still right."
)
_ADMINISTRATOR_NOW: Final = N_(
    "Somebody has changed what this user may do since you opened this form: the user is an administrator now. Nothing "
    "was done yet. Send it once more if it is still right."
)
_NORMAL_NOW: Final = N_(
    "Somebody has changed what this user may do since you opened this form: the user is a normal user now. Nothing was "
    "done yet. Send it once more if it is still right."
)
_PASSWORD_NOW: Final = N_(
    "Somebody has set another password for this user since you opened this form. Nothing was done yet. Send it once "
    "more if it is still right."
)


def new_form() -> str:
    """Return the number of a new form."""
    return secrets.token_urlsafe(16)


class FormOnce(DialogPage):
    """Base of forms about one user."""

    outcome = ""
    """What an answer depends on besides what was sent; a repeat has it from the first time."""

    def wanted_versions(self) -> tuple[str, ...] | None:
        """Return the version that the form shows, ``None`` where it shows none."""
        seen = self.parameters.get("version")
        return None if not seen else (seen,)

    async def begin(self) -> bool:
        """Take a form on; :meth:`end` must follow where there is something to do.

        :returns: whether it is to be done, ``False`` where it was done already
        :raises KeyBusyError: if the first request takes too long
        """
        key = self.parameters.text("sending")
        if not key:
            return True
        try:
            found = await self._claim(self._wanted(key))
        except KeyReusedError:
            # Somebody went back to a form that was sent, and typed something else: that is a new one.
            return True
        if isinstance(found, StoredAnswer):
            self.outcome = found.body
            return False
        self.claim = found
        try:
            was_made = await self.dependencies.idempotency.made(found, self.parameters.text("email").strip())
        except MailUsersError:
            await self.end(done=False)
            raise
        if was_made:
            await self.end(done=True)
        return not was_made

    async def end(self, *, done: bool) -> None:
        """Say what came of it.

        :param done: ``False`` where it may be sent again
        """
        if self.claim is None:
            return
        idempotency = self.dependencies.idempotency
        if done:
            await idempotency.finish(self.claim, StoredAnswer(200, {}, self.outcome))
        else:
            await idempotency.release(self.claim)

    async def conflict_text(self, email: str, error: ChangedError) -> str:
        """Return what to say where somebody else was quicker, in the reader's language."""
        if QUOTA in error.what:
            # The form says what it is now.
            return self.gettext(_QUOTA_NOW)
        if PRIVILEGES in error.what:
            account = await self.service.account(email)
            return self.gettext(_ADMINISTRATOR_NOW if account.is_admin else _NORMAL_NOW)
        return self.gettext(_PASSWORD_NOW) if PASSWORD in error.what else self.error_text(error)

    async def _claim(self, wanted: Wanted) -> Claim | StoredAnswer:
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self.dependencies.idempotency.claim(wanted)
            except KeyBusyError:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    def _wanted(self, key: str) -> Wanted:
        given, identity = self.parameters, self.caller
        names = given.names() - _NO_PART
        return Wanted(
            caller=("form", identity.name, identity.via),
            key=key,
            target=("POST", self.request.path),
            parameters={name: given.every(name) for name in names - _SECRET},
            secrets={name: given.every(name) for name in names & _SECRET},
        )

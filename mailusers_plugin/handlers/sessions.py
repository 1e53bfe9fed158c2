"""A user's sessions: which there are, and ending them. With the default host only; other panels have their own."""

from __future__ import annotations

import re
from typing import Any, Final

from mailusers_plugin.auth.authenticator import COOKIE, hash_key
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError
from mailusers_plugin.handlers import noting
from mailusers_plugin.handlers.base import BaseHandler, Dependencies, requires
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.session import LoginDependencies
from mailusers_plugin.permissions import SESSIONS
from mailusers_plugin.store.sessions import Session, id_of
from mailusers_plugin.texts import N_

_PROGRAMS: Final = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
"""Most browsers name others as well; the first that is met is meant."""
_SYSTEMS: Final = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")
_PRODUCT: Final = re.compile(r"[\w.+-]{1,40}(?:/[\w.+-]{1,20})?")
_NO_SUCH_SESSION: Final = N_("There is no such session. It may have ended already.")
_WHICH: Final = N_("Say which session is to end, by id, or say others=1.")


def program_of(agent: str) -> str:
    """Return what a client's name for itself means, in short; empty where it says nothing.

    :param agent: the header ``User-Agent``, any text
    """
    name = next((shown for mark, shown in _PROGRAMS if f"{mark}/" in agent), "")
    if not name:
        match = _PRODUCT.match(agent)
        return match[0] if match else ""
    system = next((system for system in _SYSTEMS if system in agent), "")
    return f"{name}, {system}" if system else name


class _SessionsHandler(BaseHandler):
    """What the page and the API share."""

    def initialize(self, dependencies: Dependencies, login: LoginDependencies) -> None:  # type: ignore[override]
        """Take what the route's table hands over."""
        super().initialize(dependencies)
        self.authenticator = login.authenticator
        self.cookie = login.cookie

    def current(self) -> str:
        """Return the hash of the key that this request came with, empty where it came without one."""
        header = self.request.headers.get("Authorization")
        if header is None:
            return hash_key(self.get_cookie(self.cookie.name(self.request.protocol)) or "")
        try:
            return hash_key(parse_basic(header)[1])
        except LoginRefusedError:
            return ""

    async def end(self, email: str) -> None:
        """End what the parameters name.

        :raises InvalidInputError: if they name nothing that there is
        """
        given = self.parameters
        if given.text("others") and given.text("id"):
            raise InvalidInputError(_WHICH)
        if given.text("others") == "1":
            await self.authenticator.end_sessions(email, besides=self.current())
        elif not given.text("id"):
            raise InvalidInputError(_WHICH)
        elif not await self.authenticator.end_session_by_id(email, given.text("id")):
            raise InvalidInputError(_NO_SUCH_SESSION)
        await noting.changed(self, "SessionEnded", email, id=given.text("id") or "others")


class SessionListAPI(_SessionsHandler):
    """``GET /mail/users/sessions``: the caller's own, or those of the user who is named."""

    @requires(SESSIONS)
    async def get(self) -> None:
        """Answer with a list, the session that was used last first."""
        current = self.current()
        self.answer_json(
            [
                {
                    "id": id_of(session),
                    "email": session.email,
                    "kind": session.kind,
                    "began": session.created_at.isoformat(timespec="seconds"),
                    "used": session.used_at.isoformat(timespec="seconds"),
                    "address": session.address,
                    "agent": session.agent,
                    "current": session.key_hash == current,
                }
                for session in await self.authenticator.live_sessions(whose(self))
            ]
        )


class SessionEndAPI(_SessionsHandler):
    """``POST /mail/users/sessions/end``."""

    @requires(SESSIONS)
    async def post(self) -> None:
        """End one session, or all others."""
        await self.end(whose(self))
        self.answer_text("OK")


def whose(handler: BaseHandler) -> str:
    """Return whose sessions are meant: the user's who is named, else the caller's.

    :raises InvalidInputError: if nobody is named and the caller is no mail user, as with the system API key
    """
    own = handler.identity.name if handler.identity else None
    email = handler.parameters.text("email") or own
    if not email:
        raise InvalidInputError(N_("No email address provided."))
    return email


class SessionsPage(_SessionsHandler, PageHandler):
    """Shows a user the sessions that are open in his name, and ends them."""

    def _can_log_in(self) -> bool:
        return True

    @requires(SESSIONS)
    async def get(self) -> None:
        """Show them."""
        await self._show()

    head = get

    @requires(SESSIONS)
    async def post(self) -> None:
        """End one, or all others."""
        try:
            await self.end(self.caller.name or "")
        except InvalidInputError as error:
            self.set_status_of(error)
            await self._show(self.error_text(error))
            return
        self.redirect(self.url("/mailusers/sessions"), status=303)

    async def _show(self, error: str = "") -> None:
        name, current = self.caller.name, self.current()
        found = [] if name is None else await self.authenticator.live_sessions(name)
        self.render_page(
            "sessions.html",
            error=error,
            sessions=[self._row(session) for session in found],
            current=current,
        )

    def _row(self, session: Session) -> dict[str, Any]:
        return {
            "id": id_of(session),
            "key_hash": session.key_hash,
            "is_browser": session.kind == COOKIE,
            "began": session.created_at,
            "used": session.used_at,
            "address": session.address,
            "program": program_of(session.agent or ""),
            "agent": session.agent,
        }


ROUTES: Final = [
    ("/mail/users/sessions", SessionListAPI),
    ("/mail/users/sessions/end", SessionEndAPI),
    ("/mailusers/sessions", SessionsPage),
]

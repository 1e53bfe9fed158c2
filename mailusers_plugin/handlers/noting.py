"""What the handlers write into the audit trail: who logged in, who out, who was refused."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import LoginRefusedError, MailUsersError
from mailusers_plugin.trail import LOGGED_IN, LOGGED_OUT, LOGIN_REFUSED, USED_SECONDS

if TYPE_CHECKING:
    from mailusers_plugin.handlers.base import BaseHandler


async def logged_in(handler: BaseHandler, name: str | None, via: str, by: str) -> None:
    """Write a log-in.

    :param name: who logged in, ``None`` for the system API key
    :param via: how that was proved, as in :class:`mailusers_plugin.models.Identity`
    :param by: ``page``; ``api`` for a session key; ``request`` for credentials that come with each request, which
        then count as one log-in for an hour
    """
    await handler.dependencies.trail.note(
        LOGGED_IN,
        email=name or "",
        actor=name,
        via=via,
        ip=handler.client_ip,
        detail={"by": by},
        every_seconds=USED_SECONDS if by == "request" else 0.0,
    )


async def logged_out(handler: BaseHandler, email: str | None, via: str) -> None:
    """Write a log-out.

    :param email: whose session has ended, ``None`` where there was none
    """
    if email is not None:
        trail = handler.dependencies.trail
        await trail.note(LOGGED_OUT, email=email, actor=email, via=via, ip=handler.client_ip)


async def refused(handler: BaseHandler, error: MailUsersError, email: str | None = None) -> None:
    """Write that a credential was refused; that none was given is no refusal.

    :param email: what was given as the address; that of the ``Authorization`` header where it is ``None``
    """
    by = "page"
    if email is None:
        header = handler.request.headers.get("Authorization")
        if header is None:
            return
        by = "request"
        with suppress(LoginRefusedError):
            email, _ = parse_basic(header)
    await handler.dependencies.trail.note(
        LOGIN_REFUSED,
        email=email or "",
        ip=handler.client_ip,
        detail={"by": by, "reason": error.message},
    )


async def changed(handler: BaseHandler, type_: str, email: str = "", **detail: Any) -> None:
    """Write a change that no event tells: of a session, a second factor or an API token.

    :param type_: what happened, such as ``SessionEnded``
    :param email: whom it is about
    :param detail: JSON values; never a secret
    """
    identity = handler.identity
    await handler.dependencies.trail.note(
        type_,
        email=email,
        actor=None if identity is None else identity.name,
        via="" if identity is None else identity.via,
        ip=handler.client_ip,
        detail=detail,
    )

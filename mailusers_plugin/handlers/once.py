"""Answers a request with an ``Idempotency-Key`` once: a repeat gets the first answer.

What is kept: every answer of the verb itself but those that say that the same request may do better later. So a change
that was made, input that breaks a rule (400) and a user that has changed (412) are answered the same for a day; a
database that is away (503), a mistake of ours (500) and a caller who is not let in (401, 403, which come before) are
not.
"""

from __future__ import annotations

import functools
import re
import sys
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, TypeVar

from tornado.escape import utf8

from mailusers_plugin.errors import HTTP_STATUS, InvalidInputError, MailUsersError
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.idempotency import StoredAnswer, Wanted
from mailusers_plugin.models import Actor, Change
from mailusers_plugin.texts import N_

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
MAX_KEY: Final = 255
_BARE: Final = re.compile(rf"[A-Za-z0-9._:=+/@~!#$%&*^|-]{{1,{MAX_KEY}}}")
_QUOTED: Final = re.compile(rf'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){{1,{MAX_KEY}}})"')
_KEPT_ERRORS: Final = frozenset((400, 412))
_KEPT_HEADERS: Final = ("Content-Type", "Location", "ETag")
_NO_PART: Final = frozenset(("_xsrf",))
"""Parameters in which a repeat may differ."""

F = TypeVar("F", bound=Callable[..., Awaitable[None]])


def parse_key(header: str) -> str:
    """Return the key: in quotation marks as the draft has it (RFC 8941, section 3.3.3), or without, as many send it.

    :raises InvalidInputError: if it is neither, or too long
    """
    header = header.strip()
    quoted = _QUOTED.fullmatch(header)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE.fullmatch(header):
        return header
    raise InvalidInputError(
        N_(
            "Idempotency-Key must be one text of 1 to %(number)s characters, best a new UUID for each change, such as "
            "8e03978e-40d5-43dd-bc93-6894a57f9324."
        ),
        number=MAX_KEY,
    )


def repeatable(method: F) -> F:
    """Let a verb be repeated with an ``Idempotency-Key``; without one nothing is different."""

    @functools.wraps(method)
    async def once(self: OnceHandler, *args: str, **kwargs: str) -> None:
        header = self.request.headers.get(HEADER)
        if header is None:
            await method(self, *args, **kwargs)
        else:
            await self.answer_once(parse_key(header), functools.partial(method, self, *args, **kwargs))

    return once  # type: ignore[return-value]


class OnceHandler(BaseHandler):
    """Base of handlers whose verbs are :func:`repeatable`."""

    secret_parameters: ClassVar[frozenset[str]] = frozenset(("password",))
    _holding = False
    _held: bytes | None = None

    async def answer_once(self, key: str, verb: Callable[[], Awaitable[None]]) -> None:
        """Answer by a verb, or with what was answered before.

        :raises KeyReusedError: if the key came with another request before
        :raises KeyBusyError: if that is still running
        """
        idempotency = self.dependencies.idempotency
        found = await idempotency.claim(self._wanted(key))
        if isinstance(found, StoredAnswer):
            self._repeat(found)
            return
        self.claim = found
        answered = False
        try:
            body = await self._held_back(verb)
            headers = {name: self._headers[name] for name in _KEPT_HEADERS if name in self._headers}
            await idempotency.finish(found, StoredAnswer(self.get_status(), headers, body.decode()))
            answered = True
        finally:
            if not answered:
                await idempotency.release(found)
        self.finish(body)

    async def made_once(self, email: str, change: Callable[[Actor], Awaitable[Change]]) -> Change:
        """Make a change, unless an earlier attempt at this request, which did not come to its answer, has made it.

        :param email: the address that changes
        """
        if self.claim is not None and await self.dependencies.idempotency.made(self.claim, email):
            return Change((self.claim.event_id(email),), (email,))
        return await change(self.actor)

    def finish(self, chunk: str | bytes | dict[Any, Any] | None = None) -> Future[None]:
        """Send the answer, or keep it until it is stored."""
        if not self._holding:
            return super().finish(chunk)
        if self._held is None:
            self._held = b"" if chunk is None else utf8(chunk)  # type: ignore[arg-type]  # nothing here sends a dict
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def _held_back(self, verb: Callable[[], Awaitable[None]]) -> bytes:
        self._holding = True
        try:
            await verb()
        except MailUsersError as error:
            status = HTTP_STATUS[error.code]
            if status not in _KEPT_ERRORS:
                raise
            self.send_error(status, exc_info=sys.exc_info())
        finally:
            self._holding = False
        return self._held or b""

    def _wanted(self, key: str) -> Wanted:
        identity, given = self.identity, self.parameters
        names = given.names() - _NO_PART
        conditions = [self.request.headers.get("If-Match") or ""]
        return Wanted(
            caller=("", "") if identity is None else (identity.name, identity.via),
            key=key,
            target=(self.request.method or "", self.request.path, *conditions),
            parameters={name: given.every(name) for name in names - self.secret_parameters},
            secrets={name: given.every(name) for name in names & self.secret_parameters},
        )

    def _repeat(self, answer: StoredAnswer) -> None:
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.set_header(REPLAYED, "true")
        self.finish(answer.body)

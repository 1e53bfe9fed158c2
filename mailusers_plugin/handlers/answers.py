"""How the handlers answer: text, JSON, and errors by the table in errors.py."""

from __future__ import annotations

import logging
from abc import abstractmethod
from http import HTTPStatus
from typing import Any, Final

import orjson

from mailusers_plugin.errors import (
    HTTP_STATUS,
    LoginRefusedError,
    MailUsersError,
    NotPermittedError,
    StorageError,
    UnavailableError,
)
from mailusers_plugin.handlers.headers import GuardedHandler

_log = logging.getLogger("mailusers_plugin.http")

_STORAGE_RETRY_SECONDS: Final = 30


class AnsweringHandler(GuardedHandler):
    """Base of all handlers that may fail in our own ways."""

    @property
    @abstractmethod
    def realm(self) -> str:
        """Of the Basic challenge."""

    @classmethod
    @abstractmethod
    def allowed_verbs(cls) -> list[str]:
        """Return the verbs that this path answers (RFC 9110, section 10.2.1)."""

    def answer_text(self, text: str) -> None:
        """Answer with plain text."""
        self.finish(text)

    def answer_json(self, value: Any) -> None:
        """Answer with JSON; clients compare the content type, so it has no charset."""
        self.set_header("Content-Type", "application/json")
        self.finish(orjson.dumps(value) + b"\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error: ours by the table in errors.py, Tornado's by its status."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, MailUsersError):
            self._answer_error(error)
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self.allowed_verbs()))
        self._say(status_code, HTTPStatus(status_code).phrase + ".", plain=self._wants_text())

    def _answer_error(self, error: MailUsersError) -> None:
        status = HTTP_STATUS[error.code]
        self.set_status(status)
        if isinstance(error, (LoginRefusedError, NotPermittedError)):
            self.refuse(error.message)
            return
        if isinstance(error, (UnavailableError, StorageError)):
            self.say_when_to_retry(error)
            _log.warning("%s %s: %s", self.request.method, self.request.path, error)
        self._say(status, error.message, plain=self._wants_text())

    def set_status_of(self, error: MailUsersError) -> None:
        """Set the status that belongs to an error, and say when to try again where waiting helps."""
        self.set_status(HTTP_STATUS[error.code])
        self.say_when_to_retry(error)

    def say_when_to_retry(self, error: BaseException | None) -> None:
        """Say how long to wait before the same request is worth sending again, where waiting helps."""
        if isinstance(error, (UnavailableError, StorageError)):
            seconds = getattr(error, "retry_after_seconds", _STORAGE_RETRY_SECONDS)
            self.set_header("Retry-After", str(seconds))

    def refuse(self, reason: str) -> None:
        """Answer a caller who is not known or may not do this."""
        if self.request.headers.get("X-Requested-With") == "XMLHttpRequest":
            # A browser would put its own log-in box over the page's.
            status = HTTPStatus.FORBIDDEN
        else:
            status = HTTPStatus.UNAUTHORIZED
            self.set_header("WWW-Authenticate", f'Basic realm="{self.realm}"')
            self.set_header("X-Reason", reason)
        plain = self.request.headers.get("Accept", "") in ("", "*/*")
        self._say(status, reason, plain=plain, end="\n")

    def _say(self, status: int, reason: str, *, plain: bool, end: str = "") -> None:
        self.set_status(status)
        if plain:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(reason + end)
        else:
            self.answer_json({"status": "error", "reason": reason})

    def _wants_text(self) -> bool:
        return "application/json" not in self.request.headers.get("Accept", "")

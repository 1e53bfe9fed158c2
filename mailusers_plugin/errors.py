"""Every error that the plugin raises on purpose, and what a caller is told of it.

A use case raises one of these; :data:`HTTP_STATUS` is the one place that maps an error's code to an HTTP
status, and the command line turns any of them into a message and exit code 1.
"""

from __future__ import annotations

from typing import ClassVar, Final

from mailusers_plugin.texts import N_


class MailUsersError(Exception):
    """Base of all errors that the plugin raises on purpose.

    The text is safe to show to the caller: it never holds a password, a hash or a stack trace.

    :ivar message: in English; what the API and the command line say
    :ivar template: the same with ``%(name)s`` in place of the values, for translating
    :ivar values: what is filled in
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **values: object) -> None:
        """Keep the message.

        :param message: what is wrong and, where it is not obvious, what to do about it; marked by
            :func:`mailusers_plugin.texts.N_` where it is to be translated. With values it is a template, and a
            percent sign is written ``%%``; without it is taken as it stands.
        :param values: what stands in the template's ``%(name)s``
        """
        self.template = message
        self.values = values
        self.message = message % values if values else message
        super().__init__(self.message)

    @property
    def more(self) -> tuple[str, ...]:
        """Further sentences of the message, in English, each to be translated by itself."""
        return ()


class InvalidInputError(MailUsersError):
    """A parameter breaks a rule: an address, a quota, a password, a privilege."""

    code = "invalid-input"


class WeakPasswordError(InvalidInputError):
    """A new password is long enough, but would be guessed too soon."""

    def __init__(self, message: str, advice: tuple[str, ...] = ()) -> None:
        """Keep what is wrong and what would help.

        :param message: marked for translation
        :param advice: further sentences, each marked for translation
        """
        super().__init__(message)
        self.advice = advice
        self.message = " ".join((message, *advice))
        self.args = (self.message,)

    @property
    def more(self) -> tuple[str, ...]:
        """The advice."""
        return self.advice


class UnknownUserError(MailUsersError):
    """The address is not an active mail user."""

    code = "unknown-user"

    def __init__(self, email: str) -> None:
        """Build the contract's text.

        :param email: the address as the caller sent it
        """
        super().__init__(N_("That's not a user (%(email)s)."), email=email)


class UserExistsError(MailUsersError):
    """An account with this address is active already."""

    code = "user-exists"

    def __init__(self) -> None:
        """Build the contract's text."""
        super().__init__(N_("User already exists."))


class NotArchivedError(MailUsersError):
    """The address is active, or nothing of it is kept, so that there is nothing to purge."""

    code = "not-archived"

    def __init__(self) -> None:
        """Build the contract's text."""
        super().__init__(N_("That account is not archived."))


class RestoreConsentError(MailUsersError):
    """The address has an archived mailbox, and nobody has agreed that the new user gets it."""

    code = "restore-consent"

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(N_("That address has an archived mailbox. Say that the new user is to have it."))


class UndoOverError(MailUsersError):
    """What undoing an archive needs is not kept any more, or never was."""

    code = "undo-over"

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(N_("This can no longer be undone. Restore the user with a new password instead."))


class ForbiddenChangeError(MailUsersError):
    """The change would lock out the caller or leave the box without an administrator."""

    code = "forbidden-change"


class VetoError(MailUsersError):
    """An implementation of ``mailusers_validate_add`` refuses a new user.

    Implementations raise it with the message that the caller is to see.
    """

    code = "veto"


class StorageError(MailUsersError):
    """The mail store on disk does not allow what was asked: a permission, a full disk."""

    code = "storage"


class UnavailableError(MailUsersError):
    """Something needed is busy or away for now; the same request may work later.

    :ivar retry_after_seconds: how long the caller should wait
    """

    code = "unavailable"

    def __init__(self, message: str, retry_after_seconds: int = 5, **values: object) -> None:
        """Keep the message and the waiting time.

        :param message: what is away
        :param retry_after_seconds: sent as ``Retry-After`` (RFC 9110, section 10.2.3)
        :param values: what stands in the message's ``%(name)s``
        """
        super().__init__(message, **values)
        self.retry_after_seconds = retry_after_seconds


class ThrottledError(UnavailableError):
    """Too many log-ins have failed, so that no more are tried for a while.

    :ivar retry_after_seconds: how long the caller should wait
    """

    code = "throttled"

    def __init__(self, retry_after_seconds: int) -> None:
        """Build the text.

        :param retry_after_seconds: sent as ``Retry-After`` with ``429`` (RFC 6585, section 4)
        """
        minutes = -(-retry_after_seconds // 60)
        super().__init__(
            N_("Too many log-ins have failed. Try again in %(minutes)s min."),
            retry_after_seconds,
            minutes=minutes,
        )


class KeyReusedError(MailUsersError):
    """The ``Idempotency-Key`` was sent before, with another request."""

    code = "key-reused"

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(
            N_(
                "That Idempotency-Key was sent with another request before. Send what is new with a new key, and "
                "repeat a request exactly as it was."
            )
        )


class KeyBusyError(UnavailableError):
    """The first request with this ``Idempotency-Key`` is still being carried out."""

    code = "key-busy"

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(
            N_("The first request with that Idempotency-Key is still running. Send it again in a moment."), 1
        )


class ChangedError(MailUsersError):
    """The user is not any more what the caller has seen; nothing was done.

    :ivar what: what has changed: ``quota``, ``privileges``, ``password`` and ``status``; none where it is not known
    """

    code = "changed"

    def __init__(self, message: str, what: frozenset[str] = frozenset(), **values: object) -> None:
        """Keep the message, and what it is about.

        :param what: see above
        """
        super().__init__(message, **values)
        self.what = what


class LoginRefusedError(MailUsersError):
    """Nobody is logged in, or the credentials are wrong."""

    code = "login-refused"


class NotPermittedError(MailUsersError):
    """The caller is known but may not do this."""

    code = "not-permitted"


class ScopeError(MailUsersError):
    """The API token has no scope that allows this."""

    code = "scope"

    def __init__(self, permission: str) -> None:
        """Build the text.

        :param permission: what is needed
        """
        super().__init__(
            N_("This API token may not do that: it needs %(permission)s."), permission=permission
        )


class AdministrationError(MailUsersError):
    """The caller may change users, but not privileges, nor the accounts of those who have some."""

    code = "administration"


class ForgeryError(MailUsersError):
    """A browser's request came without the token that proves that our page made it (XSRF)."""

    code = "forgery"


class ForeignOriginError(MailUsersError):
    """Another site made a browser send a request."""

    code = "foreign-origin"

    def __init__(self) -> None:
        """Build the text."""
        super().__init__(N_("Another site sent this form. Load the page itself and repeat what you did."))


class ConfigurationError(MailUsersError):
    """A setting, a hook or the environment is wrong, so that the plugin does not start."""

    code = "configuration"


HTTP_STATUS: Final[dict[str, int]] = {
    "error": 500,
    "invalid-input": 400,
    "unknown-user": 400,
    "user-exists": 400,
    "not-archived": 400,
    "restore-consent": 400,
    "undo-over": 400,
    "forbidden-change": 400,
    "veto": 400,
    "storage": 503,
    "unavailable": 503,
    "throttled": 429,
    "login-refused": 401,
    "not-permitted": 401,
    "scope": 403,
    "administration": 403,
    "forgery": 403,
    "foreign-origin": 403,
    "configuration": 500,
    "changed": 412,
    "key-reused": 422,
    "key-busy": 409,
}
"""HTTP status by error code. ``401`` becomes ``403`` for callers that say they are XMLHttpRequest."""

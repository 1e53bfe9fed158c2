"""Every error that the plugin raises on purpose, and what a caller is told of it.

A use case raises one of these; :data:`HTTP_STATUS` is the one place that maps an error's code to an HTTP
status, and the command line turns any of them into a message and exit code 1.
"""

from __future__ import annotations

from typing import ClassVar, Final


class MailUsersError(Exception):
    """Base of all errors that the plugin raises on purpose.

    The text is safe to show to the caller: it never holds a password, a hash or a stack trace.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        """Keep the message.

        :param message: what is wrong and, where it is not obvious, what to do about it
        """
        super().__init__(message)
        self.message = message


class InvalidInputError(MailUsersError):
    """A parameter breaks a rule: an address, a quota, a password, a privilege."""

    code = "invalid-input"


class UnknownUserError(MailUsersError):
    """The address is not an active mail user."""

    code = "unknown-user"

    def __init__(self, email: str) -> None:
        """Build the contract's text.

        :param email: the address as the caller sent it
        """
        super().__init__(f"That's not a user ({email}).")


class UserExistsError(MailUsersError):
    """An account with this address is active already."""

    code = "user-exists"

    def __init__(self) -> None:
        """Build the contract's text."""
        super().__init__("User already exists.")


class NotArchivedError(MailUsersError):
    """The address is active, or nothing of it is kept, so that there is nothing to purge."""

    code = "not-archived"

    def __init__(self) -> None:
        """Build the contract's text."""
        super().__init__("That account is not archived.")


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

    def __init__(self, message: str, retry_after_seconds: int = 5) -> None:
        """Keep the message and the waiting time.

        :param message: what is away
        :param retry_after_seconds: sent as ``Retry-After`` (RFC 9110, section 10.2.3)
        """
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class LoginRefusedError(MailUsersError):
    """Nobody is logged in, or the credentials are wrong."""

    code = "login-refused"


class NotPermittedError(MailUsersError):
    """The caller is known but may not do this."""

    code = "not-permitted"


class ForgeryError(MailUsersError):
    """A browser's request came without the token that proves that our page made it (XSRF)."""

    code = "forgery"


class ConfigurationError(MailUsersError):
    """A setting, a hook or the environment is wrong, so that the plugin does not start."""

    code = "configuration"


HTTP_STATUS: Final[dict[str, int]] = {
    "error": 500,
    "invalid-input": 400,
    "unknown-user": 400,
    "user-exists": 400,
    "not-archived": 400,
    "forbidden-change": 400,
    "veto": 400,
    "storage": 503,
    "unavailable": 503,
    "login-refused": 401,
    "not-permitted": 401,
    "forgery": 403,
    "configuration": 500,
}
"""HTTP status by error code. ``401`` becomes ``403`` for callers that say they are XMLHttpRequest."""

"""What a script on the page gets in place of a part that could not be made."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from mailusers_plugin.errors import (
    HTTP_STATUS,
    ChangedError,
    ForbiddenChangeError,
    ForgeryError,
    LoginRefusedError,
    MailUsersError,
    NotArchivedError,
    UndoOverError,
    UnknownUserError,
)

if TYPE_CHECKING:
    from mailusers_plugin.handlers.page_base import PageHandler

LOCAL_PATH: Final = re.compile(r"/(?!/|%2f|%5c)[!-\[\]-~]{0,4000}", re.IGNORECASE)
"""A path on this server, as a browser would write it in an address: nothing but visible ASCII without a backslash.

A browser takes ``//host`` and ``/\\host`` for another server and drops tabs and line breaks from addresses, so that
``/<tab>/host`` is one too; a proxy that decodes may make one of ``/%2fhost``.
"""

_OUT_OF_DATE: Final = (ChangedError, UnknownUserError, NotArchivedError, UndoOverError, ForbiddenChangeError)
"""Somebody else was quicker: what the page shows is not so any more."""


def answer_part(page: PageHandler, error: MailUsersError | None, status: int) -> None:
    """Answer a script's request with words in a dialog, or with the log-in.

    A script puts no error on the page that does not say where it belongs (``HX-Retarget``): that one is a proxy's. What
    it asked by itself is answered with words only, which it puts where they disturb nobody.

    :param error: ``None`` where it is none of ours
    :param status: the HTTP status
    """
    page.set_status(HTTP_STATUS[error.code] if error else status)
    if page.get_status() == HTTPStatus.UNAUTHORIZED and not isinstance(error, LoginRefusedError):
        # Nobody is helped by the browser's own log-in box: who may not do it is logged in.
        page.set_status(HTTPStatus.FORBIDDEN)
    page.say_when_to_retry(error)
    page.set_header("Content-Type", page.default_content_type)
    message = page.error_text(error) if error else page.status_text(page.get_status())
    if page.is_background:
        page.render_page("_aside.html", **page.aside(error, message))
    elif isinstance(error, LoginRefusedError):
        # Over whatever is open, which stays as it is. There is no challenge: a browser would put its own box over it.
        _show(page, "#mu-dialogs", "beforeend")
        page.render_page("_login_dialog.html", error="", email="")
    elif isinstance(error, ForgeryError):
        # With this answer comes a token that is good, and what was typed is still there.
        _show(page, "#mu-dialogs", "beforeend")
        message = page.gettext(
            "This form was out of date. Nothing was done and nothing is lost. It is up to date now: send it once more."
        )
        page.render_page("_error_dialog.html", id="mu-again", message=message)
    else:
        if isinstance(error, _OUT_OF_DATE):
            page.set_header("HX-Trigger", json.dumps({"mailusers:refresh": {"target": "body"}}))
        _show(page, "#mu-dialogs", "innerHTML")
        page.render_page("_error_dialog.html", id="mu-dialog", message=message)


def login_url(page: PageHandler) -> str:
    """Return where to log in, and from there to come back to this page or to the one on which the script runs."""
    url = page.dependencies.host.login_url
    joint = "&" if "?" in url else "?"
    back = way_back(page) if page.is_partial else page.here()
    return f"{url}{joint}next={quote(back, safe='')}"


def way_back(page: PageHandler) -> str:
    """Return the local path to come back to: the form with what was typed, or the page on which the script runs."""
    own = "" if page.request.method in ("GET", "HEAD") else page.here()
    if own and own != page.users_url():
        return own
    shown = urlsplit(page.request.headers.get("HX-Current-URL", ""))
    path = shown.path + (f"?{shown.query}" if shown.query else "")
    return path if LOCAL_PATH.fullmatch(path) else page.users_url()


def _show(page: PageHandler, target: str, swap: str) -> None:
    page.set_header("HX-Retarget", target)
    page.set_header("HX-Reswap", f"{swap} settle:0 show:none")

"""Where the language menu leads."""

from __future__ import annotations

from typing import Final

from mailusers_plugin.handlers.base import public
from mailusers_plugin.handlers.page_base import PageHandler
from mailusers_plugin.handlers.reader import LANGUAGE_COOKIE

_YEAR_DAYS: Final = 365


class LanguagePage(PageHandler):
    """Keeps a choice of language in a cookie, for whoever it is, also before logging in."""

    answers_during_set_up = True

    @public
    async def post(self) -> None:
        """Keep it and lead back."""
        self.check_forgery()
        language = self.dependencies.languages.find(self.parameters.text("language"))
        if language is not None:
            self.set_cookie(
                LANGUAGE_COOKIE,
                language.tag,
                path=self.dependencies.settings.prefix or "/",
                expires_days=_YEAR_DAYS,
                httponly=True,
                secure=self.is_https,
                samesite="Lax",
            )
        self.redirect(self.way_back(), status=303)


ROUTES = [("/mailusers/language", LanguagePage)]

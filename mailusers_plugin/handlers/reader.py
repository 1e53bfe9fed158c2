"""Who reads the answer: the language, and texts in it."""

from __future__ import annotations

import inspect
from typing import Final

import tornado.locale

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.languages import Language
from mailusers_plugin.request_log import current
from mailusers_plugin.texts import N_

LANGUAGE_COOKIE: Final = "mailusers_language"

_PHRASES: Final = {
    400: N_("The request could not be understood."),
    403: N_("That is not allowed."),
    404: N_("There is no such page."),
    405: N_("That cannot be done with this page."),
    500: N_("Something went wrong on the server. Its log says what."),
}


class ReaderHandler(BaseHandler):
    """Base of the handlers whose answers are read by people. What programs get is always English.

    ``self.locale`` stays Tornado's, in the same language: a host's base template has its own texts from there.
    """

    _language: Language | None = None
    has_fixed_language = False
    """Whether the host has said which language the reader has, so that there is nothing to choose."""

    async def prepare(self) -> None:
        """Find out the language before anything can go wrong."""
        current.set(self.request_id)
        code = await self._language_of_host()
        if code is not None:
            self._language = self.dependencies.languages.find(code)
            self.has_fixed_language = self._language is not None
        await super().prepare()

    @property
    def language(self) -> Language:
        """The reader's language: what the host says, else what was chosen, else what the browser likes best."""
        if self._language is None:
            languages = self.dependencies.languages
            chosen = self.get_cookie(LANGUAGE_COOKIE)
            header = self.request.headers.get("Accept-Language", "")
            language = (
                (languages.find(chosen) if chosen else None)
                or languages.accepted(header)
                or languages.default
            )
            self._language = language.as_written(header)
        return self._language

    async def _language_of_host(self) -> str | None:
        choose = getattr(self.dependencies.host, "locale", None)
        if not callable(choose):
            return None
        code = choose(self)
        if inspect.isawaitable(code):
            code = await code
        return None if code is None else str(code)

    def get_user_locale(self) -> tornado.locale.Locale:
        """Return the host's own locale that is nearest to the reader's language."""
        tag = self.language.tag.replace("-", "_")
        known = sorted(tornado.locale.get_supported_locales())
        return tornado.locale.get(tag, *(code for code in known if code.split("_")[0] == tag.split("_")[0]))

    def set_language_headers(self) -> None:
        """Say which language the answer has, and on what that depends."""
        self.set_header("Content-Language", self.language.tag)
        self.add_header("Vary", "Accept-Language, Cookie")

    def gettext(self, text: str, /, **values: object) -> str:
        """Return a text in the reader's language.

        :param text: in English, with ``%(name)s`` for each value
        """
        return self.language.fill(text, values)

    def ngettext(self, singular: str, plural: str, number: int, /, **values: object) -> str:
        """Return the form of a text that a number wants, in the reader's language.

        :param number: stands in the text as ``%(num)s``
        """
        return self.language.nfill(singular, plural, number, values)

    def error_text(self, error: MailUsersError) -> str:
        """Return what an error says, in the reader's language."""
        return self.language.error_text(error)

    def status_text(self, status: int) -> str:
        """Return what an HTTP status means for the reader, where no error of ours says more."""
        return self.gettext(_PHRASES.get(status) or _PHRASES[400 if status < 500 else 500])

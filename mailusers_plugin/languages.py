"""The languages of the page: which one a reader gets, its texts, its way of writing numbers and times.

The catalogues are read as they are kept, ``translations/<language>/LC_MESSAGES/mailusers.po``: some 20 ms each, once
for a process, so that there is nothing to compile. Tornado's own table of languages, which is the host's, is neither
read nor changed.
"""

from __future__ import annotations

import functools
import gettext
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, TypeGuard

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_datetime_format
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from mailusers_plugin.errors import ConfigurationError, MailUsersError

SOURCE: Final = "en"
"""The language in which the texts stand in the code."""
DOMAIN: Final = "mailusers"
CATALOGUES: Final = Path(__file__).parent / "translations"

_MAX_RANGES: Final = 32
"""Browsers send a handful; no more of what anybody may send is looked at."""
_RANGE: Final = re.compile(
    r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.ASCII
)
_ISOLATE: Final = "\u2068"
_END_ISOLATE: Final = "\u2069"
_ISOLATING: Final = re.compile("[\u2066-\u2069]")
_TURNING: Final = re.compile(
    # The scripts that are written from right to left, and the marks that change the direction.
    "[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_SIZE_UNITS: Final = ("", "K", "M", "G", "T", "P")


@dataclass(frozen=True, slots=True)
class Language:
    """One language of the page.

    :ivar tag: as in ``lang`` and ``Accept-Language`` (BCP 47): ``de``, ``pt-BR``
    :ivar name: in the language itself
    :ivar direction: ``ltr`` or ``rtl``
    :ivar locale: Babel's, for numbers and times
    """

    tag: str
    name: str
    direction: str
    locale: Locale
    _catalogue: gettext.NullTranslations = field(repr=False)

    def as_written(self, header: str) -> Language:
        """Return the language with numbers, times and days as they are written where the reader lives.

        :param header: ``Accept-Language``; of the ranges in this language the one that is liked best counts, so that
            English is ``Nov 25, 2026`` by itself and ``25 Nov 2026`` for ``en-GB``
        """
        for tag, quality in sorted(_parse(header), key=lambda found: -found[1]):
            if quality > 0 and tag.split("-")[0].lower() == self.locale.language:
                locale = _regional(tag.lower())
                if locale is None or self.locale.territory or locale.text_direction != self.direction:
                    return self
                return replace(self, locale=locale)
        return self

    def gettext(self, text: str) -> str:
        """Return a text's translation, the text itself where there is none."""
        # The translation of nothing is the catalogue's header.
        return self._catalogue.gettext(text) if text else text

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        """Return the form of a text that a number wants."""
        return self._catalogue.ngettext(singular, plural, number)

    def pgettext(self, context: str, text: str) -> str:
        """Return the translation of a text that means different things in different places."""
        return self._catalogue.pgettext(context, text)

    def npgettext(self, context: str, singular: str, plural: str, number: int) -> str:
        """Return the form that a number wants, of a text that means different things in different places."""
        return self._catalogue.npgettext(context, singular, plural, number)

    def fill(self, template: str, values: Mapping[str, object]) -> str:
        """Return a text's translation with values in it; whole numbers are written in the language's way.

        :param template: with ``%(name)s`` for each value; without values it is taken as it stands
        """
        text = self.gettext(template)
        return text % self._shown(values) if values else text

    def nfill(self, singular: str, plural: str, number: int, values: Mapping[str, object]) -> str:
        """Return the form of a text that a number wants, with values in it.

        :param number: stands in the text as ``%(num)s``
        """
        return self.ngettext(singular, plural, number) % self._shown({"num": number, **values})

    def _shown(self, values: Mapping[str, object]) -> dict[str, object]:
        shown: dict[str, object] = {}
        for name, value in values.items():
            shown[name] = (
                self.number(value)
                if _is_number(value)
                else isolated(value)
                if isinstance(value, str)
                else value
            )
        return shown

    def error_text(self, error: MailUsersError) -> str:
        """Return what an error says; what another module wrote is left as it is."""
        said = self.fill(error.template, error.values)
        return " ".join((said, *map(self.gettext, error.more)))

    def number(self, number: float) -> str:
        """Return a number: ``12,345`` in English, ``12.345`` in German."""
        return format_decimal(number, locale=self.locale)

    def filesize(self, size_bytes: int | None) -> str:
        """Return a size in the short form of :func:`mailusers_plugin.validation.display_size`: ``1,2G`` in German.

        :param size_bytes: not negative; ``None`` where it is not known
        """
        if size_bytes is None:
            return "?"
        size = float(size_bytes)
        unit = ""
        for unit in _SIZE_UNITS:
            if size < 1024:
                break
            if unit != _SIZE_UNITS[-1]:
                size /= 1024
        digits = "0" if size > 99 else "0.0"
        return format_decimal(size, digits, locale=self.locale) + unit

    def percent(self, percent: float | None) -> str:
        """Return a share: ``83%`` in English, ``83 %`` in German.

        :param percent: 100 is all of it; ``None`` where it is not known
        """
        return "?" if percent is None else format_percent(percent / 100, locale=self.locale)

    def date(self, day: date) -> str:
        """Return a day. A time is taken in UTC.

        :param day: a date, or a time with its zone
        """
        if isinstance(day, datetime):
            day = day.astimezone(UTC).date()
        return format_date(day, "medium", locale=self.locale)

    def datetime(self, time: datetime) -> str:
        """Return a time in UTC, to the minute, with the zone.

        :param time: with its zone
        """
        utc = time.astimezone(UTC)
        pattern = str(get_datetime_format("medium", locale=self.locale))
        clock = format_time(utc, "short", tzinfo=UTC, locale=self.locale)
        return f"{pattern.replace('{1}', self.date(utc)).replace('{0}', clock)} UTC"


def isolated(text: str) -> str:
    """Return a text that can stand in another one and leaves the order of what is around it alone.

    Where it is written from right to left, or has marks that say so, it gets the marks that keep that to itself
    (Unicode Standard Annex 9). Marks of its own that would end this too early or too late are shown as errors.

    :param text: something that somebody may have written, such as an address or a name
    """
    if not _TURNING.search(text):
        return text
    return _ISOLATE + _ISOLATING.sub("\N{REPLACEMENT CHARACTER}", text) + _END_ISOLATE


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


class Languages:
    """The languages that a page may be read in; the first one is for everybody who asks for none of them."""

    def __init__(self, languages: Sequence[Language]) -> None:
        """Take them.

        :param languages: at least one
        """
        self.all = tuple(languages)
        self._by_tag = {language.tag.lower(): language for language in self.all}

    @classmethod
    def load(cls, allowed: Sequence[str] = (), folder: Path | None = None) -> Languages:
        """Read the catalogues.

        :param allowed: tags, the one for everybody else first; empty for all that there are, English first
        :param folder: holds a folder for each language; that of the package by default
        :raises ConfigurationError: if there is no catalogue for one of them
        """
        folder = folder or CATALOGUES
        known = [SOURCE, *available(folder)]
        wanted = [tag.replace("_", "-") for tag in allowed] or known
        for tag in wanted:
            if tag not in known:
                raise ConfigurationError(f"languages: there is no {tag!r}. There are {', '.join(known)}.")
        return cls([_load(tag, folder) for tag in dict.fromkeys(wanted)])

    @property
    def default(self) -> Language:
        """The language for everybody who asks for none of them."""
        return self.all[0]

    def find(self, tag: str) -> Language | None:
        """Return the language that is nearest to a tag: ``de`` for ``de-CH``, ``pt-BR`` for ``pt``.

        It is the look-up of RFC 4647, section 3.4, with hyphens or underscores. Of two that are equally near, the
        first is taken.
        """
        parts = tag.lower().replace("_", "-").split("-")[:8]
        for length in range(len(parts), 0, -1):
            shorter = "-".join(parts[:length])
            if shorter in self._by_tag:
                return self._by_tag[shorter]
        return next((known for key, known in self._by_tag.items() if key.split("-")[0] == parts[0]), None)

    def accepted(self, header: str) -> Language | None:
        """Return the one that a browser likes best (RFC 9110, section 12.5.4).

        :param header: ``Accept-Language``
        :returns: ``None`` where it wants none of them
        """
        ranges = _parse(header)
        refused = {tag.lower() for tag, quality in ranges if quality == 0}
        for tag, quality in sorted(ranges, key=lambda found: -found[1]):
            if quality == 0:
                break
            if tag == "*":
                found = next((known for known in self.all if known.tag.lower() not in refused), None)
            else:
                found = self.find(tag)
            if found is not None and found.tag.lower() not in refused:
                return found
        return None


def available(folder: Path = CATALOGUES) -> list[str]:
    """Return the tags of the languages that have a catalogue, English aside.

    :param folder: holds a folder for each
    """
    return sorted(
        path.parent.parent.name.replace("_", "-") for path in folder.glob(f"*/LC_MESSAGES/{DOMAIN}.po")
    )


def _parse(header: str) -> list[tuple[str, float]]:
    """Return the ranges of an ``Accept-Language`` with their quality; what is not one is passed over."""
    found = []
    for part in header.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        match = _RANGE.fullmatch(part)
        if match:
            found.append((match[1], min(float(match[2] or 1), 1.0)))
    return found


@functools.lru_cache(maxsize=256)
def _regional(tag: str) -> Locale | None:
    try:
        return Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        return None


@functools.cache
def _load(tag: str, folder: Path) -> Language:
    locale = Locale.parse(tag, sep="-")
    name = locale.get_display_name(locale) or tag
    catalogue = gettext.NullTranslations()
    if tag != SOURCE:
        path = folder / tag.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.po"
        compiled = io.BytesIO()
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=locale))
        compiled.seek(0)
        catalogue = gettext.GNUTranslations(compiled)
    # As in a list of languages, which is how it is shown; French writes its own name with a small letter.
    return Language(tag, name[:1].upper() + name[1:], locale.text_direction, locale, catalogue)

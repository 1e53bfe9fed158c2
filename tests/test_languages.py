"""Which language a reader gets, and how texts, numbers and times stand in it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from mailusers_plugin.errors import (
    ConfigurationError,
    InvalidInputError,
    MailUsersError,
    UnavailableError,
    UnknownUserError,
    VetoError,
)
from mailusers_plugin.languages import Languages, isolated
from mailusers_plugin.validation import check_privileges, display_size

CATALOGUE = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: {plural}\\n"

msgid "Passwords must be at least eight characters."
msgstr "{tag}: short"

msgid "That's not a user (%(email)s)."
msgstr "{tag}: nobody is %(email)s"

msgid "%(num)s user"
msgid_plural "%(num)s users"
{forms}
"""
PLURALS = {
    "pl": "nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "ja": "nplurals=1; plural=0;",
}


def catalogues(folder: Path, *tags: str) -> Path:
    """Write catalogues of made-up translations."""
    for tag in tags:
        plural = PLURALS.get(tag, "nplurals=2; plural=(n != 1);")
        forms = "\n".join(f'msgstr[{n}] "form {n}: %(num)s"' for n in range(int(plural[9])))
        path = folder / tag.replace("-", "_") / "LC_MESSAGES" / "mailusers.po"
        path.parent.mkdir(parents=True)
        path.write_text(CATALOGUE.format(plural=plural, tag=tag, forms=forms), "utf-8")
    return folder


@pytest.fixture
def some(tmp_path: Path) -> Languages:
    """English, German, Brazilian Portuguese, and traditional Chinese."""
    return Languages.load((), catalogues(tmp_path, "de", "pt-BR", "zh-Hant"))


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-CH", "de"),
        ("de-CH-1996, en", "de"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh-Hant-TW", "zh-Hant"),
        ("en;q=0.7, de;q=0.8", "de"),
        ("en;q=0.8, de;q=0.8", "en"),
        ("fr, es, de;q=0.1", "de"),
        ("fr;q=1.0,de ; q = 0.5", "de"),
        ("*", "en"),
        ("en;q=0, *", "de"),
        ("fr, *;q=0.1", "en"),
        ("de;q=0, de-CH", None),
        ("de;q=0", None),
        ("fr", None),
        ("", None),
        ("de;q=2, en", "en"),
        ("de;q=0.12345, en;q=0.1", "en"),
        ("x" * 9 + ", de", "de"),
        ("=, ;q=1, -de, de\u0661", None),
        (",".join(["fr"] * 40) + ", de", None),
    ],
)
def test_what_a_browser_asks_for(some: Languages, header: str, tag: str | None) -> None:
    """The best quality wins, then the order; a longer tag is cut; what is not a language range is passed over."""
    found = some.accepted(header)
    assert (found.tag if found else None) == tag


@pytest.mark.parametrize(
    ("tag", "found"),
    [("de_AT", "de"), ("pt_br", "pt-BR"), ("", None), ("fr", None), ("d", None), ("*", None)],
)
def test_what_a_host_says(some: Languages, tag: str, found: str | None) -> None:
    """Hyphens, underscores and any case are taken; another language is not."""
    language = some.find(tag)
    assert (language.tag if language else None) == found


def test_allowed_languages(tmp_path: Path) -> None:
    """The setting's first language is the default; without the setting it is English, and all are there."""
    folder = catalogues(tmp_path, "de", "pt-BR", "he")
    assert [one.tag for one in Languages.load((), folder).all] == ["en", "de", "he", "pt-BR"]
    chosen = Languages.load(("pt_BR", "en", "pt-BR"), folder)
    assert [one.tag for one in chosen.all] == ["pt-BR", "en"]
    assert chosen.default.tag == "pt-BR"
    assert chosen.find("de") is None
    with pytest.raises(
        ConfigurationError, match=r"languages: there is no 'fr'\. There are en, de, he, pt-BR"
    ):
        Languages.load(("de", "fr"), folder)
    with pytest.raises(ConfigurationError):
        Languages.load(("../../etc",), folder)


def test_names_and_directions(tmp_path: Path) -> None:
    """A language is named in itself, beginning with a capital, and knows its direction."""
    languages = Languages.load((), catalogues(tmp_path, "fr", "he"))
    assert [(one.name, one.direction) for one in languages.all] == [
        ("English", "ltr"),
        ("Français", "ltr"),
        ("עברית", "rtl"),
    ]


@pytest.mark.parametrize(
    ("tag", "header", "day"),
    [
        ("en", "en-GB,en;q=0.9", "25 Nov 2026"),
        ("en", "en-US", "Nov 25, 2026"),
        ("en", "en,en-GB;q=0.9", "Nov 25, 2026"),
        ("en", "de, en-GB;q=0.5", "25 Nov 2026"),
        ("en", "en-GB;q=0", "Nov 25, 2026"),
        ("en", "en-QX, en-XYZW", "Nov 25, 2026"),
        ("en", "", "Nov 25, 2026"),
        ("de", "en-GB", "25.11.2026"),
        ("fr", "fr-CA", "25 nov. 2026"),
    ],
)
def test_the_readers_region(tmp_path: Path, tag: str, header: str, day: str) -> None:
    """A day is written as in the region that the browser names for the page's language, if any."""
    language = Languages.load((tag,), catalogues(tmp_path, tag)).default
    shown = language.as_written(header)
    assert shown.date(date(2026, 11, 25)) == day
    assert shown.tag == tag


def test_the_languages_own_region(tmp_path: Path) -> None:
    """A language that has a region itself keeps it."""
    language = Languages.load(("pt-BR",), catalogues(tmp_path, "pt-BR")).default
    assert language.as_written("pt-PT") is language


@pytest.mark.parametrize(
    ("tag", "number", "form"),
    [("de", 1, 0), ("de", 0, 1), ("pl", 1, 0), ("pl", 3, 1), ("pl", 12, 2), ("pl", 22, 1), ("ja", 1, 0)],
)
def test_plural(tmp_path: Path, tag: str, number: int, form: int) -> None:
    """Each language has the forms that it has."""
    language = Languages.load((tag,), catalogues(tmp_path, tag)).default
    assert language.nfill("%(num)s user", "%(num)s users", number, {}) == f"form {form}: {number}"


def test_numbers_in_texts(some: Languages) -> None:
    """A whole number is written in the language's way, also in a text without a translation."""
    english, german = some.all[:2]
    assert english.nfill("%(num)s user", "%(num)s users", 12345, {}) == "12,345 users"
    assert german.nfill("%(num)s user", "%(num)s users", 12345, {}) == "form 1: 12.345"
    assert (
        german.fill("at most %(limit)s of %(kind)s", {"limit": 1024, "kind": "1024"})
        == "at most 1.024 of 1024"
    )


def test_error_texts(some: Languages) -> None:
    """Pages show a translation with the same values; the English message stays the contract's."""
    german = some.all[1]
    error = UnknownUserError("50%(email)s@example.com")
    assert str(error) == error.message == "That's not a user (50%(email)s@example.com)."
    assert german.error_text(error) == "de: nobody is 50%(email)s@example.com"
    with pytest.raises(InvalidInputError) as caught:
        check_privileges(["100%"], ())
    assert caught.value.message == german.error_text(caught.value) == "That's not a valid privilege (100%)."


@pytest.mark.parametrize("message", ["", "100 % of nothing", "%(email)s", "Nicht hier."])
def test_what_a_module_wrote(some: Languages, message: str) -> None:
    """The message of another module is shown as it comes, even where it looks like a template or is empty."""
    for language in some.all:
        assert language.error_text(VetoError(message)) == message
    assert VetoError(message).message == message


def test_errors_keep_what_they_had() -> None:
    """Values and the waiting time go together, and an error without values is no template."""
    error = UnavailableError("%(what)s is away: 5 %%", 7, what="x")
    assert (error.message, error.retry_after_seconds) == ("x is away: 5 %", 7)
    assert MailUsersError("5 %").message == "5 %"


@pytest.mark.parametrize(
    "size",
    [0, 1, 98, 99, 100, 1023, 1024, 1400, 101888, 1024**2 - 1, 1024**2, 1288490189, 2**63 - 1, 1024**7],
)
def test_sizes(some: Languages, size: int) -> None:
    """A size is the contract's short form, but for the decimal mark."""
    english, german = some.all[:2]
    assert english.filesize(size) == display_size(size)
    assert german.filesize(size) == display_size(size).replace(".", ",")


def test_numbers_and_shares(tmp_path: Path) -> None:
    """Digits are grouped and the percent sign stands as the language wants it."""
    english, german, french = Languages.load((), catalogues(tmp_path, "de", "fr")).all
    assert [one.number(1234567) for one in (english, german)] == ["1,234,567", "1.234.567"]
    # Which of the narrow spaces it is, is for each release of CLDR to say.
    assert re.sub(r"\s", " ", french.number(1234567)) == "1 234 567"
    assert [re.sub(r"\s", " ", one.percent(83.4)) for one in (english, german)] == ["83%", "83 %"]
    assert english.percent(None) == english.filesize(None) == "?"


def test_times(tmp_path: Path) -> None:
    """A time is written in UTC and says so, wherever it was taken."""
    english, german, french = Languages.load((), catalogues(tmp_path, "de", "fr")).all
    late = datetime(2026, 3, 31, 23, 30, 59, tzinfo=timezone(-timedelta(hours=5)))
    assert german.datetime(late) == "01.04.2026, 04:30 UTC"
    assert french.datetime(late) == "1 avr. 2026, 04:30 UTC"
    assert re.sub(r"\s", " ", english.datetime(late)) == "Apr 1, 2026, 4:30 AM UTC"
    assert german.date(late) == "01.04.2026"
    assert german.date(date(2026, 12, 24)) == "24.12.2026"
    assert english.date(datetime(2026, 12, 24, tzinfo=UTC)) == "Dec 24, 2026"


def test_the_source_language_has_its_own_plural() -> None:
    """English needs no catalogue."""
    english = Languages.load(("en",)).default
    assert [english.nfill("%(num)s user", "%(num)s users", n, {}) for n in (0, 1, 2)] == [
        "0 users",
        "1 user",
        "2 users",
    ]
    assert english.gettext("") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("user@example.com", "user@example.com"),
        ("Jürgen 🙂 \u200b", "Jürgen 🙂 \u200b"),
        ("\u202egnp.exe", "\u2068\u202egnp.exe\u2069"),
        ("دعم@example.com", "\u2068دعم@example.com\u2069"),
        ("a\u2069\u202eb", "\u2068a\ufffd\u202eb\u2069"),
        ("a\u2067b", "\u2068a\ufffdb\u2069"),
    ],
)
def test_what_runs_the_other_way_is_kept_to_itself(some: Languages, text: str, shown: str) -> None:
    """A value cannot turn the words around it, nor end what keeps it to itself."""
    assert isolated(text) == shown
    assert some.default.fill("%(email)s was added.", {"email": text}) == f"{shown} was added."

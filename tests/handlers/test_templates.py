"""Texts, numbers and times in templates, each language by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import jinja2
import pytest
from babel import localedata

from mailusers_plugin.handlers.templates import Templates
from mailusers_plugin.languages import Languages

PO = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "The mail of %(name)s is in <b>%(path)s</b>."
msgstr "In <b>%(path)s</b> liegt die Post von %(name)s."

msgid "%(num)s user"
msgid_plural "%(num)s users"
msgstr[0] "%(num)s Benutzer allein"
msgstr[1] "%(num)s Benutzer"


msgctxt "verb"
msgid "Archive"
msgstr "Archivieren"

msgctxt "noun"
msgid "Archive"
msgstr "Archiv"
"""


@pytest.fixture
def languages(tmp_path: Path) -> Languages:
    """English and German."""
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "mailusers.po").write_text(PO, "utf-8")
    return Languages.load((), tmp_path)


def render(languages: Languages, source: str, **values: object) -> list[str]:
    """Render a template in every language."""
    templates = Templates(jinja2.DictLoader({"x.html": source}))
    return [templates.get("x.html", language).render(**values) for language in languages.all]


def test_regions_are_kept_apart_and_not_all_kept() -> None:
    """Each region has its own way of dates in the same template, and no more of them are kept than a number."""
    templates = Templates(jinja2.DictLoader({"x.html": "{{ day | date }}"}))
    english = Languages.load(("en",)).default
    shown = [
        templates.get("x.html", english.as_written(header)).render(day=date(2026, 11, 25))
        for header in ("", "en-GB", "en-US", "", "en-CA")
    ]
    assert shown == ["Nov 25, 2026", "25 Nov 2026", "Nov 25, 2026", "Nov 25, 2026", "Nov 25, 2026"]
    regions = sorted(
        name for name in localedata.locale_identifiers() if name.startswith("en_") and len(name) == 5
    )
    assert len(regions) > 40
    for name in regions:
        templates.get("x.html", english.as_written(name.replace("_", "-")))
    assert len(templates._environments) == 32


def test_values_are_escaped(languages: Languages) -> None:
    """A text may hold elements; what is put into it may not, and a percent sign in it means nothing."""
    source = "{% trans name=name, path=path %}The mail of {{ name }} is in <b>{{ path }}</b>.{% endtrans %}"
    assert render(languages, source, name="<i>%(path)s", path="100%") == [
        "The mail of &lt;i&gt;%(path)s is in <b>100%</b>.",
        "In <b>100%</b> liegt die Post von &lt;i&gt;%(path)s.",
    ]


@pytest.mark.parametrize(
    ("number", "english", "german"),
    [(1, "1 user", "1 Benutzer allein"), (1234, "1,234 users", "1.234 Benutzer")],
)
def test_the_number_of_a_plural(languages: Languages, number: int, english: str, german: str) -> None:
    """The number that the form depends on is written in the language's way."""
    source = "{{ ngettext('%(num)s user', '%(num)s users', n) }}"
    assert render(languages, source, n=number) == [english, german]


def test_a_plural_with_other_numbers(languages: Languages) -> None:
    """It is written so by any name; other numbers stay as they were given, as a port must."""
    source = "{{ ngettext('x', '%(count)s rows, of %(whole)s', n, count=n, whole=whole) }}"
    assert render(languages, source, n=1234, whole=10222)[0] == "1,234 rows, of 10222"


def test_one_word_of_two_meanings(languages: Languages) -> None:
    """A context tells them apart."""
    source = "{{ pgettext('verb', 'Archive') }} {{ pgettext('noun', 'Archive') }}"
    assert render(languages, source) == ["Archive Archive", "Archivieren Archiv"]


def test_a_block_of_several_lines_is_one_text(languages: Languages) -> None:
    """Line breaks and indents of the template are not part of a text."""
    source = """<p>{% trans name='a', path='b' %}The mail of {{ name }}
        is in <b>{{ path }}</b>.{% endtrans %}</p>"""
    assert render(languages, source)[1] == "<p>In <b>b</b> liegt die Post von a.</p>"


def test_languages_are_not_mixed(languages: Languages) -> None:
    """Included and imported templates have the page's language, whoever renders at the same time."""
    loader = jinja2.DictLoader(
        {
            "page.html": "{% import 'macros.html' as m %}{{ m.users(2000) }} {% include 'part.html' %}",
            "macros.html": "{% macro users(n) %}{{ ngettext('%(num)s user', '%(num)s users', n) }}{% endmacro %}",
            "part.html": "{{ language.tag }} {{ 1.5 | number }}",
        }
    )
    templates = Templates(loader)
    expected = ["2,000 users en 1.5", "2.000 Benutzer de 1,5"]
    with ThreadPoolExecutor(8) as pool:
        pages = pool.map(lambda n: templates.get("page.html", languages.all[n % 2]).render(), range(200))
    assert list(pages) == expected * 100


def test_values_by_themselves(languages: Languages) -> None:
    """Numbers, sizes and shares are the reader's, also where the template names them itself."""
    source = "{{ 12345 | number }} {{ 1288490189 | filesize }} {{ size | filesize }} {{ share | percent }}"
    assert [page.replace("\xa0", " ") for page in render(languages, source, size=None, share=83.4)] == [
        "12,345 1.2G ? 83%",
        "12.345 1,2G ? 83 %",
    ]


def test_times_name_their_zone(languages: Languages) -> None:
    """A time is an element that a script can read; in a text it stays one."""
    time = datetime(2026, 11, 23, 23, 5, 9, 123456, tzinfo=timezone(timedelta(hours=1)))
    element = '<time datetime="2026-11-23T23:05:09+01:00" data-mu-time>23.11.2026, 22:05 UTC</time>'
    source = "{{ time | datetime }}|{{ time | datetime_text }}|{{ time | date }}"
    assert render(languages, source, time=time)[1] == f"{element}|23.11.2026, 22:05 UTC|23.11.2026"
    source = "{% trans name=time|datetime, path='b' %}The mail of {{ name }} is in <b>{{ path }}</b>.{% endtrans %}"
    assert element in render(languages, source, time=time.astimezone(UTC))[1].replace(
        "T22:05:09+00:00", "T23:05:09+01:00"
    )


def test_a_host_may_translate_too(languages: Languages) -> None:
    """A text that is not ours is shown as it stands."""
    assert render(languages, "{{ _('Our sites') }}") == ["Our sites", "Our sites"]

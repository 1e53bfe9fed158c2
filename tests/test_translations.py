"""The catalogues hold every text of the code and the templates, and their translations fit."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from babel.messages.catalog import Catalog, Message

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.languages import available
from tests.update_translations import ROOT, extracted, read_catalogue, updated

LANGUAGES = available()
ERRORS = {error.__name__ for error in MailUsersError.__subclasses__()} - {
    "ConfigurationError",
    "DoveadmError",
    "DoveadmHTTPError",
    "DoveadmMissingError",
}
"""A wrong setting is said on the console, before there is a page, and what doveadm answers in the log."""
COMMANDS = {
    *(ROOT / "mailusers_plugin" / "cli").rglob("*.py"),
    ROOT / "mailusers_plugin" / "mailserver" / "fragments.py",
    ROOT / "mailusers_plugin" / "store" / "copying.py",
}
"""The command line is English, and what only it calls."""
PLACEHOLDER = re.compile(r"%\([a-z_]+\)[a-z]|%%|%")
TAG = re.compile(r"</?[a-z][^>]*>")
ENDING = re.compile(r"[.:?!…]$")
SHARED = {"%(num)s"}
"""May be missing in a form that is for one number only."""


@pytest.fixture(scope="module")
def texts() -> Catalog:
    """All texts, without translations."""
    return extracted()


def translations(tag: str) -> Iterator[tuple[Message, str, str]]:
    """Every text of a catalogue with each of its translations."""
    for message in read_catalogue(tag):
        if not message.id:
            continue
        if isinstance(message.id, str):
            assert isinstance(message.string, str)
            yield message, message.id, message.string
            continue
        singular, plural = message.id
        assert isinstance(message.string, tuple | list)
        for number, string in enumerate(message.string):
            yield message, singular if number == 0 else plural, string


def test_there_are_german_and_french() -> None:
    """Two languages come with the package, beside English."""
    assert {"de", "fr"} <= set(LANGUAGES)


def test_everything_is_looked_through(texts: Catalog) -> None:
    """Texts are found in a template, in a block of one, in a handler and where an error is raised."""
    found = {message.id: {path for path, _ in message.locations} for message in texts if message.id}
    assert "templates/mailusers/login.html" in found["Log in"]
    assert "mailusers_plugin/validation.py" in found["Passwords must be at least eight characters."]
    assert "templates/mailusers/error.html" in found["Status %(status)s"]
    assert len(found) > 200


def test_errors_are_marked() -> None:
    """Whatever a page may say of an error is marked for translation where it is raised, and its values are apart."""
    wrong = []
    for folder in (ROOT / "mailusers_plugin", ROOT / "hooks"):
        for path in sorted(set(folder.rglob("*.py")) - COMMANDS):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS and node.args:
                    text = node.args[0]
                    if isinstance(text, ast.JoinedStr | ast.Constant | ast.BinOp):
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(text)}")
    assert wrong == []


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_catalogue_is_current(tag: str, texts: Catalog) -> None:
    """No text is missing and none is left over; else run ``python -m tests.update_translations``."""
    catalogue = read_catalogue(tag)
    assert {(m.id, m.context) for m in catalogue} == {(m.id, m.context) for m in texts}
    assert catalogue.obsolete == {}


def test_updating_keeps_what_is_translated(texts: Catalog) -> None:
    """A new text comes empty, one that is gone goes, and what is translated and noted stays, each time the same."""
    more = Catalog(locale="de")
    for message in texts:
        if message.id != "Log in":
            more.add(message.id, locations=message.locations, flags=message.flags)
    more.add("A brand new text.", locations=[("x.html", 0)])
    once = updated("de", more).decode()
    assert '\nmsgid "Log in"\n' not in once
    assert '#: x.html\nmsgid "A brand new text."\nmsgstr ""\n' in once
    assert 'msgstr "Abmelden"' in once
    assert once == updated("de", more).decode()


@pytest.mark.parametrize("tag", LANGUAGES)
def test_everything_is_translated(tag: str) -> None:
    """No translation is empty, and none is marked as a guess."""
    wrong = [text for message, text, string in translations(tag) if not string.strip() or message.fuzzy]
    assert wrong == []


@pytest.mark.parametrize("tag", LANGUAGES)
def test_values_have_their_place(tag: str) -> None:
    """A translation takes the same values as the text, in any order."""
    wrong = [
        (text, string)
        for message, text, string in translations(tag)
        if set(PLACEHOLDER.findall(text)) - (SHARED if message.pluralizable else set())
        != set(PLACEHOLDER.findall(string)) - (SHARED if message.pluralizable else set())
    ]
    assert wrong == []


@pytest.mark.parametrize("tag", LANGUAGES)
def test_markup_stays(tag: str) -> None:
    """A translation has the same elements, and none of a text's characters ends an attribute or begins an element."""
    wrong = [
        (text, string)
        for _, text, string in translations(tag)
        if Counter(TAG.findall(text)) != Counter(TAG.findall(string))
        or string.count("<") != len(TAG.findall(string))
        or ('"' in string and not TAG.search(string))
    ]
    assert wrong == []


@pytest.mark.parametrize("tag", LANGUAGES)
def test_endings_stay(tag: str) -> None:
    """A sentence stays a sentence, and a label a label: what ends in a full stop or a colon still does."""
    wrong = [
        (text, string)
        for _, text, string in translations(tag)
        if (ENDING.search(text.strip()) and not ENDING.search(string)) or string != string.strip()
    ]
    assert wrong == []

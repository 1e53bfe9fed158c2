"""A language in which every translated text stands between marks, so that one that was not translated is seen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from tests.update_translations import extracted

PSEUDO = "ar"
"""Written from right to left; its numbers and short dates have no letters."""
OPEN, CLOSE = "⟦", "⟧"

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_DATA_ELEMENTS = {"code", "pre", "time", "script", "style"}
_TEXT_ATTRIBUTES = {
    *("title", "placeholder", "alt", "label", "content-label", "hx-confirm", "summary"),
    *("aria-label", "aria-description", "aria-valuetext", "aria-roledescription", "aria-placeholder"),
}
_BUTTONS = {"button", "submit", "reset", "image"}
_MACHINE_DATA = re.compile(
    r"data-(email|name|mu-(alphabet|check|copy|dismiss|focus|show|suggest|unit|time|.*-url|.*-id))$"
)
_DATA = re.compile(
    r"\b[0-9][0-9.,]*[KMGTP]?\b"  # a number or a size
    r"|[^\s@<>]+@[^\s@<>]+\.[a-z]+"  # an address
    r"|\b(?:[\w-]+\.)+(?:com|org|net|example)\b",  # a domain
)
_LETTER = re.compile(r"[^\W\d_]")


def write_pseudo_catalogue(folder: Path) -> Path:
    """Write the catalogue: each text is its own translation between marks.

    :returns: the folder of catalogues
    """
    new = Catalog(locale=PSEUDO, charset="utf-8", fuzzy=False)
    for message in extracted():
        if isinstance(message.id, str) and message.id:
            new.add(message.id, OPEN + message.id + CLOSE, context=message.context)
        elif message.id:
            singular, plural = message.id
            forms = [singular, *[plural] * (new.num_plurals - 1)]
            new.add(message.id, tuple(OPEN + form + CLOSE for form in forms), context=message.context)
    path = folder / PSEUDO / "LC_MESSAGES" / "mailusers.po"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_po(file, new)
    return folder


def untranslated(page: str, data: Iterable[str] = ()) -> list[str]:
    """Return what people read on a page that stands outside the marks.

    :param page: HTML, a whole page or a part
    :param data: words that are no text of ours: privileges, names of formats
    """
    reader = _Reader(frozenset(data))
    reader.feed(page)
    reader.close()
    assert reader.depth == 0, "a mark is not closed"
    return reader.found


class _Reader(HTMLParser):
    """Goes through a page and keeps what has letters outside the marks."""

    def __init__(self, data: frozenset[str]) -> None:
        super().__init__()
        self._data = data
        self._open: list[tuple[str, bool]] = []
        self.depth = 0
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            is_text = name in _TEXT_ATTRIBUTES or (name.startswith("data-") and not _MACHINE_DATA.match(name))
            if tag in ("input", "button") and name == "value":
                is_text = tag == "input" and given.get("type") in _BUTTONS
            if is_text and not value.startswith("/"):
                self._look(value, f'<{tag} {name}="{value}">', 0)
        if tag not in _VOID:
            # What is in another language than the page, such as the name of that language, is as it should be.
            is_data = (
                tag in _DATA_ELEMENTS or given.get("translate") == "no" or given.get("lang", PSEUDO) != PSEUDO
            )
            self._open.append((tag, is_data))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(is_data for _, is_data in self._open):
            return
        where = "/".join(tag for tag, _ in self._open[-2:])
        self.depth = self._look(data, f"{where}: {' '.join(data.split())}", self.depth)

    def _look(self, text: str, place: str, depth: int) -> int:
        outside = []
        for character in text:
            if character == OPEN:
                depth += 1
            elif character == CLOSE:
                depth -= 1
            elif depth == 0:
                outside.append(character)
        left = _DATA.sub(" ", "".join(outside))
        for word in self._data:
            left = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", left)
        if _LETTER.search(left):
            self.found.append(place)
        return depth

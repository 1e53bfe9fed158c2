"""Brings the catalogues to what the code and the templates say: ``python -m tests.update_translations [LANGUAGE …]``.

A language that is named and has no catalogue yet gets one. Texts that are gone leave the catalogues; new ones come
with an empty translation, which a test does not let pass.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from mailusers_plugin.languages import CATALOGUES, DOMAIN, available

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("mailusers_plugin", "hooks", "templates")
METHODS = [("**.py", "python"), ("**.html", "jinja2")]
OPTIONS = {
    # As in mailusers_plugin/handlers/templates.py.
    "**.html": {"trimmed": "true", "trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"},
}
KEYWORDS = {**DEFAULT_KEYWORDS, "N_": None}
HEADER = "# The texts of mailusers_plugin in {name}.\n# docs/translating.md says how to work on them."


def extracted() -> Catalog:
    """Return a catalogue of all texts, without translations."""
    found = Catalog(charset="utf-8")
    for folder in FOLDERS:
        for name, _line, message, comments, context in extract_from_dir(
            ROOT / folder,
            METHODS,
            OPTIONS,
            keywords=KEYWORDS,
            comment_tags=("translators:",),
            strip_comment_tags=True,
            # The links in the package lead to the other two folders.
            directory_filter=lambda path: not Path(path).is_symlink(),
        ):
            # A line's number would change the catalogues with every change of the code.
            found.add(message, None, [(f"{folder}/{name}", 0)], auto_comments=comments, context=context)
    return found


def catalogue_path(tag: str) -> Path:
    """Return where a language's catalogue is.

    :param tag: ``de``, ``pt-BR``
    """
    return CATALOGUES / tag.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.po"


def read_catalogue(tag: str) -> Catalog:
    """Return a language's catalogue, an empty one where there is none yet."""
    locale = Locale.parse(tag, sep="-")
    path = catalogue_path(tag)
    if not path.exists():
        return Catalog(locale=locale, charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def updated(tag: str, texts: Catalog) -> bytes:
    """Return a language's catalogue with exactly the given texts, as it is to be stored.

    :param texts: of :func:`extracted`
    """
    old = read_catalogue(tag)
    new = Catalog(locale=old.locale, charset="utf-8", fuzzy=False)
    name = Locale.parse(tag, sep="-").english_name
    new.header_comment = HEADER.format(name=name)
    for message in texts:
        if not message.id:
            continue
        before = old.get(message.id, message.context)
        new.add(
            message.id,
            before.string if before is not None and not before.fuzzy else None,
            [(path, 0) for path in sorted({path for path, _ in message.locations})],
            flags=message.flags,
            auto_comments=message.auto_comments,
            user_comments=before.user_comments if before is not None else (),
            context=message.context,
        )
    out = io.BytesIO()
    write_po(out, new, width=110, include_lineno=False, sort_by_file=True, omit_header=True)
    return _header(new, name).encode() + out.getvalue()


def _header(catalogue: Catalog, name: str | None) -> str:
    """Return the beginning of a catalogue: only what a reader needs, and no date, which would change each time."""
    return f"""{HEADER.format(name=name)}
msgid ""
msgstr ""
"Language: {catalogue.locale_identifier}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {catalogue.plural_forms}\\n"

"""


def main(tags: list[str]) -> None:
    """Write the catalogues.

    :param tags: of new languages
    """
    texts = extracted()
    for tag in sorted({*available(), *tags}):
        path = catalogue_path(tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(updated(tag, texts))
        missing = sum(
            not m.string or (m.pluralizable and not all(m.string)) for m in read_catalogue(tag) if m.id
        )
        sys.stdout.write(f"{tag}: {len(texts)} texts, {missing} to translate\n")


if __name__ == "__main__":
    main(sys.argv[1:])

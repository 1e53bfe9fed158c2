"""Marks texts that people read, so that they are found for translation where they are only declared."""

from __future__ import annotations


def N_(text: str) -> str:
    """Return a text as it is.

    ``python -m tests.update_translations`` takes what is called so into the catalogues. What shows the text
    translates it then: :meth:`mailusers_plugin.languages.Language.fill`.

    :param text: in English, with ``%(name)s`` where a value is to be filled in
    """
    return text

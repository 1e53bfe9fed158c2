"""Writes CSV that spreadsheets open without running anything in it.

By RFC 4180, every cell quoted, with a byte order mark: without it Excel takes UTF-8 for the Windows code page. A cell
that a spreadsheet could take for a formula gets an apostrophe in front, as OWASP advises
(https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

BYTE_ORDER_MARK: Final = "\ufeff"
TYPE: Final = "text/csv; charset=utf-8"
_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 (Excel takes these too)


def cell(value: object) -> str:
    """Return a cell's text, which no spreadsheet takes for a formula.

    :param value: ``None`` becomes empty; a number stays as it is
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if not isinstance(value, (int, float)) and text.startswith(_STARTS) else text


def lines(rows: Iterable[Sequence[object]]) -> str:
    """Return lines of CSV.

    :param rows: the cells of each
    """
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(
        [cell(value) for value in row] for row in rows
    )
    return text.getvalue()

"""Reads a file of users: comma, semicolon or tab, with or without a header row, in UTF-8.

``docs/import.md`` describes the format. Whatever else is handed in is refused with what to do about it.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.import_models import Fault, Line
from mailusers_plugin.texts import N_

MAX_BYTES: Final = 8 * 1024 * 1024
"""Larger files are not looked at."""
MAX_LINE: Final = 10_000
"""Characters of one record."""
MAX_COLUMNS: Final = 50
COLUMNS: Final = ("email", "password", "quota", "privilege")
"""What the columns are where there is no header row."""
NAMED_COLUMNS: Final = (*COLUMNS, "password_hash", "status")
"""What a header row can name."""
SEPARATORS: Final = ",;\t"
HEADER_ALONE: Final = N_("There is no user in the file, only a header row.")

_NAMES: Final[Mapping[str, str]] = {
    "address": "email",
    "email": "email",
    "e-mail": "email",
    "mail": "email",
    "email address": "email",
    "e-mail address": "email",
    "password": "password",
    "quota": "quota",
    "privilege": "privilege",
    "privileges": "privilege",
    "password_hash": "password_hash",
    "password hash": "password_hash",
    # As in our own export.
    "status": "status",
}
_INACTIVE: Final = "inactive"
_ADDRESS_NAMES: Final = "address, email, mail"
_OTHER_FORMATS: Final = (
    (
        b"PK\x03\x04",
        N_("This is an Excel workbook or a ZIP archive. Open it and save the table as “CSV UTF-8”."),
    ),
    (b"\xd0\xcf\x11\xe0", N_("This is an old Excel workbook. Open it and save the table as “CSV UTF-8”.")),
    (b"\x1f\x8b", N_("This file is compressed with gzip. Unpack it first.")),
    (b"%PDF", N_("This is a PDF. Save the table as “CSV UTF-8”.")),
    (b"\xff\xfe", N_("This text is in UTF-16. Save it as “CSV UTF-8”.")),
    (b"\xfe\xff", N_("This text is in UTF-16. Save it as “CSV UTF-8”.")),
)
_FORMULA_STARTS: Final = "=+-@"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file that was read.

    :ivar lines: one for each user, without blank ones
    :ivar has_header: whether the first row named the columns
    :ivar ignored: names of columns that mean nothing to us
    """

    lines: list[Line]
    has_header: bool
    ignored: tuple[str, ...]


class Reading:
    """Reads a file from its beginning, a line at a time, whatever its size.

    :ivar has_header: whether the first row named the columns
    :ivar ignored: names of columns that mean nothing to us
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read as far as the first row.

        :param file: can be sought in; it is left open
        :raises InvalidInputError: if it is not such a file
        """
        _refuse_other_formats(file)
        start, separator = _beginning(file)
        self._records = _records(file, start, separator)
        first = next(self._records, None)
        if first is None:
            raise InvalidInputError(N_("There is no user in the file."))
        self._columns = _header(first[1])
        self._first = first if self._columns is None else None
        self.has_header = self._columns is not None
        ignored = [
            cell.strip() for cell, name in zip(first[1], self._columns or (), strict=False) if not name
        ]
        self.ignored = tuple(name for name in ignored if name)

    def lines(self) -> Iterator[Line]:
        """Yield the line of each user, once.

        :raises InvalidInputError: where the file cannot be read further
        """
        columns = self._columns or COLUMNS
        if self._first is not None:
            yield _line(self._first, columns, has_header=False)
        for record in self._records:
            yield _line(record, columns, has_header=self.has_header)


def parse(content: bytes, max_rows: int) -> Parsed:
    """Read a file.

    :param content: as it was uploaded
    :param max_rows: how many users it may hold
    :raises InvalidInputError: if it is not such a file, or too large
    """
    if len(content) > MAX_BYTES:
        raise InvalidInputError(
            N_("The file is larger than %(limit)s MB. Split it into several files."),
            limit=MAX_BYTES // 1024**2,
        )
    reading = Reading(io.BytesIO(content))
    lines = list(islice(reading.lines(), max_rows + 1))
    if len(lines) > max_rows:
        raise InvalidInputError(
            N_("The file holds more than %(limit)s users. Split it into several files."), limit=max_rows
        )
    if not lines:
        raise InvalidInputError(HEADER_ALONE)
    return Parsed(lines, reading.has_header, reading.ignored)


def _refuse_other_formats(file: BinaryIO) -> None:
    file.seek(0)
    beginning = file.read(16)
    for start, message in _OTHER_FORMATS:
        if beginning.startswith(start):
            raise InvalidInputError(message)


def _beginning(file: BinaryIO) -> tuple[int, str]:
    """Return how many lines to pass over, and what separates the columns.

    The first column holds an address or a name, and neither can contain a separator: the first one is the one.
    """
    source = _Source(file, 0)
    for number, line in enumerate(source):
        source.begin()
        low = line.strip().lower()
        if low.startswith("sep=") and len(low) <= 5:
            # Excel's own way to say it; a tab was stripped.
            return number + 1, low[4:] if low[4:] in SEPARATORS and low[4:] else "\t"
        inside = False
        for character in line:
            if character == '"':
                inside = not inside
            elif not inside and character in SEPARATORS:
                return number, character
        if low:
            return number, ","
    return 0, ","


def _records(file: BinaryIO, start: int, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line's number and the cells of each record that is not blank."""
    source = _Source(file, start)
    reader = csv.reader(source, delimiter=separator, strict=True)
    while True:
        source.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _broken(source, str(error)) from None
        if cells is None:
            return
        if len(cells) > MAX_COLUMNS:
            raise InvalidInputError(
                N_("Line %(line)s has %(columns)s columns. At most %(limit)s are possible."),
                line=source.began,
                columns=len(cells),
                limit=MAX_COLUMNS,
            )
        if any(cell.strip() for cell in cells):
            yield source.began, cells


class _Source:
    """Hands lines to the CSV reader and watches how much of them one record takes."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._lines = _text_lines(file)
        self._number = 0
        self.began = 1
        self._length = 0
        for _ in range(start):
            next(self)

    def begin(self) -> None:
        """Say that a record begins with the next line."""
        self.began = self._number + 1
        self._length = 0

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except UnicodeDecodeError:
            raise InvalidInputError(
                N_("Line %(line)s is not valid UTF-8. Save the file as “CSV UTF-8”."),
                line=_first_line_that_is_not_utf8(self._file),
            ) from None
        self._number += 1
        self._length += len(line)
        if "\0" in line:
            raise InvalidInputError(
                N_("Line %(line)s holds a NUL character, so this is not a text file."), line=self._number
            )
        if self._length > MAX_LINE:
            raise _unclosed(self.began) if self.began != self._number else _too_long(self.began)
        return line


def _text_lines(file: BinaryIO) -> Iterator[str]:
    """Yield lines with their ends, none much longer than the limit, as the module ``io`` splits them.

    :raises UnicodeDecodeError: where something is not UTF-8
    """
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        while line := text.readline(MAX_LINE + 1):
            yield line
    finally:
        # Else the file would be closed with it. It may have been closed before.
        with suppress(ValueError):
            text.detach()


def _first_line_that_is_not_utf8(file: BinaryIO) -> int:
    """Return its number. Only looked for where there is one: a reader of text does not say where it is."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    breaks, after_return = 0, False
    while True:
        piece = file.read(io.DEFAULT_BUFFER_SIZE)
        good, is_bad = piece, False
        kept, _ = decoder.getstate()
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # Its position counts what was kept of the piece before.
            good, is_bad = piece[: max(0, error.start - len(kept))], True
        # As universal newlines count, by which the lines are told apart.
        breaks += good.count(b"\n") + good.count(b"\r") - good.count(b"\r\n")
        breaks -= after_return and good.startswith(b"\n")
        if is_bad or not piece:
            return breaks + 1
        after_return = good.endswith(b"\r")


def _too_long(line: int) -> InvalidInputError:
    return InvalidInputError(
        N_("Line %(line)s is longer than %(limit)s characters. Is this a list of users?"),
        line=line,
        limit=MAX_LINE,
    )


def _unclosed(line: int) -> InvalidInputError:
    return InvalidInputError(
        N_("In line %(line)s a quotation mark is opened and never closed. Inside quotes, double it."),
        line=line,
    )


def _broken(source: _Source, reason: str) -> InvalidInputError:
    if "end of data" in reason:
        return _unclosed(source.began)
    return InvalidInputError(
        N_(
            "In line %(line)s there is something between a closing quotation mark and the separator. Inside quotes, "
            "double it."
        ),
        line=source.began,
    )


def _header(cells: Sequence[str]) -> tuple[str, ...] | None:
    """Return what each column is, empty for those that mean nothing to us; ``None`` if this is no header row."""
    names = [cell.strip().lower() for cell in cells]
    known = [_NAMES.get(name, "") for name in names]
    if not any(known) or any("@" in name for name in names):
        return None
    if "email" not in known:
        raise InvalidInputError(
            N_("The header row names no column of addresses. Call it one of: %(names)s."),
            names=_ADDRESS_NAMES,
        )
    for name in NAMED_COLUMNS:
        if known.count(name) > 1:
            raise InvalidInputError(N_("The header row names the column %(name)s twice."), name=name)
    return tuple(known)


def _line(record: tuple[int, list[str]], columns: Sequence[str], *, has_header: bool) -> Line:
    number, cells = record
    found = dict.fromkeys(NAMED_COLUMNS, "")
    found.update((name, cell) for name, cell in zip(columns, cells, strict=False) if name)
    email = found["email"].strip()
    if email.startswith("'") and email[1:2] and email[1] in _FORMULA_STARTS:
        # As our own export writes it, so that spreadsheets take it for no formula.
        email = email[1:]
    fault = None
    if any(cell.strip() for cell in cells[len(columns) :]):
        if has_header:
            fault = Fault("", N_("There are more columns than in the header row."))
        else:
            fault = Fault(
                "",
                N_("There are more than four columns. Begin the file with a header row that names them."),
            )
    elif found["status"].strip().lower() == _INACTIVE:
        fault = Fault(
            "",
            N_(
                "The column status says that this user is inactive. Empty that cell if the user is to be added."
            ),
        )
    return Line(
        number,
        email,
        found["password"],
        found["quota"].strip(),
        found["privilege"].strip(),
        fault,
        found["password_hash"].strip(),
    )

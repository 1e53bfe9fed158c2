"""Reading a file of users: every form that is taken, and what is said of everything else."""

from __future__ import annotations

import random

import pytest

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.import_file import MAX_BYTES, MAX_COLUMNS, MAX_LINE, Parsed, parse
from mailusers_plugin.import_models import Line

A, B = "anna@example.com", "bert@example.com"


def read(content: str | bytes, max_rows: int = 100) -> Parsed:
    """Read a file."""
    return parse(content.encode() if isinstance(content, str) else content, max_rows)


def cells(parsed: Parsed) -> list[tuple[int, str, str, str, str]]:
    """Return the lines' numbers and cells."""
    return [(line.number, line.email, line.password, line.quota, line.privilege) for line in parsed.lines]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("has_header", [True, False])
def test_every_form(separator: str, end: str, mark: bytes, has_header: bool) -> None:
    """Separator, ends of lines, byte order mark and header row make no difference to what is read."""
    rows = [[A, "a, b; c", "5G", "admin"], [B, "", "", ""]]
    header = [["address", "password", "quota", "privilege"]] if has_header else []
    text = "".join(separator.join(f'"{cell}"' for cell in row) + end for row in header + rows)
    parsed = read(mark + text.encode())
    first = 1 + has_header
    assert cells(parsed) == [(first, A, "a, b; c", "5G", "admin"), (first + 1, B, "", "", "")]
    assert parsed.has_header is has_header


def test_addresses_alone() -> None:
    """One address a line is enough; blank lines are passed over and counted."""
    assert cells(read(f"\n  {A}  \n\n , \n{B}")) == [(2, A, "", "", ""), (5, B, "", "", "")]


def test_password_is_taken_as_it_is() -> None:
    """Spaces around a password, doubled quotes and separators inside quotes belong to it."""
    assert read(f'{A}," x ""y"", z "\n').lines[0].password == ' x "y", z '


def test_password_stays_out_of_what_is_printed() -> None:
    """A line that ends in a log or a traceback shows no password."""
    assert "secret" not in repr(Line(1, A, "a secret", "", ""))


@pytest.mark.parametrize(
    "header",
    ["address", "E-Mail", "MAIL", " Email ", "email address", '"Address"'],
)
def test_names_of_the_address(header: str) -> None:
    """The column of addresses has many names, in any case."""
    assert cells(read(f"{header},Password\n{A},pw\n")) == [(2, A, "pw", "", "")]


def test_columns_in_any_order() -> None:
    """A header row gives the order; columns that mean nothing are named and passed over."""
    parsed = read(f"Quota;Name;Privileges;Mail;Note\n5G;Anna;admin|other;{A};x\n")
    assert cells(parsed) == [(2, A, "", "5G", "admin|other")]
    assert parsed.ignored == ("Name", "Note")


def test_separator_in_the_first_lines_password() -> None:
    """What comes after the first column is the separator, whatever the password holds."""
    assert read(f"{A};x,y,z,1,2\n").lines[0].password == "x,y,z,1,2"
    assert read(f'"{A}";"x,y"\n').lines[0].password == "x,y"


@pytest.mark.parametrize(("said", "separator"), [("sep=;", ";"), ("sep=,", ","), ("SEP=\t", "\t")])
def test_excels_way_to_say_the_separator(said: str, separator: str) -> None:
    """The line with which Excel names the separator is no user."""
    assert cells(read(f"{said}\r\n{A}{separator}pw\r\n")) == [(2, A, "pw", "", "")]


def test_cell_over_several_lines() -> None:
    """A quoted cell may hold line breaks; the number is that of the first."""
    parsed = read(f'address,note\n{A},"one\ntwo\r\nthree"\n{B},\n')
    assert [(line.number, line.email) for line in parsed.lines] == [(2, A), (5, B)]


def test_apostrophe_of_our_own_export() -> None:
    """The apostrophe that keeps an address from being a formula is taken off again, and no other."""
    assert [line.email for line in read("'-x@example.com\n'anna@example.com\n'\n").lines] == [
        "-x@example.com",
        "'anna@example.com",
        "'",
    ]


def test_too_many_columns_in_a_line() -> None:
    """A line with more than the others is a fault of that line, unless the rest is blank."""
    (short, long) = read(f"{A},pw,,,  ,\n{B},pw,,,x\n").lines
    assert short.fault is None
    assert long.fault is not None
    assert "more than four columns" in long.fault.message
    (line,) = read(f"mail,password\n{A},pw,x\n").lines
    assert line.fault is not None
    assert "header row" in line.fault.message


REFUSED = [
    pytest.param(b"", "no user in the file", id="empty"),
    pytest.param(b"\n \n,,\n", "no user in the file", id="blank"),
    pytest.param(b"address,password\r\n", "only a header row", id="header-alone"),
    pytest.param(b"PK\x03\x04 zip", "Excel workbook or a ZIP", id="zip"),
    pytest.param(b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel workbook", id="xls"),
    pytest.param(b"\x1f\x8b\x08", "gzip", id="gzip"),
    pytest.param(b"%PDF-1.7", "PDF", id="pdf"),
    pytest.param("a@example.com\n".encode("utf-16"), "UTF-16", id="utf-16"),
    pytest.param(b"a@example.com\nb\0@example.com", "Line 2 holds a NUL", id="nul"),
    pytest.param(b"a@example.com\r\nb@example.com,\xfc\r\n", "Line 2 is not valid UTF-8", id="latin-1"),
    pytest.param(b"\xef\xbb\xbfa@example.com\r\rb,\xfc", "Line 3 is not valid UTF-8", id="latin-1-marked"),
    pytest.param(b"a@example.com," + b"x" * 1_000_000, "Line 1 is longer than 10000", id="1-mb-line"),
    pytest.param(b"a@b.c\n" + b"x" * (MAX_LINE + 1), "Line 2 is longer than 10000", id="long-second-line"),
    pytest.param(b"a@b.c" + b"," * MAX_COLUMNS, "Line 1 has 51 columns. At most 50", id="51-columns"),
    pytest.param(b"a@b.c" + b"," * 10_000, "Line 1 is longer than", id="10000-columns"),
    pytest.param(b'a@b.c\na@b.c,"x\nb@b.c\n', "In line 2 a quotation mark is opened", id="open-quote"),
    pytest.param(
        b'a@b.c,"x\n' + b"y\n" * MAX_LINE, "In line 1 a quotation mark is opened", id="runaway-quote"
    ),
    pytest.param(b'a@b.c,"x"y\n', "In line 1 there is something between", id="text-after-quote"),
    pytest.param(b"password,quota\nx,y", "names no column of addresses", id="header-without-address"),
    pytest.param(b"mail,email\nx,y", "the column email twice", id="column-twice"),
    pytest.param(b"x" * (MAX_BYTES + 1), "larger than 8 MB", id="too-large"),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_refused(content: bytes, said: str) -> None:
    """What is no such file is refused, saying what it is or where it breaks."""
    with pytest.raises(InvalidInputError, match=said):
        read(content)


def test_limit_of_users() -> None:
    """As many users as the setting says, and not one more; a header row and blank lines do not count."""
    assert len(read("address\n\n" + f"{A}\n" * 3, 3).lines) == 3
    with pytest.raises(InvalidInputError, match="more than 3 users"):
        read(f"{A}\n" * 4, 3)


def test_noise() -> None:
    """Whatever comes in is either read within the limits or refused in words; nothing else is raised."""
    chance = random.Random(7)
    pieces = [
        *(
            b",",
            b";",
            b"\t",
            b'"',
            b"\n",
            b"\r",
            b"\r\n",
            b"'",
            b"=",
            b"@",
            b" ",
            b"\0",
            b"\xff",
            b"\xc3\xbc",
        ),
        *(b"address", b"password", b"quota", b"a@example.com", b"x" * 300, b"\xe2\x80\xa8", b"sep=;"),
    ]
    read_well = 0
    for _ in range(5000):
        content = b"".join(chance.choices(pieces, k=chance.randint(0, 30)))
        try:
            parsed = read(content, 10)
        except InvalidInputError as error:
            assert "%(" not in error.message
        else:
            read_well += 1
            assert 1 <= len(parsed.lines) <= 10
            numbers = [line.number for line in parsed.lines]
            assert numbers == sorted(set(numbers))
    assert read_well > 500

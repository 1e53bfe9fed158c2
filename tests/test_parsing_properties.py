"""What reads what others wrote: whatever that is, it is read or refused with words, and nothing else happens."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from mailusers_plugin import csv_text
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError
from mailusers_plugin.handlers.base import _MAX_WAIT_SECONDS, _WAIT
from mailusers_plugin.handlers.list_state import ListState
from mailusers_plugin.handlers.page_request import PageRequest
from mailusers_plugin.handlers.parameters import Parameters
from mailusers_plugin.import_file import MAX_COLUMNS, parse
from mailusers_plugin.languages import Languages
from mailusers_plugin.mailserver.doveadm_http import _answer, _usage
from mailusers_plugin.mailserver.maildir_sizes import parse_maildirsize
from mailusers_plugin.models import Selection
from mailusers_plugin.store.directory import ORDERS, _read_cursor

LARGEST = 2**63 - 1

header_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=80)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(min_size=1, max_size=30), st.text(max_size=30), st.sampled_from(["Basic", "basic", "BASIC"]))
def test_credentials_arrive_as_they_were_sent(name: str, password: str, scheme: str) -> None:
    """A name without a colon and any password are read from a Basic header as they were put into it."""
    sent = f"{name.replace(':', '')}x:{password}".encode("utf-8", "replace")
    found = parse_basic(f"{scheme} {base64.b64encode(sent).decode()}")
    assert ":".join(found).encode() == sent
    assert ":" not in found[0]


@given(header_text | st.builds("Basic {}".format, header_text))
@example("Basic")
@example("Basic Og==")
@example("Basic OmE=")
@example("Basic YQ==")
@example("Basic gA==")
@example("Basic YTpi YTpi")
@example("Basic\tYTpi")
@example("Bearer YTpi")
def test_damaged_credentials(header: str) -> None:
    """Whatever stands in the header is a name and a password, or refused."""
    try:
        name, _ = parse_basic(header)
    except LoginRefusedError:
        return
    assert name


def request(method: str, uri: str = "/", body: bytes = b"", content_type: str = "") -> HTTPServerRequest:
    """Return a request as Tornado hands it over."""
    headers = HTTPHeaders({"Host": "box.example.com"})
    if content_type:
        headers["Content-Type"] = content_type
    line = RequestStartLine(method, uri, "HTTP/1.1")
    made = HTTPServerRequest(start_line=line, headers=headers, body=body)
    made._parse_body()
    return made


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=10)
pairs = st.lists(st.tuples(names, texts), max_size=6)


@given(pairs)
@example([("email", "a+b@example.com"), ("email", "a b@example.com")])
@example([("password", " begins with a blank")])
@example([("quota", ""), ("quota", "5G")])
@example([("privilege", "admin"), ("privilege", "admin")])
def test_form_and_query_are_read_alike(sent: list[tuple[str, str]]) -> None:
    """Parameters arrive unchanged in a form, a query and JSON; one with two values is refused when it is asked for."""
    encoded = urlencode(sent)
    values: dict[str, list[str]] = {}
    for name, value in sent:
        values.setdefault(name, []).append(value)
    form = request("POST", body=encoded.encode(), content_type="application/x-www-form-urlencoded")
    query = request("GET", f"/?{encoded}")
    as_json = request("POST", body=json.dumps(values).encode(), content_type="application/json")
    for parameters in map(Parameters.of, (form, query, as_json)):
        for name, wanted in values.items():
            assert parameters.every(name) == list(dict.fromkeys(wanted))
            if len(set(wanted)) == 1:
                assert parameters.get(name) == wanted[0]
            else:
                with pytest.raises(InvalidInputError, match="more than once"):
                    parameters.get(name)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"email": NaN}')
@example(b'{"quota": 1e400}')
@example(b'{"email": {"a": 1}}')
@example(b'{"email": true}')
@example(b'{"email": ["a", null, 5]}')
@example(b'{"quota": 99999999999999999999}')
@example(b'{"quota": 18446744073709551615}')
@example(b'{"email": "\\ud800"}')
@example(b"[" * 100_000)
@example(b'{"a":' * 2000)
@example(b"\xef\xbb\xbf{}")
def test_any_json_body(body: bytes) -> None:
    """Whatever is sent as JSON is an object of texts and whole numbers, or is refused."""
    try:
        parameters = Parameters.of(request("POST", body=body, content_type="application/json"))
    except InvalidInputError:
        return
    for name in parameters.names():
        assert all(isinstance(value, str) for value in parameters.every(name))


@given(st.text(st.characters(max_codepoint=127, exclude_characters="\r\n\0 #"), max_size=60))
@example("limit=%31%30")
@example("limit=٣".encode().decode("latin-1"))
@example("%ff=1")
@example("a=%ff")
@example("=&=&&")
@example("status=active&status=inactive")
def test_any_query(query: str) -> None:
    """Whatever stands behind the question mark is one page of a list, or refused."""
    try:
        asked = PageRequest.of(Parameters.of(request("GET", f"/?{query}")))
    except InvalidInputError:
        return
    assert 1 <= asked.limit <= 1000


@given(
    st.builds(
        Selection,
        query=texts.map(str.strip),
        domain=st.sampled_from(["", "example.com", "xn--bcher-kva.example.com"]),
        status=st.sampled_from(["", "active", "inactive"]),
        privilege=texts.map(str.strip),
    ),
    st.integers(min_value=1, max_value=1000),
    st.sampled_from(["email", "-size", "used"]),
    st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
)
def test_link_to_the_next_page_asks_for_it(selection: Selection, limit: int, sort: str, cursor: str) -> None:
    """What the header Link says is read as the same selection, order and length, at the cursor."""
    asked = PageRequest(selection, sort, "", limit)
    query = asked.query(cursor)
    assert not set(query) & set('<>" \r\n')
    again = PageRequest.of(Parameters.of(request("GET", f"/?{query}")))
    assert again == PageRequest(selection, sort, cursor, limit)


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@given(st.text(max_size=60) | json_values.map(_encoded))
@example(_encoded([False, "email"]))
@example(_encoded([1, "email", "a", True, "b"]))
@example(_encoded([False, "domain", 2**64, 0, "a"]))
@example(_encoded([False, "domain", "a\0", False, "a"]))
@example(_encoded({"a": 1, "b": 2}))
@example(_encoded("abc"))
@example(_encoded(5))
@example("é")
@example("\ud800")
@example("=" * 50)
@example("W" * 5000)
def test_any_cursor(cursor: str) -> None:
    """A cursor is a place in the order that it was made for, with values that a database can hold, or is refused."""
    for order in ORDERS.values():
        try:
            backward, position = _read_cursor(cursor, order)
        except InvalidInputError:
            continue
        assert isinstance(backward, bool)
        assert len(position) == len(order)
        for value, column in zip(position, order, strict=True):
            assert type(value) is column.type.python_type
            assert not isinstance(value, str) or "\0" not in value


@given(st.text(max_size=300))
@example("q=" + "a" * 5000)
@example("sort=-quota&sort=email&at=%00")
@example("privilege=%E2%80%A8")
def test_any_address_of_the_list(query: str) -> None:
    """Whatever an address of the page says is a state of the list, and its own address says the same."""
    state = ListState.of_query(query)
    assert ListState.of_query(state.query_string()) == state
    assert not any(ord(character) < 32 for character in state.query)


@given(header_text)
@example("wait=99999999999999999999")
@example("respond-async, wait=10")
@example('WAIT = "5"')
@example("wait=-1")
@example("wait=\u00b2")
def test_any_preference(header: str) -> None:
    """Whatever is preferred, it is not waited longer than a minute, nor for a time that is no number."""
    match = _WAIT.search(header)
    if match:
        assert 0 <= min(int(match[1]), _MAX_WAIT_SECONDS) <= 60


LANGUAGES = Languages.load()


@given(
    header_text | st.lists(st.sampled_from(["de", "fr-CH", "*", "en;q=0", "de;q=0.5", "x;q=2"])).map(",".join)
)
@example("de;q=" + "9" * 400)
@example("," * 10_000)
def test_any_accepted_language(header: str) -> None:
    """Whatever a browser says it reads is a language of ours, or none."""
    assert LANGUAGES.accepted(header) in (None, *LANGUAGES.all)


@given(st.binary(max_size=300) | st.text("0123456789S,C- \n\r\t", max_size=200).map(str.encode))
@example(b"1048576S\n")
@example(b"1048576S,1000C\n-5 -1\n10 2\n")
@example(b"9223372036854775808S\n")
@example(b"1S\n" + b"9" * 5000 + b" 1\n")
@example(b"9" * 5000 + b"S\n1 1\n")
@example(b"1S\n1125899906842625 1\n")
@example(b"-1S\n5 1\n")
@example(b"1_0S\n5 1\n")
def test_any_maildirsize(content: bytes) -> None:
    """Whatever stands in the file is sums that the databases can add up, or taken for damaged."""
    usage = parse_maildirsize(content)
    if usage is not None:
        assert 0 <= usage.box_bytes <= 2**50
        assert 0 <= usage.messages <= 2**50
        assert 0 <= usage.limit_bytes <= LARGEST
        assert b"_" not in content


@given(
    st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(-100, 100)), max_size=20),
    st.integers(0, LARGEST),
)
def test_maildirsize_adds_up(lines: list[tuple[int, int]], limit: int) -> None:
    """The sizes and the counts of all lines are added up, and a sum below zero is zero."""
    content = f"{limit}S\n" + "".join(f"{size} {count}\n" for size, count in lines)
    usage = parse_maildirsize(content.encode())
    assert usage is not None
    assert usage.box_bytes == max(sum(size for size, _ in lines), 0)
    assert usage.messages == max(sum(count for _, count in lines), 0)
    assert usage.limit_bytes == limit


quota_lines = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["STORAGE", "MESSAGE"]) | st.none()},
        optional={
            "value": st.text("0123456789-", max_size=22) | json_values,
            "limit": st.text(max_size=5) | json_values,
        },
    ),
    max_size=4,
)


@given(json_values | quota_lines, json_values)
@example([{"type": "STORAGE", "value": "9" * 18, "limit": "-"}], None)
@example([{"type": "STORAGE", "value": "٣", "limit": "1"}], None)
@example([{"type": ["STORAGE"], "value": "1", "limit": "1"}], None)
def test_any_answer_of_doveadm(content: Any, answer: Any) -> None:
    """Whatever doveadm answers is a size that the databases can hold, or nothing."""
    usage = _usage(content, datetime.now(UTC))
    if usage is not None:
        assert 0 <= usage.box_bytes <= LARGEST
        assert 0 <= usage.messages <= LARGEST
        assert 0 <= usage.limit_bytes <= LARGEST
    assert _answer(answer, ["a@example.com"])[2] in ("", "a@example.com")


@given(st.binary(max_size=300) | st.text('a@.,;\t"\r\n =é', max_size=200).map(str.encode))
@example(b"\xef\xbb\xbfaddress,password\r\na@example.com,x")
@example(b"sep=;\na@example.com;b")
@example(b"sep=\n")
@example(b"a\0b")
@example(b'"')
@example(b'"a"b\n')
@example(b"\xff\xfea\0")
@example(b"PK\x03\x04")
@example(b"," * (MAX_COLUMNS + 1))
@example(b"\r")
@example(b"status\nactive")
@example("email,ＥＭＡＩＬ\n".encode())
def test_any_file(content: bytes) -> None:
    """Whatever is uploaded is lines with numbers that grow, or refused with what to do."""
    try:
        found = parse(content, 1000)
    except InvalidInputError as error:
        assert error.message
        return
    numbers = [line.number for line in found.lines]
    assert numbers == sorted(set(numbers))
    assert numbers[0] >= 1
    assert all("\0" not in line.email + line.password for line in found.lines)


@given(st.text(max_size=30) | st.integers() | st.none())
@example("=1+1")
@example("\t=1+1")
@example("＝1")
@example("-1")
@example("@SUM(A1)")
def test_no_cell_is_a_formula(value: object) -> None:
    """No cell of a text begins with what a spreadsheet takes for the beginning of a formula."""
    text = csv_text.cell(value)
    if isinstance(value, str):
        assert text.removeprefix("'") == value.removeprefix("'") or text == f"'{value}"
        assert not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))

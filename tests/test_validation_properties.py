"""The rules for addresses, quotas and sizes, whatever is handed in."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.import_file import parse
from mailusers_plugin.models import Usage
from mailusers_plugin.user_objects import percent
from mailusers_plugin.validation import (
    ACCOUNT_CHARACTERS,
    MAX_EMAIL_LENGTH,
    MAX_QUOTA_BYTES,
    check_known_address,
    check_new_address,
    check_password,
    check_quota,
    display_domain,
    display_percent,
    display_quota,
    display_size,
    is_domain_control_address,
    quota_bytes,
    split_address,
    stored_domain,
)

UNITS = {"": 1, "M": 2**20, "G": 2**30}
DISPLAYED = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}

sizes = st.integers(min_value=0, max_value=MAX_QUOTA_BYTES)
numbers_and_units = st.tuples(st.integers(min_value=0, max_value=2**70), st.sampled_from(sorted(UNITS)))
ascii_labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
addresses = st.builds(
    "{}@{}.{}".format,
    st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True),
    ascii_labels,
    st.just("example.com"),
)


@given(
    numbers_and_units, st.text("0", max_size=30), st.sampled_from(["", " ", "\t", "\u00a0"]), st.booleans()
)
@example((8589934591, "G"), "", "", False)
@example((8589934592, "G"), "", "", False)
@example((MAX_QUOTA_BYTES, ""), "", "", False)
@example((MAX_QUOTA_BYTES + 1, ""), "", "", False)
@example((0, "G"), "000", "", True)
def test_quota_is_kept_exactly(given_quota: tuple[int, str], zeros: str, blank: str, lower: bool) -> None:
    """A number with its unit is stored as it is and means that many bytes, up to 2^63-1; beyond that it is refused."""
    number, unit = given_quota
    text = f"{blank}{zeros}{number}{unit.lower() if lower else unit}{blank}"
    if number * UNITS[unit] > MAX_QUOTA_BYTES:
        with pytest.raises(InvalidInputError, match=r"^Invalid quota\.$"):
            check_quota(text)
        return
    stored = check_quota(text)
    assert quota_bytes(stored) == number * UNITS[unit]
    assert stored == (f"{number}{unit}" if number else "0")
    # What is stored and what is shown can be sent again.
    assert check_quota(stored) == display_quota(stored) == stored


@given(
    st.text(max_size=30)
    | st.from_regex(r"[-+]?[0-9٣²]{1,25}([eE][0-9]|[kKmMgGtT]|[,. ][0-9])?", fullmatch=True)
)
@example("1e9")
@example("٣G")
@example("３")
@example("99999999999999999999")
@example("-1")
@example("+1")
@example("5T")
@example("1_000")
@example("5G\n")
@example("1.5G")
@example("0x10")
@example("ſ")  # upper case is S
def test_what_is_no_quota_is_refused(text: str) -> None:
    """Whatever passes is ASCII digits with M, G or nothing behind, of at most 2^63-1 bytes."""
    try:
        stored = check_quota(text)
    except InvalidInputError:
        return
    assert re.fullmatch(r"0|[1-9][0-9]*[MG]?", stored)
    assert 0 <= (quota_bytes(stored) or 0) <= MAX_QUOTA_BYTES
    assert text.strip().isascii()


@given(st.text(max_size=25))
@example("5g")
@example("5b")
@example("99999999T")
@example("9223372036854775807")
@example("9223372036854775808")
@example("٣")
def test_stored_quota_of_another_program(text: str) -> None:
    """Whatever another program has stored is a number of bytes that fits in 63 bits, or not known, and can be shown."""
    found = quota_bytes(text)
    assert found is None or 0 <= found <= MAX_QUOTA_BYTES
    assert display_quota(text) == ("0" if found == 0 else text)


@given(sizes)
@example(0)
@example(99)
@example(100)
@example(1023)
@example(1024)
@example(99 * 1024 + 1000)
@example(99 * 2**30 + 31)
@example(MAX_QUOTA_BYTES)
def test_size_for_people_is_near(size: int) -> None:
    """What is shown is the size itself within a twentieth, in the contract's form."""
    text = display_size(size)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9])?)([KMGTP]?)", text)
    assert match is not None, text
    shown = float(match[1]) * DISPLAYED[match[2]]
    assert abs(shown - size) <= max(0.05 * size, 0.05)
    assert float(match[1]) <= 99 if "." in match[1] else float(match[1]) >= 99


@given(sizes, sizes)
@example(1023 * 1024, 1024 * 1024)
def test_larger_size_is_not_shown_as_smaller(one: int, other: int) -> None:
    """Of two sizes the larger one is not shown as the smaller one."""

    def shown(size: int) -> float:
        text = display_size(size)
        unit = text[-1] if text[-1].isalpha() else ""
        return float(text.removesuffix(unit)) * DISPLAYED[unit]

    low, high = sorted((one, other))
    assert shown(low) <= shown(high)


@given(sizes, st.integers(min_value=1, max_value=MAX_QUOTA_BYTES))
@example(MAX_QUOTA_BYTES, 1)
@example(0, MAX_QUOTA_BYTES)
def test_percent(used: int, limit: int) -> None:
    """A percentage is a whole number, at least three characters wide, within half of what it is."""
    text = display_percent(used, limit)
    assert re.fullmatch(r" {0,2}[0-9]+%", text)
    assert len(text) >= 4
    assert abs(int(text[:-1]) - used / limit * 100) <= 0.5 + 1e-9 * (used / limit)


@given(st.text(max_size=20), st.none() | sizes)
def test_percent_of_any_quota(quota: str, used: int | None) -> None:
    """Whatever is stored as a quota has a percentage that the contract knows."""
    usage = None if used is None else Usage(used, 0, 0, datetime.now(UTC))
    assert re.fullmatch(r"|\?| {0,2}[0-9]+%", percent(quota, usage))


@given(
    st.text(max_size=80) | st.builds("{}@{}".format, st.text(max_size=70), st.text(max_size=40)) | addresses
)
@example("a@b.example.com\n")
@example("ａ@example.com")
@example("аdmin@example.com")
@example("user@example.com.")
@example("user@EXAMPLE.com")
@example("user+tag@example.com")
@example('"a b"@example.com')
@example("a@[127.0.0.1]")
@example("-a@example.com")
@example("../../etc/passwd@example.com")
@example("..@example.com")
@example("a..b@example.com")
@example("a@..")
@example("a@-.example.com")
@example("a%s@example.com")
@example(f"{'a' * 65}@example.com")
@example(f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 63}.com")
def test_new_address_is_plain(text: str) -> None:
    """An address that passes is plain ASCII, and names a folder in another and nothing outside."""
    try:
        email = check_new_address(text)
    except InvalidInputError:
        return
    assert email == text == unicodedata.normalize("NFKC", text).lower()
    assert ACCOUNT_CHARACTERS.fullmatch(email)
    assert len(email) <= MAX_EMAIL_LENGTH
    local_part, domain = split_address(email)
    assert 1 <= len(local_part) <= 64
    for name in (local_part, domain):
        assert not name.startswith(".")
        assert not name.endswith(".")
        assert ".." not in name
    assert check_known_address(email) == email


@given(addresses)
def test_ordinary_addresses_pass(email: str) -> None:
    """Letters, digits, underscores and hyphens make an address."""
    if not email.startswith("-"):
        assert check_new_address(email) == email


@given(st.sampled_from(["admin", "abuse", "postmaster"]), st.text(max_size=10), addresses)
def test_tags_do_not_hide_a_reserved_name(name: str, tag: str, other: str) -> None:
    """An address that proves control over a domain is one with any tag and in any case."""
    domain = split_address(other)[1]
    for email in (f"{name}@{domain}", f"{name}+{tag}@{domain}", f"{name.upper()}@{domain}"):
        assert is_domain_control_address(email)


@given(st.text(max_size=40))
@example("xn--")
@example("xn--a")
@example("xn--bcher-kva.example.com")
@example("BÜCHER.example.com")
@example("faß.example.com")
@example("。")
@example("a。b")
@example("\ud800")
@example("İ.example.com")
def test_domain_in_either_form(text: str) -> None:
    """Whatever is asked for as a domain has a stored form, and that has one for people; neither fails."""
    stored = stored_domain(text)
    assert stored_domain(stored) == stored
    shown = display_domain(stored)
    assert isinstance(shown, str)
    if stored.isascii() and shown != stored:
        assert stored_domain(shown) == stored


@given(st.text(max_size=1100))
@example("12345678\x00")
@example("1234567\n8")
@example("        ")
@example("\ud800" * 8)
@example("é" * 8)
@example("x" * 1024)
@example("x" * 1025)
def test_password_is_taken_as_it_is_or_refused(text: str) -> None:
    """A password is stored as it was sent, and then has no character that a mail program or server stumbles over."""
    try:
        password = check_password(text)
    except InvalidInputError:
        return
    assert password == text
    assert 8 <= len(text) <= 1024
    assert not set(map(unicodedata.category, text)) & {"Cc", "Cs"}
    text.encode()


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(st.tuples(addresses, cells, cells, cells), min_size=1, max_size=10), st.sampled_from(",;\t"))
def test_file_that_is_quoted_is_read_as_it_is(rows: list[tuple[str, ...]], separator: str) -> None:
    """What another program writes into quoted cells is what is read, whatever is in them."""
    lines = [separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    found = parse("\r\n".join(lines).encode(), 100)
    assert [(line.email, line.password, line.quota, line.privilege) for line in found.lines] == [
        (email, password, quota.strip(), privilege.strip()) for email, password, quota, privilege in rows
    ]

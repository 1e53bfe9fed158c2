"""The rules for addresses, passwords, privileges and quotas, and how sizes are shown."""

from __future__ import annotations

import pytest

from mailusers_plugin import validation
from mailusers_plugin.errors import InvalidInputError

GOOD_ADDRESSES = [
    "a@example.com",
    "a.b_c-d@example.com",
    "0@1.example.com",
    "_@example.com",
    "-a@example.com",
    "a@xn--bcher-kva.example.com",
    "x" * 64 + "@example.com",
]
BAD_ADDRESSES = [
    "",
    " ",
    "a",
    "@",
    "a@",
    "@example.com",
    " a@example.com",
    "a@example.com ",
    "a b@example.com",
    "a@example.com\n",
    "a\0b@example.com",
    "a@@example.com",
    "a@b@example.com",
    ".a@example.com",
    "a.@example.com",
    "a..b@example.com",
    "a@.example.com",
    "a@example..com",
    "a@example.com.",
    "a@-example.com",
    "a@example",
    "a@localhost",
    "a@[127.0.0.1]",
    '"a"@example.com',
    "a/../b@example.com",
    "a+b@example.com",
    "A@example.com",
    "a@EXAMPLE.com",
    "ä@example.com",
    "a@bücher.example.com",
    "a\u0430@example.com",
    "a@exa\u200bmple.com",
    "x" * 65 + "@example.com",
    "a@" + "x" * 64 + ".example.com",
    "a@" + ("x" * 60 + ".") * 4 + "example.com",
    "<a@example.com>",
    "A <a@example.com>",
]


@pytest.mark.parametrize("email", GOOD_ADDRESSES)
def test_good_address(email: str) -> None:
    """What a Mail-in-a-Box takes is taken, unchanged."""
    assert validation.check_new_address(email) == email


@pytest.mark.parametrize("email", BAD_ADDRESSES)
def test_bad_address(email: str) -> None:
    """What is no address, or has characters that no account may have, is refused."""
    with pytest.raises(InvalidInputError):
        validation.check_new_address(email)


@pytest.mark.parametrize("email", ["\0@example.com", "\udcff@example.com"])
def test_address_that_no_database_holds(email: str) -> None:
    """An address to look up may be odd, but must be text that a database can hold."""
    assert validation.check_known_address("Odd <one>@example.com") == "Odd <one>@example.com"
    with pytest.raises(InvalidInputError, match=r"^Invalid email address\.$"):
        validation.check_known_address(email)


@pytest.mark.parametrize(
    ("email", "reserved"),
    [
        ("admin@example.com", True),
        ("ABUSE@example.com", True),
        ("postmaster+tag@example.com", True),
        ("admins@example.com", False),
        ("my.admin@example.com", False),
        ("a@admin.example.com", False),
    ],
)
def test_domain_control(email: str, reserved: bool) -> None:
    """The local parts that prove control over a domain are told in any case and with a tag."""
    assert validation.is_domain_control_address(email) is reserved


@pytest.mark.parametrize("password", ["12345678", "ä" * 8, "🐎" * 8, " spaces ", "x" * 1024])
def test_good_password(password: str) -> None:
    """Eight characters of any script will do, and nothing is stripped."""
    assert validation.check_password(password) == password


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("", "No password provided."),
        (" \t\n ", "No password provided."),
        ("1234567", "Passwords must be at least eight characters."),
        ("🐎" * 7, "Passwords must be at least eight characters."),
        ("x" * 1025, "Passwords must be at most 1024 characters."),
        *(
            (f"1234{c}5678", "Passwords must not contain control characters.")
            for c in "\0\t\n\r\x1b\x7f\x85\udcff"
        ),
    ],
)
def test_bad_password(password: str, text: str) -> None:
    """What is too short, too long or cannot be typed is refused."""
    with pytest.raises(InvalidInputError) as raised:
        validation.check_password(password)
    assert raised.value.message == text


@pytest.mark.parametrize(
    ("quota", "stored", "size"),
    [
        ("0", "0", 0),
        ("00", "0", 0),
        ("0M", "0", 0),
        ("0g", "0", 0),
        ("1", "1", 1),
        ("0100", "100", 100),
        (" 5G ", "5G", 5 * 2**30),
        ("5g", "5G", 5 * 2**30),
        ("500m", "500M", 500 * 2**20),
        (str(2**63 - 1), str(2**63 - 1), 2**63 - 1),
        ("0" * 50 + "7", "7", 7),
        (f"{2**33 - 1}G", f"{2**33 - 1}G", (2**33 - 1) * 2**30),
    ],
)
def test_good_quota(quota: str, stored: str, size: int) -> None:
    """A quota is stored in one form, which Dovecot reads."""
    assert validation.check_quota(quota) == stored
    assert validation.quota_bytes(stored) == size


@pytest.mark.parametrize(
    ("quota", "text"),
    [
        ("", "No quota provided."),
        ("  ", "No quota provided."),
        ("1 G", "Quotas cannot contain spaces, commas, or decimal points."),
        ("1\tG", "Quotas cannot contain spaces, commas, or decimal points."),
        ("1.5G", "Quotas cannot contain spaces, commas, or decimal points."),
        ("1,000", "Quotas cannot contain spaces, commas, or decimal points."),
        *(
            (quota, "Invalid quota.")
            for quota in (
                "-1",
                "+1",
                "G",
                "1T",
                "1K",
                "1GB",
                "1GG",
                "G1",
                "0x10",
                "1e3",
                "lots",
                "٥",
                "5Ｇ",
                "²",
                str(2**63),
                f"{2**33}G",
                "9" * 20,
                "9" * 10000,
                "1\0",
                "ſ",
            )
        ),
    ],
)
def test_bad_quota(quota: str, text: str) -> None:
    """What is no quota, or more than Dovecot can count, is refused."""
    with pytest.raises(InvalidInputError) as raised:
        validation.check_quota(quota)
    assert raised.value.message == text


@pytest.mark.parametrize(
    ("stored", "size", "shown"),
    [
        ("0", 0, "0"),
        ("0G", 0, "0"),
        ("1k", 1024, "1k"),
        ("2T", 2 * 2**40, "2T"),
        ("7b", 7, "7b"),
        ("", None, ""),
        ("lots", None, "lots"),
        ("1.5G", None, "1.5G"),
        ("-1", None, "-1"),
        ("9999999999T", None, "9999999999T"),
        ("٥G", None, "٥G"),
    ],
)
def test_quota_of_another_program(stored: str, size: int | None, shown: str) -> None:
    """What others stored is read in Dovecot's units, and shown as it is where it is not nought."""
    assert validation.quota_bytes(stored) == size
    assert validation.display_quota(stored) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0.0"),
        (1, "1.0"),
        (99, "99.0"),
        (100, "100"),
        (1023, "1023"),
        (1024, "1.0K"),
        (1536, "1.5K"),
        (99 * 1024, "99.0K"),
        (100 * 1024, "100K"),
        (1024**2 - 1, "1024K"),
        (1024**2, "1.0M"),
        (int(1.2 * 2**30), "1.2G"),
        (512 * 2**20, "512M"),
        (2**40, "1.0T"),
        (2**50, "1.0P"),
        (2**63 - 1, "8192P"),
    ],
)
def test_size(size: int, shown: str) -> None:
    """Sizes are shown by 1024, with one decimal up to 99."""
    assert validation.display_size(size) == shown


@pytest.mark.parametrize(
    ("used", "limit", "shown"),
    [(0, 100, "  0%"), (12, 100, " 12%"), (100, 100, "100%"), (250, 100, "250%"), (1, 10**9, "  0%")],
)
def test_percent(used: int, limit: int, shown: str) -> None:
    """How full a mailbox is has at least three places."""
    assert validation.display_percent(used, limit) == shown


def test_privileges() -> None:
    """Privileges are read one a line, kept in order and without repeats; unknown ones are named."""
    assert validation.parse_privileges("admin\n\nother\n \n") == ("admin", "other")
    assert validation.parse_privileges("") == ()
    assert validation.check_privileges(["b", "a", "b"], {"a", "b"}) == ("b", "a")
    for wrong in ("root", "", "admin\nx", "Admin"):
        with pytest.raises(InvalidInputError) as raised:
            validation.check_privileges(["admin", wrong], {"admin"})
        assert raised.value.message == f"That's not a valid privilege ({wrong})."


@pytest.mark.parametrize(
    ("domain", "shown"),
    [
        ("example.com", "example.com"),
        ("xn--bcher-kva.example.com", "bücher.example.com"),
        ("xn--zzzzzz--.example.com", "xn--zzzzzz--.example.com"),
        ("xn--.example.com", "xn--.example.com"),
        ("", ""),
    ],
)
def test_display_domain(domain: str, shown: str) -> None:
    """An international domain is shown in its script, and what only looks like one as it is."""
    assert validation.display_domain(domain) == shown

"""One-time codes as numbers: the vectors of RFC 6238, clocks that differ, codes that were used."""

from __future__ import annotations

import base64

import pyotp
import pytest

from mailusers_plugin.auth import one_time_codes
from mailusers_plugin.errors import InvalidInputError

SECRET = base64.b32encode(b"12345678901234567890").decode()
"""The seed of RFC 6238, appendix B."""
NOW = 1_700_000_010.0
STEP = int(NOW // 30)


def code(step: int) -> str:
    """Return the code of a time step."""
    return pyotp.TOTP(SECRET).generate_otp(step)


def step_of(given: str, drift: int = 1, used: tuple[str, ...] = (), now: float = NOW) -> int | None:
    """Look for the step of a code."""
    return one_time_codes.step_of(SECRET, given, drift, used, now)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_vectors_of_the_standard(now: int, expected: str) -> None:
    """The codes are those of RFC 6238, appendix B, of which six digits are used."""
    assert step_of(expected[-6:], 0, now=now) == now // 30


@pytest.mark.parametrize("drift", [0, 1, 3])
def test_clocks_that_differ(drift: int) -> None:
    """A code is taken as many steps early or late as is allowed, and none more."""
    good = [offset for offset in range(-6, 7) if step_of(code(STEP + offset), drift) is not None]
    assert good == list(range(-drift, drift + 1))


def test_a_used_code_is_used_up_and_those_before_it_too() -> None:
    """After a code neither it nor an earlier one is good, though they are in time; a later one is."""
    used = (code(STEP),)
    assert [step_of(code(STEP + offset), 1, used) for offset in (-1, 0, 1)] == [None, None, STEP + 1]
    assert step_of(code(STEP), 1, (code(STEP - 40),)) == STEP


@pytest.mark.parametrize("secret", ["", "not base32!", "ABC", "JBSWY3DP" * 3 + "1"])
def test_secret_that_is_none(secret: str) -> None:
    """With a stored secret that is damaged no code is right, and nothing fails."""
    assert one_time_codes.step_of(secret, "000000", 1, (), NOW) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("123456", "123456"),
        (" 123 456 ", "123456"),
        ("123-456", "123456"),
        ("12345", ""),
        ("1234567", ""),
        ("١٢٣٤٥٦", ""),
        ("12345a", ""),
        ("", ""),
    ],
)
def test_what_is_taken_for_a_code(given: str, kept: str) -> None:
    """Six ASCII digits are a code, also with the space that apps show."""
    assert one_time_codes.totp_code(given) == kept


def test_recovery_codes() -> None:
    """There are ten different ones, read with or without dashes and in capitals, bound to the address when stored."""
    codes = one_time_codes.new_recovery_codes()
    assert len(set(codes)) == 10
    for shown in codes:
        kept = one_time_codes.recovery_code(f" {shown.upper()} ")
        assert kept == one_time_codes.recovery_code(shown.replace("-", " ")) == shown.replace("-", "")
        assert one_time_codes.totp_code(shown) == ""
    hashes = {one_time_codes.hash_recovery_code(email, kept) for email in ("a@example.com", "b@example.com")}
    assert len(hashes) == 2
    assert [one_time_codes.recovery_code(text) for text in ("", "abcd", "l" * 16, kept + "a")] == [""] * 4


@pytest.mark.parametrize("secret", ["", "short", "a" * 32, "1" * 32, "A" * 33])
def test_secret_to_be_stored(secret: str) -> None:
    """A secret that no app would understand is refused."""
    with pytest.raises(InvalidInputError):
        one_time_codes.check_secret(secret)
    assert one_time_codes.check_secret(one_time_codes.new_secret())


def test_uri() -> None:
    """What an app reads has the address, the box and the secret, each escaped."""
    uri = one_time_codes.provisioning_uri(SECRET, "boss@example.com", "box example.com")
    assert (
        uri == f"otpauth://totp/box%20example.com:boss%40example.com?secret={SECRET}&issuer=box%20example.com"
    )

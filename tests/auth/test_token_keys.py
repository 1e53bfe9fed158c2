"""What an API token looks like, and finding one in a header."""

from __future__ import annotations

import re

import pytest

from mailusers_plugin.auth.token_keys import PATTERN, hash_key, is_key, key_in, new_key
from tests.support import basic


def test_new_key() -> None:
    """A token is recognised by its beginning and length, checks itself, and no two are alike."""
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(is_key(key) and PATTERN.fullmatch(key) for key in keys)
    # Each place of the random part takes many values: nothing of it is constant but the first digit.
    assert all(len({key[place] for key in keys}) > 40 for place in range(4, 46))
    assert all(re.fullmatch(r"[0-9a-f]{64}", hash_key(key)) for key in keys)


def test_a_mistake_is_noticed() -> None:
    """A token with one character changed, two exchanged, or a piece missing is none."""
    key = new_key()
    for place in range(3, len(key)):
        other = "a" if key[place] != "a" else "b"
        assert not is_key(key[:place] + other + key[place + 1 :])
    for place in range(3, len(key) - 1):
        exchanged = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert exchanged == key or not is_key(exchanged)
    for text in ("", "mu_", key[:-1], key + "0", key + "\n", "MU_" + key[3:], key[3:], "mu_" + "é" * 49):
        assert not is_key(text)


def test_in_a_header() -> None:
    """A token is found behind Bearer, and as the password of Basic whatever the name is."""
    key = new_key()
    for header in (
        f"Bearer {key}",
        f"bEARER   {key} ",
        basic("anybody", key),
        basic("", key),
        basic("boss@example.com", key),
        basic("ü", key),
    ):
        assert key_in(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer abc",
        "Basic",
        "Basic ???",
        basic("a", "b"),
        basic("mu_" + "0" * 49, ""),
        basic("a", "mu_" + "0" * 49),
        basic("a", "pässword"),
        "Digest mu_0",
        "mu_0",
    ],
)
def test_none_in_a_header(header: str) -> None:
    """Other credentials are left to others, and what is only like a token may be a password."""
    assert key_in(header) is None


def test_in_a_header_but_wrong() -> None:
    """Behind Bearer nothing else is meant: a damaged token is given back, to be refused as such."""
    assert key_in("Bearer mu_damaged") == "mu_damaged"
    assert key_in(basic(new_key(), "")) is None
    assert key_in(basic("x" * 5000, new_key())) is None
    assert key_in(f"Bearer {new_key()},Basic eA==") is not None

"""The system API key's file, and the Authorization header."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailusers_plugin.auth.api_key import is_api_key, load_api_key
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import ConfigurationError, LoginRefusedError
from tests.support import basic


def test_key_is_made_once(tmp_path: Path) -> None:
    """The key is made where there is none, for its owner only, and stays."""
    path = tmp_path / "folder" / "api.key"
    key = load_api_key(path)
    assert len(key) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_api_key(path) == key
    assert [entry.name for entry in path.parent.iterdir()] == ["api.key"]


def test_umask_does_not_open_it(tmp_path: Path) -> None:
    """A careless umask does not let others read it."""
    before = os.umask(0)
    try:
        load_api_key(tmp_path / "api.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "api.key").stat().st_mode) == 0o600


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Many that start at once agree on one key."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_api_key(tmp_path / "api.key"), range(32)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_open_to_others(tmp_path: Path, mode: int) -> None:
    """A key that others can read is refused, with the command that mends it."""
    path = tmp_path / "api.key"
    load_api_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"can be read by others. Run: chmod 600 {path}"):
        load_api_key(path)


@pytest.mark.parametrize(
    ("content", "text"), [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\n", "cannot be read")]
)
def test_damaged(tmp_path: Path, content: bytes, text: str) -> None:
    """An empty key would let everybody in; one that is no text is no key."""
    path = tmp_path / "api.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=text):
        load_api_key(path)


def test_not_possible(tmp_path: Path) -> None:
    """A place where no file can be is named."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be read or made"):
        load_api_key(tmp_path / "file" / "api.key")


@pytest.mark.parametrize("candidate", ["", "x", "kéy", "key ", "KEY"])
def test_comparison(candidate: str) -> None:
    """Only the key is the key, and no text makes the comparison fail."""
    assert is_api_key("key", "key")
    assert not is_api_key(candidate, "key")


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        (basic("a@example.com", "b"), ("a@example.com", "b")),
        (basic("a", "b:c:d"), ("a", "b:c:d")),
        (basic("a", ""), ("a", "")),
        (basic("ü", "pässword"), ("ü", "pässword")),
        (basic("a", "b").replace("Basic", "bAsIc"), ("a", "b")),
        (basic("a", "b").replace(" ", "   "), ("a", "b")),
    ],
)
def test_header(header: str, pair: tuple[str, str]) -> None:
    """Name and password are taken apart at the first colon, in UTF-8; the scheme's case does not matter."""
    assert parse_basic(header) == pair


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic ", "Basic =", "Basic YQ", "Basic YQ==", "Basic Og==", "YTpi"]
)
def test_broken_header(header: str) -> None:
    """Whatever else is sent is refused in the contract's words."""
    with pytest.raises(LoginRefusedError, match=r"^Authorization header invalid\.$"):
        parse_basic(header)

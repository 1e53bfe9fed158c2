"""The system API key's file, and the Authorization header."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailusers_plugin.auth.api_key import APIKey, is_api_key, load_api_key, rotate_api_key
from mailusers_plugin.auth.basic import parse_basic
from mailusers_plugin.errors import ConfigurationError, LoginRefusedError
from tests.support import Box, Client, basic


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


def test_rotation(tmp_path: Path) -> None:
    """A new key stands in the place of the old one, for its owner only, and nothing else is left behind."""
    path = tmp_path / "api.key"
    old = load_api_key(path)
    key = APIKey(path)
    assert key.matches(old)
    for mode in (0o600, 0o644, 0o777):
        path.chmod(mode)
        assert rotate_api_key(path) == ""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        new = load_api_key(path)
        assert not key.matches(old)
        assert key.matches(new)
        old = new
    assert [entry.name for entry in tmp_path.iterdir()] == ["api.key"]


def test_there_is_always_a_key(tmp_path: Path) -> None:
    """Whoever reads the file while it is replaced over and over finds a whole key each time."""
    path = tmp_path / "api.key"
    load_api_key(path)
    done = threading.Event()
    with ThreadPoolExecutor(3) as pool:

        def read() -> int:
            count = 0
            while not done.is_set():
                assert len(path.read_text(encoding="ascii")) == 44
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                count += 1
            return count

        readers = [pool.submit(read) for _ in range(2)]
        list(pool.map(lambda _: rotate_api_key(path), range(100)))
        done.set()
        assert all(reader.result() for reader in readers)


def test_a_link_in_the_way(tmp_path: Path) -> None:
    """A link is replaced and not followed: what it led to is not touched."""
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "api.key"
    elsewhere.write_text("precious\n")
    elsewhere.chmod(0o600)
    path.symlink_to(elsewhere)
    assert rotate_api_key(path) == str(elsewhere)
    assert elsewhere.read_text() == "precious\n"
    assert not path.is_symlink()
    assert load_api_key(path) != "precious"
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    assert rotate_api_key(path) == str(tmp_path / "nothing")
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_what_cannot_be_replaced(tmp_path: Path) -> None:
    """A folder, a pipe, or a place where others may put files are refused with what to do, and stay as they are."""
    path = tmp_path / "api.key"
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"is not a file\. Move it out of the way"):
        rotate_api_key(path)
    path.rmdir()
    os.mkfifo(path)
    for refuse in (rotate_api_key, load_api_key):
        with pytest.raises(ConfigurationError, match=r"is not a file\. Move it out of the way"):
            refuse(path)
    path.unlink()
    old = load_api_key(path)
    for mode in (0o777, 0o1777, 0o770):
        tmp_path.chmod(mode)
        with pytest.raises(ConfigurationError, match=f"Run: chmod go-w {tmp_path}"):
            rotate_api_key(path)
    tmp_path.chmod(0o700)
    assert load_api_key(path) == old
    with pytest.raises(ConfigurationError, match="cannot be replaced"):
        rotate_api_key(tmp_path / "nowhere" / "api.key")


def test_root_leaves_the_key_to_its_owner(tmp_path: Path) -> None:
    """A panel that runs as somebody else can read the key that root made; a link's owner counts for nothing.

    It needs root, who alone gives files away, as Postfix in other tests does.
    """
    path = tmp_path / "api.key"
    load_api_key(path)
    os.chown(path, 1234, 1235)
    rotate_api_key(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)
    path.unlink()
    os.chown(tmp_path, 1236, 1237)
    path.symlink_to("/etc/hostname")
    rotate_api_key(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1236, 1237)


def test_a_file_that_is_no_key_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is gone, opened to others or emptied while a panel runs lets nobody in, and is said once."""
    path = tmp_path / "api.key"
    key, text = APIKey(path), load_api_key(path)
    assert key.matches(text)
    path.chmod(0o644)
    for _ in range(3):
        assert not key.matches(text)
    path.chmod(0o600)
    assert key.matches(text)
    path.unlink()
    for _ in range(3):
        assert not key.matches(text)
        assert not key.matches("")
    path.touch(mode=0o600)
    assert not key.matches("")
    said = [record.message for record in caplog.records]
    assert len(said) == 3, said
    assert "can be read by others" in said[0]
    assert text not in caplog.text


async def test_a_panel_that_runs(box: Box, admin: Client) -> None:
    """The panel takes the new key with the next request and refuses the old one, without a restart."""
    old = box.api
    assert (await old.get("/admin/mail/users")).status == 200
    rotate_api_key(box.runtime.settings.api_key_path)
    assert (await old.get("/admin/mail/users")).status == 401
    assert (await box.api.get("/admin/mail/users")).status == 200

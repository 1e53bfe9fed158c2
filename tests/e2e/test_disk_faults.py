"""A disk that is full, and one that can only be read, under a server that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.clients import wait_until
from tests.servers.disks import break_off, full, image, make_image, mounted, own_mounts, repaired
from tests.servers.looking import audited_in, check_integrity, make_box, users_of, wait_until_told
from tests.servers.panel import PanelProcess, Reply
from tests.support import BOSS, PASSWORD, USER

SETTINGS = {
    "MAILUSERS_DOVEADM": "",
    "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
    "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
}
NEW, LATER = "new@example.com", "later@example.com"


@contextmanager
def panel_over(storage: Path) -> Iterator[PanelProcess]:
    """Run a panel with an administrator and a user."""
    make_box(storage)
    with PanelProcess(storage, environment=SETTINGS) as panel:
        assert panel.api("/add", email=USER, password=PASSWORD, quota="1G").status == 200
        yield panel


def check_unavailable(reply: Reply, words: str) -> None:
    """A clear answer that says when to try again."""
    assert reply.status == 503, reply
    assert words in reply.text
    assert int(reply.headers["Retry-After"]) > 0


def check_whole(panel: PanelProcess) -> None:
    """Both files are whole, nothing waits, and every change is in the audit trail with its event."""
    wait_until_told(panel.storage)
    added = {email for type_, email, _ in audited_in(panel.storage) if type_ == "UserAdded"}
    assert set(users_of(panel.storage)) <= added
    check_integrity(panel.storage)


@own_mounts
def test_the_disk_of_the_accounts_is_full(tmp_path: Path) -> None:
    """A change is refused with what to do, reading goes on, and changes work again as soon as there is space."""
    storage = tmp_path / "box"
    with mounted(storage / "mail", mebibytes=2), panel_over(storage) as panel:
        with full(storage / "mail"):
            check_unavailable(panel.api("/add", 0, email=NEW, password=PASSWORD), "is full")
            check_unavailable(panel.api("/remove", 0, email=USER), "is full")
            listed = panel.request("GET", "/admin/mail/users", user=BOSS, password=PASSWORD)
            assert (listed.status, USER in listed.text, NEW in listed.text) == (200, True, False)
        assert users_of(panel.storage) == sorted([BOSS, USER])
        assert panel.api("/add", email=NEW, password=PASSWORD).status == 200
        check_whole(panel)


@own_mounts
def test_the_disk_of_the_book_keeping_is_full(tmp_path: Path) -> None:
    """A change is made and acknowledged; what cannot be noted of it, such as its event's delivery, waits for space."""
    storage = tmp_path / "box"
    with mounted(storage / "mailusers", mebibytes=4), panel_over(storage) as panel:
        with full(storage / "mailusers"):
            assert panel.api("/add", 0, email=NEW, password=PASSWORD).status == 200
            login = panel.request("POST", "/admin/login", {}, user=BOSS, password=PASSWORD)
            assert login.status in (200, 503)
            if login.status == 503:
                check_unavailable(login, "is full")
            assert panel.request("GET", "/admin/mail/users", user=BOSS, password=PASSWORD).status == 200
        wait_until(lambda: NEW in panel.api("").text, timeout_seconds=30, message="the list")
        assert panel.api("/add", email=LATER, password=PASSWORD).status == 200
        check_whole(panel)


@own_mounts
def test_the_disk_of_the_log_is_full(tmp_path: Path) -> None:
    """Where the log cannot be written the panel goes on answering."""
    storage, logs = tmp_path / "box", tmp_path / "logs"
    with mounted(logs, mebibytes=1):
        panel = PanelProcess(storage, environment=SETTINGS)
        panel.log = logs / "panel.log"
        make_box(storage)
        with panel, full(logs):
            assert panel.api("/add", email=NEW, password=PASSWORD).status == 200
            check_whole(panel)


@own_mounts
def test_the_disk_of_the_mailboxes_is_full(tmp_path: Path) -> None:
    """What is kept elsewhere goes on; archiving, which moves nothing, and a purge, which frees space, work too."""
    storage = tmp_path / "box"
    mailboxes = storage / "mail" / "mailboxes"
    with mounted(mailboxes, mebibytes=1), panel_over(storage) as panel:
        maildir = mailboxes / "example.com" / "user"
        (maildir / "cur").mkdir(parents=True)
        with full(mailboxes):
            assert panel.api("/add", email=NEW, password=PASSWORD).status == 200
            assert panel.api("/remove", email=USER).status == 200
            assert panel.api("/purge", email=USER, confirm=USER).status == 200
        assert not maildir.exists()
        check_whole(panel)


@pytest.mark.parametrize("part", ["mail", "mailusers"])
def test_a_disk_that_can_only_be_read(tmp_path: Path, part: str) -> None:
    """After a damage the kernel lets a disk only be read: so do we. Mended and mounted again, it is written again."""
    storage = tmp_path / "box"
    with panel_over(storage):
        pass
    first, second = tmp_path / "first.img", tmp_path / "second.img"
    make_image(first, storage / part, mebibytes=16)
    with image(first, storage / part):
        panel = PanelProcess(storage, environment=SETTINGS)
        with panel:
            assert panel.api("/quota", email=USER, quota="2G").status == 200
            break_off(storage / part)
            reply = panel.api("/add", 0, email=NEW, password=PASSWORD)
            if part == "mail":
                check_unavailable(reply, "'mailusers doctor'")
            else:
                assert reply.status == 200
            listed = panel.request("GET", "/admin/mail/users", user=BOSS, password=PASSWORD)
            assert (listed.status, USER in listed.text) == (200, True)
            repaired(first, second)
            with image(second, storage / part):
                wait_until(
                    lambda: panel.api("/add", email=LATER, password=PASSWORD).status in (200, 400),
                    message="a disk that can be written",
                )
                assert LATER in users_of(panel.storage)
                assert (NEW in users_of(panel.storage)) is (part == "mailusers")
                check_whole(panel)
                panel.stop()

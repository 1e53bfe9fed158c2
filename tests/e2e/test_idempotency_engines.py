"""A server that is killed in the middle of a request with a key: a repeat makes the change once and tells the truth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pytest

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import accounts, audit
from tests.servers.clients import wait_until
from tests.servers.databases import mariadb, postgresql
from tests.servers.dying import CLAIMED, MADE, STORED
from tests.servers.panel import PanelProcess, Reply
from tests.servers.ports import LOOPBACK
from tests.support import BOSS, PASSWORD, QUICK, USER

GONE = "gone@example.com"
REPLAYED = "Idempotent-Replayed"
STEPS: list[tuple[str, str, dict[str, str], str, str]] = [
    ("/add", MADE, {"email": USER, "password": PASSWORD, "quota": "1G"}, "UserAdded", "mail user added\n"),
    ("/quota", CLAIMED, {"email": USER, "quota": "2G"}, "QuotaChanged", "OK"),
    ("/quota", MADE, {"email": USER, "quota": "3G"}, "QuotaChanged", "OK"),
    ("/quota", STORED, {"email": USER, "quota": "4G"}, "QuotaChanged", "OK"),
    ("/password", MADE, {"email": USER, "password": PASSWORD + "!"}, "PasswordChanged", "OK"),
    ("/privileges/add", MADE, {"email": USER, "privilege": "admin"}, "PrivilegesChanged", "OK"),
    ("/privileges/remove", MADE, {"email": USER}, "PrivilegesChanged", "OK"),
    ("/remove", CLAIMED, {"email": USER}, "UserArchived", "mail user removed\n"),
    ("/purge", MADE, {"email": GONE, "confirm": GONE}, "UserPurged", "mail user purged\n"),
]
"""What is sent, where the server dies, the event of the change, and the answer to the repeat."""


@dataclass
class Site:
    """Two servers over one box; the first one dies when it is told to."""

    mortal: PanelProcess
    other: PanelProcess
    trigger: Path
    url: str

    def send(self, panel: PanelProcess, key: str, action: str, form: dict[str, str]) -> Reply:
        """Send a request with the box's own key."""
        api_key = (panel.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
        return panel.request(
            "POST", f"/admin/mail/users{action}", form, user=api_key, headers={"Idempotency-Key": key}
        )

    def runtime(self) -> Runtime:
        """Open the box, to look into it."""
        return Runtime(Settings(storage_root=self.mortal.storage, database=self.url, **QUICK))


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of each kind; empty for the box's own files."""
    if request.param == "sqlite":
        yield ""
        return
    with (postgresql if request.param == "postgresql" else mariadb)() as found:
        yield found


@pytest.fixture(scope="module")
def site(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A box with an administrator, an archived mailbox, and the servers."""
    folder = tmp_path_factory.mktemp("site")
    storage, trigger = folder / "box", folder / "die"
    variables = {
        "MAILUSERS_DATABASE": url,
        "MAILUSERS_DOVEADM": "",
        "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
        "MAILUSERS_COMMIT_PAUSE_SECONDS": "0",
        "MAILUSERS_STORAGE_ROOT": str(storage),
    }
    program = ("tests.servers.dying", str(trigger), "serve", "--listen", f"{LOOPBACK}:{{port}}")
    mortal = PanelProcess(storage, environment=variables, program=program)
    other = PanelProcess(storage, environment=variables)
    added = other.command("user", "add", BOSS, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    (storage / "mail" / "mailboxes" / "example.com" / "gone" / "cur").mkdir(parents=True)
    with mortal, other:
        yield Site(mortal, other, trigger, url)


def told(site: Site, type_: str, email: str) -> int:
    """Return how many events of a type there were of an address, each told of once."""
    runtime = site.runtime()
    try:
        rows = runtime.state.read_now(audit.newest, 1000)
        ids = [row.id for row in rows if (row.type, row.email) == (type_, email)]
        assert len(ids) == len(set(ids))
        return len(ids)
    finally:
        runtime.close()


def test_killed_between_the_change_and_its_answer(site: Site) -> None:
    """Wherever the server dies, the repeat at another one makes the change if it was not made, once, and says so."""
    expected: dict[tuple[str, str], int] = {}
    for number, (action, point, form, type_, text) in enumerate(STEPS):
        key, email = f"key-{number}", form["email"]
        site.trigger.write_text(point, encoding="ascii")
        with suppress(OSError, HTTPException):
            reply = site.send(site.mortal, key, action, form)
            raise AssertionError(f"{action} was answered: {reply}")
        assert not site.trigger.exists(), action
        # The process is gone; its number is free only when somebody has asked for its end.
        site.mortal.kill()
        restart = threading.Thread(target=site.mortal.start)
        restart.start()
        again = site.send(site.other, key, action, form)
        assert (again.status, again.text) == (200, text), (action, point)
        assert (REPLAYED in again.headers) == (point == STORED), (action, point)
        restart.join()
        third = site.send(site.mortal, key, action, form)
        assert (third.status, third.text, third.headers[REPLAYED]) == (200, text, "true"), (action, point)
        expected[type_, email] = expected.get((type_, email), 0) + 1
        wait_until(
            lambda t=type_, e=email: told(site, t, e) >= expected[t, e],  # type: ignore[misc]
            message="the event",
        )
        assert told(site, type_, email) == expected[type_, email], (action, point)


def test_a_change_of_another_comes_between(site: Site) -> None:
    """A repeat after a crash does not make a change again that was made, and so leaves alone what came after it."""
    assert site.other.api("/add", 0, email="late@example.com", password=PASSWORD).status == 200
    form = {"email": "late@example.com", "quota": "1G"}
    site.trigger.write_text(MADE, encoding="ascii")
    with suppress(OSError, HTTPException):
        site.send(site.mortal, "late", "/quota", form)
    assert not site.trigger.exists()
    site.mortal.kill()
    assert site.other.api("/quota", 10, email="late@example.com", quota="7G").status == 200
    assert site.send(site.other, "late", "/quota", form).text == "OK"
    runtime = site.runtime()
    try:
        account = runtime.database.read_now(accounts.find, "late@example.com")
        assert account is not None
        assert account.quota == "7G"
    finally:
        runtime.close()
    site.mortal.start()


def test_refused_input_after_a_crash(site: Site) -> None:
    """Where the change was refused and the server died before it said so, the repeat is judged anew."""
    form = {"email": "nobody@example.com", "quota": "1G"}
    site.trigger.write_text(MADE, encoding="ascii")
    with suppress(OSError, HTTPException):
        site.send(site.mortal, "refused", "/quota", form)
    assert not site.trigger.exists()
    site.mortal.kill()
    assert site.send(site.other, "refused", "/quota", form).status == 400
    site.mortal.start()

"""Right passwords are remembered for a short time; everything that changes counts at once all the same."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from passlib.hash import sha512_crypt

from mailusers_plugin.auth.authenticator import Authenticator
from mailusers_plugin.auth.login_memory import LoginMemory
from mailusers_plugin.errors import LoginRefusedError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.passwords import Passwords
from mailusers_plugin.store import accounts
from mailusers_plugin.store.database import Database
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client

WRONG = "a wrong password"
USERS = "/admin/mail/users"
CHANGES = {
    "another password": "UPDATE users SET password = '{PLAIN}another password' WHERE email = ?",
    "no such user": "DELETE FROM users WHERE email = ?",
    "second factor": "INSERT INTO mfa (user_id, type, secret) SELECT id, 'totp', 'x' FROM users WHERE email = ?",
    "no privilege": "UPDATE users SET privileges = '' WHERE email = ?",
}


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stored hashes that were compared with a password."""
    found: list[str] = []
    original = Passwords.verify_now

    def remember(self: Passwords, password: str, stored: str) -> object:
        found.append(stored)
        return original(self, password, stored)

    monkeypatch.setattr(Passwords, "verify_now", remember)
    return found


@pytest.fixture
def authenticator(box: Box, admin: Client) -> Authenticator:
    """Checks the administrator's credentials."""
    return box.runtime.authenticator()


async def test_a_hundred_requests_hash_once(admin: Client, hashed: list[str]) -> None:
    """A script that sends its password with each request has it hashed for the first one."""
    for _ in range(100):
        assert (await admin.get(USERS)).status == 200
    assert len(hashed) == 1


async def test_a_hundred_at_once_hash_once(admin: Client, hashed: list[str]) -> None:
    """A hundred requests at the same moment wait for one hash, be the password right or wrong."""
    answers = await asyncio.gather(*(admin.get(f"{USERS}/privileges", email=BOSS) for _ in range(100)))
    assert [answer.status for answer in answers] == [200] * 100
    assert len(hashed) == 1


@pytest.mark.parametrize("email", [BOSS, "nobody@example.com"])
async def test_the_same_mistake_at_once_hashes_once(
    box: Box, authenticator: Authenticator, hashed: list[str], email: str
) -> None:
    """A hundred times the same wrong password costs the same for a known and for an unknown address."""
    # So slow that all of them have come before it is hashed.
    stored = sha512_crypt.using(rounds=400_000).hash(PASSWORD)
    box.sql("UPDATE users SET password = ?", "{SHA512-CRYPT}" + stored)
    attempts = (authenticator.by_password(email, WRONG) for _ in range(100))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(result) for result in results} == {LoginRefusedError}
    assert len(hashed) == 1


async def test_a_wrong_password_is_hashed_each_time(authenticator: Authenticator, hashed: list[str]) -> None:
    """What was wrong is not remembered, as nothing and least of all as right."""
    for _ in range(3):
        with pytest.raises(LoginRefusedError):
            await authenticator.by_password(BOSS, WRONG)
    assert len(hashed) == 3
    await authenticator.by_password(BOSS, PASSWORD)
    for _ in range(2):
        with pytest.raises(LoginRefusedError):
            await authenticator.by_password(BOSS, WRONG)
    assert len(hashed) == 6


async def test_guessing_drives_nobody_out(authenticator: Authenticator, hashed: list[str]) -> None:
    """A flood of different wrong passwords leaves what is remembered alone."""
    await authenticator.by_password(BOSS, PASSWORD)
    guesses = [
        authenticator.by_password(email, f"{WRONG} {number}")
        for number in range(60)
        for email in (BOSS, f"nobody{number}@example.com")
    ]
    await asyncio.gather(*guesses, return_exceptions=True)
    assert len(hashed) == 121
    await authenticator.by_password(BOSS, PASSWORD)
    assert len(hashed) == 121
    assert list(authenticator._memory._known) == [BOSS]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_by_another_program_counts_at_once(box: Box, admin: Client, change: str) -> None:
    """A password, user, second factor or privilege that another program changes counts for the next request."""
    assert (await admin.get(USERS)).status == 200
    box.sql(CHANGES[change], BOSS)
    answer = await admin.get(USERS)
    assert answer.status == 401
    reasons = {"second factor": "missing-totp-token", "no privilege": "You are not an administrator."}
    expected = reasons.get(change, "Incorrect email address or password.")
    assert answer.headers["X-Reason"] == expected


@pytest.mark.parametrize("change", ["password", "archive", "privilege"])
async def test_a_change_of_ours_counts_at_once(box: Box, admin: Client, change: str) -> None:
    """The same holds for what this panel changes."""
    await box.add(USER, (ADMIN,))
    client = box.basic(USER)
    assert (await client.get(USERS)).status == 200
    if change == "password":
        await box.service.set_password(CONSOLE, USER, "another password")
        assert (await box.basic(USER, "another password").get(USERS)).status == 200
    elif change == "archive":
        await box.service.archive(CONSOLE, USER)
    else:
        await box.service.remove_privileges(CONSOLE, USER, (ADMIN,))
    assert (await client.get(USERS)).status == 401


async def test_the_same_password_set_anew_is_hashed_anew(
    box: Box, authenticator: Authenticator, hashed: list[str]
) -> None:
    """A new hash of the same password is not the one that is remembered."""
    await authenticator.by_password(BOSS, PASSWORD)
    await box.service.set_password(CONSOLE, BOSS, PASSWORD)
    await authenticator.by_password(BOSS, PASSWORD)
    assert len(hashed) == 2


async def test_a_strengthened_hash_is_remembered(box: Box, admin: Client, hashed: list[str]) -> None:
    """Where a log-in replaces a weak hash, those who log in at the same moment do it once, and later ones not again."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{PLAIN}" + PASSWORD, BOSS)
    answers = await asyncio.gather(*(admin.get(USERS) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert hashed.count("{PLAIN}" + PASSWORD) == 1
    await admin.get(USERS)
    assert [stored for stored in hashed if stored.startswith("{SHA512")] == []


async def test_a_strengthened_hash_is_known_once_it_is_stored(
    box: Box, authenticator: Authenticator, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds the strong hash in the database, while the one who made it is not done, need not hash it."""
    weak = "{PLAIN}" + PASSWORD
    box.sql("UPDATE users SET password = ? WHERE email = ?", weak, BOSS)
    original = Database.write
    found: list[str] = []

    async def write(self: Database, function: Callable[..., Any], *args: Any) -> Any:
        result = await original(self, function, *args)
        if function is accounts.replace_hash:
            found.append((await authenticator.by_password(BOSS, PASSWORD)).password_hash)
        return result

    monkeypatch.setattr(Database, "write", write)
    account = await authenticator.by_password(BOSS, PASSWORD)
    assert found == [account.password_hash]
    assert hashed == [weak]


@pytest.mark.parametrize(("seconds", "count"), [(0, 3), (300, 1)])
async def test_it_is_a_setting(boxes: Boxes, hashed: list[str], seconds: float, count: int) -> None:
    """How long passwords are remembered is the host's to say; nought is never."""
    box = await boxes.open(login_cache_seconds=seconds)
    await box.add(BOSS, (ADMIN,))
    for _ in range(3):
        assert (await box.basic(BOSS).get(USERS)).status == 200
    assert len(hashed) == count


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time is over, counted from when it was hashed, nothing is known and nothing is kept."""
    now = 1000.0
    monkeypatch.setattr("mailusers_plugin.auth.login_memory.time.monotonic", lambda: now)
    memory = LoginMemory(60)
    mark = memory.mark(USER, "hash", PASSWORD)
    memory.remember(USER, mark)
    now += 59
    assert memory.knows(USER, mark)
    now += 1
    assert not memory.knows(USER, mark)
    memory.remember(BOSS, memory.mark(BOSS, "hash", PASSWORD))
    assert list(memory._known) == [BOSS]


def test_it_is_bounded() -> None:
    """Only so many addresses are remembered, one password each; the oldest goes first."""
    memory = LoginMemory(60, most=3)
    emails = [f"user{number}@example.com" for number in range(5)]
    for email in emails:
        for password in ("one", "other"):
            memory.remember(email, memory.mark(email, "hash", password))
    known = [memory.knows(email, memory.mark(email, "hash", "other")) for email in emails]
    assert known == [False, False, True, True, True]
    assert not memory.knows(emails[4], memory.mark(emails[4], "hash", "one"))
    assert len(memory._known) == 3


def test_marks_differ() -> None:
    """A mark is of one address, hash and password, however they are cut, and of one process."""
    memory = LoginMemory(60)
    marks = {
        memory.mark("ab", "c", "d"),
        memory.mark("a", "bc", "d"),
        memory.mark("a", "b", "cd"),
        memory.mark("ab", "", "cd"),
        memory.mark("ab", "c", "\udcff"),
        LoginMemory(60).mark("ab", "c", "d"),
    }
    assert len(marks) == 6


async def test_no_password_is_kept(authenticator: Authenticator) -> None:
    """Neither a password nor a plain digest of it can be found in what is remembered."""
    await authenticator.by_password(BOSS, PASSWORD)
    kept = repr(vars(authenticator._memory)).encode()
    assert BOSS.encode() in kept
    digest = hashlib.sha256(PASSWORD.encode())
    for trace in (PASSWORD.encode(), digest.hexdigest().encode(), repr(digest.digest())[2:-1].encode()):
        assert trace not in kept


async def test_the_first_goes_away() -> None:
    """Work goes on for those who wait, though the one who began it is gone, and its failure is nobody's left to see."""
    memory = LoginMemory(60)
    go_on = asyncio.Event()

    async def work() -> int:
        await go_on.wait()
        return 7

    first = asyncio.ensure_future(memory.once(b"mark", work))
    second = asyncio.ensure_future(memory.once(b"mark", work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await second == 7
    assert first.cancelled()
    assert memory._running == {}

"""Credentials: sessions and their ends, stronger hashes on log-in, and what an unknown address costs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from mailusers_plugin.auth.authenticator import API, COOKIE, Authenticator
from mailusers_plugin.errors import LoginRefusedError, ThrottledError, UnavailableError
from mailusers_plugin.models import ADMIN, Account, Identity
from mailusers_plugin.passwords import Passwords
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client, basic

INCORRECT = r"^Incorrect email address or password\.$"
ROWS = "SELECT key_hash, email, kind, password_mark, created_at, used_at FROM mailusers_session"


async def identify(box: Box, key: str, kind: str = API) -> Identity | None:
    """Send a session key as a program or as a browser does."""
    authenticator = box.runtime.authenticator()
    if kind == COOKIE:
        return await authenticator.by_cookie(key)
    try:
        return await authenticator.by_header(basic(USER, key))
    except LoginRefusedError:
        return None


@pytest.mark.parametrize("kind", [API, COOKIE])
async def test_only_a_hash_is_stored(box: Box, user: str, kind: str) -> None:
    """A session's key is stored nowhere, only its hash."""
    key = await box.session_key(USER, kind)
    ((key_hash, email, stored_kind, mark, *_),) = box.state_sql(ROWS)
    assert (key_hash, email, stored_kind) == (hashlib.sha256(key.encode()).hexdigest(), USER, kind)
    for path in (box.storage / "mailusers").iterdir():
        assert key.encode() not in path.read_bytes()
    assert mark not in str(box.sql("SELECT password FROM users"))


async def test_stolen_hash_is_no_key(box: Box, user: str) -> None:
    """Who reads the stored hash cannot log in with it."""
    await box.session_key(USER)
    ((key_hash, *_),) = box.state_sql(ROWS)
    assert await identify(box, key_hash) is None


@pytest.mark.parametrize("kind", [API, COOKIE])
async def test_session_identifies(box: Box, user: str, kind: str) -> None:
    """A session stands for its user, and says how the caller came."""
    key = await box.session_key(USER, kind)
    via = {API: "basic", COOKIE: "cookie"}[kind]
    assert await identify(box, key, kind) == Identity(USER, via, ())


@pytest.mark.parametrize("kind", [API, COOKIE])
@pytest.mark.parametrize(
    ("column", "hours", "alive"),
    [
        ("used_at", 47, True),
        ("used_at", 49, False),
        ("created_at", 335, True),
        ("created_at", 337, False),
    ],
)
async def test_session_ends(box: Box, user: str, kind: str, column: str, hours: int, alive: bool) -> None:
    """A session ends when it was not used for two days, and after two weeks in any case."""
    key = await box.session_key(USER, kind)
    statements = {
        "used_at": "UPDATE mailusers_session SET used_at = ?",
        "created_at": "UPDATE mailusers_session SET created_at = ?",
    }
    box.state_sql(statements[column], _stored(datetime.now(UTC) - timedelta(hours=hours)))
    assert (await identify(box, key, kind) is not None) is alive


def _stored(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


async def test_lifetime_is_a_setting(boxes: Boxes) -> None:
    """How long a session lives is the host's to say."""
    box = await boxes.open(session_hours=1, session_max_hours=2)
    await box.add(USER)
    key = await box.session_key(USER)
    box.state_sql(
        "UPDATE mailusers_session SET used_at = ?", _stored(datetime.now(UTC) - timedelta(minutes=61))
    )
    assert await identify(box, key) is None


async def test_use_is_remembered_now_and_then(box: Box, user: str) -> None:
    """Using a session prolongs it, without a write for every request."""
    key = await box.session_key(USER)

    def used_at() -> str:
        return str(box.state_sql("SELECT used_at FROM mailusers_session")[0][0])

    before = used_at()
    await identify(box, key)
    assert used_at() == before
    box.state_sql(
        "UPDATE mailusers_session SET used_at = ?", _stored(datetime.now(UTC) - timedelta(minutes=6))
    )
    await identify(box, key)
    assert used_at() >= before


async def test_old_sessions_are_swept(box: Box, user: str) -> None:
    """A new session sweeps those away that have ended."""
    await box.session_key(USER)
    box.state_sql("UPDATE mailusers_session SET used_at = '2020-01-01 00:00:00.000000'")
    await box.session_key(USER)
    assert len(box.state_sql(ROWS)) == 1


async def test_password_set_by_another_program(box: Box, user: str) -> None:
    """A password that another program sets ends the sessions too."""
    key = await box.session_key(USER)
    box.sql("UPDATE users SET password = '{PLAIN}another password' WHERE email = ?", USER)
    assert await identify(box, key) is None


@pytest.mark.parametrize("change", ["password", "archive", "another program's"])
async def test_sessions_do_not_outlive(box: Box, user: str, change: str) -> None:
    """A new password, an archival or a deleted row ends every session of the user."""
    keys = [await box.session_key(USER), await box.session_key(USER)]
    if change == "password":
        await box.service.set_password(CONSOLE, USER, "another password")
    elif change == "archive":
        await box.service.archive(CONSOLE, USER)
        await box.add(USER)
    else:
        box.sql("DELETE FROM users WHERE email = ?", USER)
    assert [await identify(box, key) for key in keys] == [None, None]


async def test_same_password_again_ends_sessions(box: Box, user: str) -> None:
    """Setting the very same password again ends the sessions as well: its hash is new."""
    key = await box.session_key(USER)
    await box.service.set_password(CONSOLE, USER, PASSWORD)
    assert await identify(box, key) is None


@pytest.mark.parametrize("key", ["", "x", "0" * 63, "0" * 65, "G" * 64, "٠" * 64, "0" * 63 + "\n"])
async def test_strange_keys(box: Box, user: str, key: str) -> None:
    """What cannot be a key is none."""
    assert await box.runtime.authenticator().by_cookie(key) is None


@pytest.mark.parametrize("stored", ["{PLAIN}" + PASSWORD, "{plain}" + PASSWORD])
async def test_weak_hash_is_replaced(box: Box, user: str, stored: str) -> None:
    """A log-in replaces a weak hash by a strong one, and the user's sessions go on."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", stored, USER)
    key, cookie = await box.session_key(USER), await box.session_key(USER, COOKIE)
    account = await box.runtime.authenticator().by_password(USER, PASSWORD)
    ((now,),) = box.sql("SELECT password FROM users WHERE email = ?", USER)
    assert now.startswith("{SHA512-CRYPT}$6$")
    assert account.password_hash == now
    assert await identify(box, key) is not None
    assert await identify(box, cookie, COOKIE) is not None
    await box.runtime.authenticator().by_password(USER, PASSWORD)
    assert box.sql("SELECT password FROM users WHERE email = ?", USER) == [(now,)]


async def test_wrong_password_replaces_nothing(box: Box, user: str) -> None:
    """Only the right password makes a new hash."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{PLAIN}" + PASSWORD, USER)
    with pytest.raises(LoginRefusedError, match=INCORRECT):
        await box.runtime.authenticator().by_password(USER, PASSWORD + "!")
    assert box.sql("SELECT password FROM users WHERE email = ?", USER) == [("{PLAIN}" + PASSWORD,)]


async def test_password_set_during_the_login(box: Box, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is set while a log-in strengthens the old one's hash stands; the old one is refused."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{PLAIN}" + PASSWORD, USER)
    original = Passwords.hash

    async def hash_meanwhile(self: Passwords, password: str) -> str:
        made = await original(self, password)
        box.sql("UPDATE users SET password = '{PLAIN}set meanwhile' WHERE email = ?", USER)
        return made

    monkeypatch.setattr(Passwords, "hash", hash_meanwhile)
    with pytest.raises(LoginRefusedError, match=INCORRECT):
        await box.runtime.authenticator().by_password(USER, PASSWORD)
    assert box.sql("SELECT password FROM users WHERE email = ?", USER) == [("{PLAIN}set meanwhile",)]


async def test_a_hash_strengthened_by_two_at_once(
    box: Box, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes that strengthen a hash, both bind what they begin to the one that is stored."""
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{PLAIN}" + PASSWORD, USER)
    here, elsewhere = box.runtime.authenticator(), box.runtime.authenticator()
    original = Passwords.hash
    others: list[Account] = []

    async def hash_meanwhile(self: Passwords, password: str) -> str:
        monkeypatch.setattr(Passwords, "hash", original)
        made = await original(self, password)
        others.append(await elsewhere.by_password(USER, PASSWORD))
        return made

    monkeypatch.setattr(Passwords, "hash", hash_meanwhile)
    account = await here.by_password(USER, PASSWORD)
    ((stored,),) = box.sql("SELECT password FROM users WHERE email = ?", USER)
    assert [account.password_hash, others[0].password_hash] == [stored, stored]
    key = await here.open_session(account, COOKIE)
    assert await here.by_cookie(key) is not None


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that are verified."""
    found: list[str] = []
    original = Passwords.verify_now

    def remember(self: Passwords, password: str, stored: str) -> object:
        found.append(stored)
        return original(self, password, stored)

    monkeypatch.setattr(Passwords, "verify_now", remember)
    return found


async def test_unknown_address_costs_the_same(box: Box, user: str, verified: list[str]) -> None:
    """For an unknown or archived address one hash is verified, of the kind that real users have."""
    await box.add("gone@example.com")
    await box.service.archive(CONSOLE, "gone@example.com")
    authenticator = box.runtime.authenticator()
    for email in ("nobody@example.com", "gone@example.com", USER, "nobody@example.com"):
        verified.clear()
        with pytest.raises(LoginRefusedError, match=INCORRECT):
            await authenticator.by_password(email, "a wrong password")
        (stored,) = verified
        assert (stored,) in box.sql("SELECT password FROM users")


async def test_decoy_is_spread(box: Box, verified: list[str]) -> None:
    """Unknown addresses are compared with different users' hashes, always the same for the same address."""
    for number in range(20):
        box.sql("INSERT INTO users (email, password) VALUES (?, ?)", f"u{number}@example.com", f"x{number}")
    authenticator = box.runtime.authenticator()

    async def decoy(email: str) -> str:
        verified.clear()
        with pytest.raises(LoginRefusedError):
            await authenticator.by_password(email, PASSWORD)
        return verified[0]

    decoys = [await decoy(f"nobody{number}@example.com") for number in range(30)]
    assert len(set(decoys)) > 5
    assert [await decoy(f"nobody{number}@example.com") for number in range(30)] == decoys


async def test_empty_box_costs_the_same(box: Box, verified: list[str]) -> None:
    """Where there is nobody at all a hash is verified too."""
    with pytest.raises(LoginRefusedError, match=INCORRECT):
        await box.runtime.authenticator().by_password(BOSS, PASSWORD)
    assert len(verified) == 1


async def test_too_many_logins(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many passwords are being checked callers get 503 with the time to wait."""
    box = await boxes.open()
    await box.add(BOSS, (ADMIN,))
    monkeypatch.setattr(box.runtime.passwords._lanes, "_limit", 0)
    for email in (BOSS, "nobody@example.com"):
        answer = await box.basic(email).get("/admin/mail/users")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    with pytest.raises(UnavailableError):
        await box.runtime.authenticator().by_password(BOSS, PASSWORD)
    assert isinstance(box.runtime.authenticator(), Authenticator)
    assert (await box.api.get("/admin/mail/users")).status == 200


async def test_a_second_factor_is_never_passed_over(box: Box, admin: Client) -> None:
    """Who has set up a second factor in Mail-in-a-Box is not let in by the password alone, and is told why."""
    insert = "INSERT INTO mfa (user_id, type, secret) SELECT id, 'totp', 'JBSWY3DPEHPK3PXP' FROM users"
    box.sql(f"{insert} WHERE email = ?", BOSS)
    answer = await admin.get("/admin/mail/users")
    assert (answer.status, answer.headers["X-Reason"]) == (401, "missing-totp-token")
    login = await admin.post("/admin/login")
    assert login.json() == {"status": "missing-totp-token", "reason": "missing-totp-token"}
    wrong = await box.basic(BOSS, "not the password").post("/admin/login")
    assert wrong.json()["status"] == "invalid"
    # The console and the system API key still work.
    assert (await box.api.get("/admin/mail/users")).status == 200


async def test_whatever_is_refused_inside_counts(boxes: Boxes) -> None:
    """A wrong second factor counts each time, the very same code as well: it may be right in a minute."""
    box = await boxes.open(throttle_pair=3)
    checks = box.runtime.throttle
    for _ in range(3):
        _, found = await checks.find_account(BOSS, "198.51.100.7")
        with pytest.raises(LoginRefusedError, match="invalid-totp-token"):
            async with checks.guarded(found, b"the same code"):
                raise LoginRefusedError("invalid-totp-token")
    _, found = await checks.find_account(BOSS, "198.51.100.7")
    with pytest.raises(ThrottledError):
        async with checks.guarded(found, b"the same code"):
            raise AssertionError

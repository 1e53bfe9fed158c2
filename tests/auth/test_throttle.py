"""Throttling: who guesses is slowed down, whoever logs in from elsewhere is not, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from mailusers_plugin.auth import throttle
from mailusers_plugin.auth.authenticator import API, Authenticator
from mailusers_plugin.auth.basic import REFUSED
from mailusers_plugin.auth.second_factor import MISSING_TOTP
from mailusers_plugin.errors import LoginRefusedError, MailUsersError, ThrottledError
from mailusers_plugin.models import ADMIN
from mailusers_plugin.passwords import Passwords, Verdict
from mailusers_plugin.store import accounts, sessions
from mailusers_plugin.store.lookups import Lookup, Lookups
from tests.support import BOSS, CONSOLE, PASSWORD, UNTHROTTLED, USER, Box, Boxes, basic

HERE = "198.51.100.7"
ELSEWHERE = "203.0.113.9"
NOBODY = "nobody@example.com"
PAIR, NETWORK, ACCOUNT = 4, 8, 12
"""Limits, small ones: each failure is a transaction."""
LIMITS: dict[str, Any] = {
    "login_cache_seconds": 0,
    "throttle_pair": PAIR,
    "throttle_network": NETWORK,
    "throttle_account": ACCOUNT,
}
STEP_MINUTES = 15 / PAIR
ROWS = "SELECT kind, email, network FROM mailusers_throttle ORDER BY kind, email, network"


@dataclass
class Clock:
    """The time that the throttle sees, in milliseconds."""

    now: int = 1_800_000_000_000

    def __call__(self) -> int:
        """Tell it."""
        return self.now

    def wait(self, minutes: float) -> None:
        """Let it go on."""
        self.now += round(minutes * 60_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    made = Clock()
    monkeypatch.setattr(throttle, "_now_ms", made)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that are hashed; the hash itself is left out, so that thousands of guesses are quick."""
    found: list[str] = []

    def verify(self: Passwords, password: str, stored: str) -> Any:
        found.append(password)
        return Verdict(password == PASSWORD)

    monkeypatch.setattr(Passwords, "verify_now", verify)
    return found


@pytest.fixture
def box(io_loop: Any, boxes: Boxes) -> Box:
    """A box with two administrators that remembers no password."""

    async def make() -> Box:
        opened = await boxes.open(**LIMITS)
        await opened.add(BOSS, (ADMIN,))
        await opened.add(USER, (ADMIN,))
        return opened

    made: Box = io_loop.run_sync(make)
    return made


async def attempt(
    where: Box | Authenticator, email: str, password: str, ip: str | None
) -> MailUsersError | None:
    """Log in; return what was wrong."""
    authenticator = where.runtime.authenticator() if isinstance(where, Box) else where
    try:
        await authenticator.by_password(email, password, ip=ip)
    except MailUsersError as error:
        return error
    return None


async def guess(where: Box, email: str, ip: str, times: int, mark: str = "") -> list[MailUsersError | None]:
    """Send different wrong passwords, one after the other."""
    return [await attempt(where, email, f"wrong {mark}{number}", ip) for number in range(times)]


def is_refused(error: MailUsersError | None) -> bool:
    """Tell whether a password was looked at and found wrong."""
    return type(error) is LoginRefusedError


async def test_the_pair(box: Box, clock: Clock, hashed: list[str]) -> None:
    """After some failures an account is closed to one network, also to the right password, and nothing is hashed."""
    assert all(map(is_refused, await guess(box, BOSS, HERE, PAIR)))
    hashed.clear()
    error = await attempt(box, BOSS, PASSWORD, HERE)
    assert isinstance(error, ThrottledError)
    assert (error.retry_after_seconds, error.message) == (
        225,
        "Too many log-ins have failed. Try again in 4 min.",
    )
    assert hashed == []
    # Nobody is locked out from elsewhere, and other accounts are not concerned here.
    assert await attempt(box, BOSS, PASSWORD, ELSEWHERE) is None
    assert await attempt(box, USER, PASSWORD, HERE) is None


async def test_failures_are_forgotten_one_by_one(box: Box, clock: Clock, hashed: list[str]) -> None:
    """One attempt is free after its share of 15 minutes, all of them after that time."""
    await guess(box, BOSS, HERE, PAIR)
    clock.wait(STEP_MINUTES - 0.01)
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)
    clock.wait(0.02)
    assert is_refused(await attempt(box, BOSS, "wrong again", HERE))
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)
    clock.wait(15)
    assert all(map(is_refused, await guess(box, BOSS, HERE, PAIR, "later ")))


async def test_an_unknown_account_is_counted_alike(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Refusals and waiting times do not tell whether an account exists."""
    said = []
    for email in (BOSS, NOBODY, "\N{REPLACEMENT CHARACTER}\n" + "x" * 3000):
        errors = [*await guess(box, email, HERE, 2), *await guess(box, email, ELSEWHERE, PAIR + 1)]
        said.append([(type(error), str(error)) for error in errors])
        box.state_sql("DELETE FROM mailusers_throttle")
    assert said[0] == said[1] == said[2]


async def test_the_network(box: Box, clock: Clock, hashed: list[str]) -> None:
    """One password tried on many accounts from one network is stopped, whatever the accounts."""
    errors = [
        await attempt(box, f"user{number}@example.com", "Spring2026", HERE) for number in range(NETWORK + 1)
    ]
    assert [isinstance(error, ThrottledError) for error in errors] == [False] * NETWORK + [True]
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)
    assert await attempt(box, BOSS, PASSWORD, ELSEWHERE) is None


async def test_ipv6(box: Box, clock: Clock, hashed: list[str]) -> None:
    """All addresses of a /64 are one network; a /48 has eight times as much, so that no other is to be had for free."""
    for number in range(NETWORK):
        await attempt(box, f"user{number}@example.com", "Spring2026", f"2001:db8:1:2::{number:x}")
    assert isinstance(await attempt(box, BOSS, PASSWORD, "2001:db8:1:2:ffff::1"), ThrottledError)
    assert await attempt(box, BOSS, PASSWORD, "2001:db8:1:3::1") is None
    for number in range(0x100, 0x100 + 7 * NETWORK):
        await attempt(box, f"user{number}@example.com", "Spring2026", f"2001:db8:1:{number:x}::1")
    assert isinstance(await attempt(box, BOSS, PASSWORD, "2001:db8:1:ffff::1"), ThrottledError)
    assert await attempt(box, BOSS, PASSWORD, "2001:db8:2:1::1") is None


async def besiege(box: Box, email: str) -> None:
    """Guess an account's password from many networks, until its limit is reached."""
    for number in range(ACCOUNT):
        assert is_refused(await attempt(box, email, f"botnet {number}", f"192.0.2.{number}"))


async def test_a_besieged_account_locks_nobody_out(box: Box, clock: Clock, hashed: list[str]) -> None:
    """A right password gets in at the first attempt from anywhere; a wrong one costs an unknown network an hour."""
    await besiege(box, BOSS)
    assert await attempt(box, BOSS, PASSWORD, HERE) is None
    assert is_refused(await attempt(box, BOSS, "a slip", ELSEWHERE))
    error = await attempt(box, BOSS, PASSWORD, ELSEWHERE)
    assert isinstance(error, ThrottledError)
    assert error.retry_after_seconds == 3600
    clock.wait(59)
    assert isinstance(await attempt(box, BOSS, PASSWORD, ELSEWHERE), ThrottledError)
    clock.wait(2)
    assert await attempt(box, BOSS, PASSWORD, ELSEWHERE) is None


@pytest.mark.parametrize("known_by", ["a session", "a log-in meanwhile"])
async def test_a_familiar_network_is_not_concerned(
    box: Box, clock: Clock, hashed: list[str], known_by: str
) -> None:
    """From where the user has logged in lately there are as many attempts as ever, while others have one an hour."""
    if known_by == "a session":
        account = await box.service.account(BOSS)
        await box.runtime.authenticator().open_session(account, API, ip=HERE)
    await besiege(box, BOSS)
    if known_by != "a session":
        assert await attempt(box, BOSS, PASSWORD, HERE) is None
    assert all(map(is_refused, await guess(box, BOSS, HERE, PAIR)))
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)
    # It is familiar to that account only.
    await besiege(box, USER)
    assert is_refused(await attempt(box, USER, "a slip", "192.0.2.200"))
    assert isinstance(await attempt(box, USER, PASSWORD, "192.0.2.200"), ThrottledError)


async def test_the_botnet_is_slow(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Once an account's limit is reached every further network has one guess an hour, also many at a time."""
    await besiege(box, BOSS)
    hashed.clear()
    errors = await asyncio.gather(*(attempt(box, BOSS, f"more {number}", HERE) for number in range(20)))
    assert sum(map(is_refused, errors)) == len(hashed) == 1


async def test_all_at_once(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Guesses that are sent at the same moment are no more than those sent one after the other."""
    errors = await asyncio.gather(*(attempt(box, BOSS, f"wrong {number}", HERE) for number in range(60)))
    assert sum(map(is_refused, errors)) == len(hashed) == PAIR
    assert sum(isinstance(error, ThrottledError) for error in errors) == 60 - PAIR


async def test_who_has_read_the_counters_before(box: Box, clock: Clock, hashed: list[str]) -> None:
    """What was counted between an attempt's look at the counters and its turn counts for it, and once only."""
    looks = [(await box.runtime.throttle.find_account(BOSS, HERE))[1] for _ in range(PAIR)]
    assert all(map(is_refused, await guess(box, BOSS, HERE, PAIR - 1)))
    for number, early in enumerate(looks):
        with pytest.raises(LoginRefusedError if number == 0 else ThrottledError):
            async with box.runtime.throttle.guarded(early, f"early {number}".encode()):
                raise LoginRefusedError(REFUSED)
    assert isinstance(await attempt(box, BOSS, "one more", HERE), ThrottledError)


async def test_the_same_right_password_all_at_once(box: Box, clock: Clock, hashed: list[str]) -> None:
    """A script that sends many requests with the right password at a time is not one that guesses."""
    authenticator = box.runtime.authenticator()
    errors = await asyncio.gather(*(attempt(authenticator, BOSS, PASSWORD, HERE) for _ in range(60)))
    assert errors == [None] * 60


async def test_an_old_password_counts_once(box: Box, clock: Clock, hashed: list[str]) -> None:
    """A script that goes on sending a password that was changed does not keep its user out, nor others there."""
    authenticator = box.runtime.authenticator()
    await box.service.set_password(CONSOLE, BOSS, "a new password")
    for _ in range(40):
        assert is_refused(await attempt(authenticator, BOSS, "the old password", HERE))
    assert await attempt(authenticator, BOSS, PASSWORD, HERE) is None


async def test_processes_count_together(boxes: Boxes, box: Box, clock: Clock, hashed: list[str]) -> None:
    """What fails in one process counts in all others at once."""
    other = await boxes.open(box.storage, **LIMITS)
    for number in range(PAIR // 2):
        assert is_refused(await attempt(box, BOSS, f"wrong {number}", HERE))
        assert is_refused(await attempt(other, BOSS, f"other {number}", HERE))
    for each in (box, other):
        assert isinstance(await attempt(each, BOSS, PASSWORD, HERE), ThrottledError)


async def test_two_processes_count_the_same_at_once(
    boxes: Boxes, box: Box, clock: Clock, hashed: list[str]
) -> None:
    """Failures that two processes write at the same moment, having read that there are none, are all counted."""
    other = await boxes.open(box.storage, **LIMITS)
    throttles = (box.runtime.throttle, other.runtime.throttle) * (PAIR // 2)
    looks = [(await each.find_account(BOSS, HERE))[1] for each in throttles]

    async def fail(number: int) -> None:
        async with throttles[number].guarded(looks[number], f"wrong {number // 2}".encode()):
            raise LoginRefusedError(REFUSED)

    errors = await asyncio.gather(*map(fail, range(PAIR)), return_exceptions=True)
    assert [type(error) for error in errors] == [LoginRefusedError] * PAIR
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Lookup[Any]]:
    """The look-ups that are made of callers, of whatever database."""
    found: list[Lookup[Any]] = []
    original = Lookups.find

    def remember(self: Lookups, lookup: Lookup[Any], values: tuple[Any, ...]) -> Any:
        found.append(lookup)
        return original(self, lookup, values)

    monkeypatch.setattr(Lookups, "find", remember)
    return found


async def test_costs_of_those_who_do_not_fail(boxes: Boxes, asked: list[Lookup[Any]]) -> None:
    """A success writes nothing, and costs one trip as before; a session, a cookie and the key ask nothing more."""
    box = await boxes.open()
    await box.add(BOSS, (ADMIN,))
    authenticator = box.runtime.authenticator()
    key = await box.session_key(BOSS)
    one_database = box.runtime.state is box.runtime.database
    await authenticator.by_header(basic(BOSS, PASSWORD), ip=HERE)
    # A remembered password, whose account is read as before, with the counters: on SQLite those are in another file.
    asked.clear()
    await authenticator.by_header(basic(BOSS, PASSWORD), ip=HERE)
    assert len(asked) == (1 if one_database else 2)
    asked.clear()
    await authenticator.by_header(basic(BOSS, key), ip=HERE)
    assert asked == ([sessions._FIND_BOTH] if one_database else [sessions._FIND, accounts.FIND])
    asked.clear()
    await authenticator.by_header(basic(box.api_key, ""), ip=HERE)
    assert asked == []
    assert box.state_sql(ROWS) == []


async def test_a_session_and_the_key_pass(box: Box, clock: Clock, hashed: list[str]) -> None:
    """What nobody can guess gets in from a network that has used up everything."""
    key = await box.session_key(BOSS)
    for number in range(NETWORK):
        await attempt(box, f"user{number}@example.com", "Spring2026", HERE)
    authenticator = box.runtime.authenticator()
    assert isinstance(await attempt(authenticator, BOSS, PASSWORD, HERE), ThrottledError)
    for header in (basic(BOSS, key), basic(box.api_key, "")):
        assert (await authenticator.by_header(header, ip=HERE)).privileges == (ADMIN,)


async def test_guessed_keys_count(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Guesses at the system API key and at session keys count for their network; the same wrong one counts once."""
    authenticator = box.runtime.authenticator()

    async def send(header: str) -> type[MailUsersError] | None:
        try:
            await authenticator.by_header(header, ip=HERE)
        except MailUsersError as error:
            return type(error)
        return None

    assert [await send(basic("an old key", "")) for _ in range(40)] == [LoginRefusedError] * 40
    answers = [await send(basic(f"{number:064x}", "")) for number in range(4)]
    answers += [await send(basic(f"u{number}@example.com", f"{number:064x}")) for number in range(3)]
    assert answers == [LoginRefusedError] * (NETWORK - 1)
    assert await send(basic("another key", "")) is ThrottledError
    assert await send(basic(BOSS, PASSWORD)) is ThrottledError
    assert await send(basic(box.api_key, "")) is None


async def test_a_missing_code_is_no_failure(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Who has sent the right password and is asked for more has not failed; a wrong password has."""
    insert = "INSERT INTO mfa (user_id, type, secret) SELECT id, 'totp', 'JBSWY3DPEHPK3PXP' FROM users"
    box.sql(f"{insert} WHERE email = ?", BOSS)
    for _ in range(30):
        error = await attempt(box, BOSS, PASSWORD, HERE)
        assert error is not None
        assert error.message == MISSING_TOTP
    assert box.state_sql(ROWS) == []
    assert is_refused(await attempt(box, BOSS, "wrong", HERE))
    assert len(box.state_sql(ROWS)) == 3


@pytest.mark.parametrize("years", [-1, 1])
async def test_a_clock_that_was_wrong(box: Box, clock: Clock, hashed: list[str], years: int) -> None:
    """Failures that were counted while the clock was wrong by a year close nothing, and those of now still count."""
    await guess(box, BOSS, HERE, PAIR)
    await besiege(box, USER)
    clock.wait(years * 525_600)
    assert await attempt(box, BOSS, PASSWORD, HERE) is None
    assert is_refused(await attempt(box, USER, "a slip", HERE))
    assert await attempt(box, USER, PASSWORD, HERE) is None
    assert all(map(is_refused, await guess(box, BOSS, HERE, PAIR, "now ")))
    assert isinstance(await attempt(box, BOSS, PASSWORD, HERE), ThrottledError)


async def test_what_is_forgotten_is_deleted(box: Box, clock: Clock, hashed: list[str]) -> None:
    """The table holds what counts, and nothing of yesterday."""
    await guess(box, BOSS, HERE, 3)
    assert len(box.state_sql(ROWS)) == 3
    clock.wait(25 * 60)
    await guess(box, USER, ELSEWHERE, 1)
    assert [row[1:] for row in box.state_sql(ROWS)] == [(USER, ""), ("", ELSEWHERE), (USER, ELSEWHERE)]


async def test_limits_are_settings(boxes: Boxes, clock: Clock, hashed: list[str]) -> None:
    """Each limit can be set, and switched off."""
    box = await boxes.open(
        login_cache_seconds=0, **{**UNTHROTTLED, "throttle_pair": 2, "throttle_minutes": 60}
    )
    await box.add(BOSS, (ADMIN,))
    await guess(box, BOSS, HERE, 2)
    error = await attempt(box, BOSS, PASSWORD, HERE)
    assert isinstance(error, ThrottledError)
    assert error.retry_after_seconds == 1800
    free = await boxes.open(login_cache_seconds=0, **UNTHROTTLED)
    await free.add(BOSS, (ADMIN,))
    assert all(map(is_refused, await guess(free, BOSS, HERE, 60)))
    assert await attempt(free, BOSS, PASSWORD, HERE) is None
    assert free.state_sql(ROWS) == []


async def test_a_caller_inside_is_not_throttled(box: Box, clock: Clock, hashed: list[str]) -> None:
    """Who calls from inside the process, such as a host's own code, has no address and is not counted."""
    for number in range(50):
        assert is_refused(await attempt(box, BOSS, f"wrong {number}", None))
    assert await attempt(box, BOSS, PASSWORD, None) is None
    assert box.state_sql(ROWS) == []

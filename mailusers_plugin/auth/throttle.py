"""Throttling of log-ins: guessing is slow, and nobody can lock a user out by guessing from elsewhere.

**What is counted.** Failures, never successes: by network (an IPv4 address, a /64 of IPv6), by account and network,
and by account, in the state database, so that all processes count together. An unknown address is counted like a
known one, so that its refusals tell nothing. Every credential that can be wrong counts: a password, a session key in
its place, a second factor's code, an API key or a token; those that were right are let in however many others were
wrong, as far as nobody can guess them: a session, a key and a token have 256 random bits.

**Why not simply lock the account.** NIST SP 800-63B (2017, section 5.2.2) wants at most 100 consecutive failures for
an account; a counter that locks it for everybody is an attack of its own, as section 5.2.2 and OWASP's Authentication
Cheat Sheet ("Account Lockout") both say. Counting by account *and* network has no such effect, but a botnet guesses
as often as it has networks. OWASP's *Slow Down Online Guessing Attacks with Device Cookies* therefore has clients
that are known by an earlier log-in and those that are not, and section 5.2.2 names the same by address ("accepting only
authentication requests that come from a white list of IP addresses from which the subscriber has been successfully
authenticated before"). So there are three limits:

- by account and network, 10 in 15 minutes: a person who mistypes, or a script with an old password, stops there;
- by network, 50 in 15 minutes over all accounts, and eight times that for the /48 around an IPv6 network: one password
  tried on many accounts;
- by account, 100 in a day, which locks nothing. From then on a network from which the user has *not* logged in lately
  has one attempt an hour instead of ten in 15 minutes (section 5.2.2: a wait "of 30 seconds up to an hour"), each
  network by itself, so that a right password gets in from anywhere at the first attempt. Networks from which the user
  has logged in are not concerned: those of the sessions that there are, and those that a log-in came from while the
  account was being guessed at.

What is left: who shares an address with an attacker (a large NAT) is slowed down with him, but for sessions, keys and
tokens. A botnet of N networks has N guesses an hour at one account.

**Drops, not windows.** Each failure is forgotten after its share of the time, ten in 15 minutes one after the other in
90 s each, so nobody is refused for longer than that once the burst is over.

**Costs.** Who comes with a password has the counters read together with the account; others have nothing read. A
success writes nothing, unless its account is being guessed at. A refused attempt hashes nothing, and is answered late
(``refusal_seconds``), so that a flood of them is no more than the event loop can answer beside all else. The same wrong
password again, from the same network, counts once: a program that goes on sending an old password does not keep its
owner out. Attempts that have not ended yet count as failures to those that begin meanwhile, so that a hundred at once
are not a hundred guesses; in each process by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

from mailusers_plugin.auth.basic import REFUSED
from mailusers_plugin.client_address import network_of, wide_network_of
from mailusers_plugin.errors import LoginRefusedError, ThrottledError
from mailusers_plugin.models import Account
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import accounts
from mailusers_plugin.store import throttle as store
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.throttle import ACCOUNT, NETWORK, PAIR, WIDE, Counter, Keys, Standing

UNCOUNTED: Final = frozenset(("missing-totp-token",))
"""Refusals that are no guess: the password was right, and the client is about to ask for the rest."""
_DAY_MS: Final = 86_400_000
_STRICT_MS: Final = 3_600_000
"""How long an unfamiliar network waits after each failure, for an account that is being guessed at."""
_FAMILIAR_MS: Final = 30 * _DAY_MS
_WIDE_TIMES: Final = 8
_SWEEP_MS: Final = 60_000
_WRONG_EACH: Final = 3
_WRONG_MOST: Final = 10_000
_COUNTED_MOST: Final = 4096
"""More than can be counted while one attempt waits for what it has read."""
_NOTHING: Final = Standing()


class Attempt(NamedTuple):
    """Who tries to log in, and what was counted before.

    :ivar email: the account; empty for a key or a token, which names none
    :ivar network: where the attempt comes from
    :ivar wide: the network around that, empty where there is none
    :ivar keys: of what is counted
    :ivar standing: what was counted before
    :ivar seen: how many failures of this process had been counted when that was read
    """

    email: str
    network: str
    wide: str
    keys: Keys
    standing: Standing
    seen: int


class _Counted(NamedTuple):
    """A failure that was counted: who had read the counters before does not know it from there."""

    number: int
    keys: Keys
    guess: bytes


class _Limit(NamedTuple):
    """How many failures of a kind are let pass."""

    step_ms: int
    window_ms: int
    keep_ms: int


class Throttle:
    """Refuses log-ins where too many have failed."""

    def __init__(self, database: Database, state: Database, settings: Settings) -> None:
        """Take where it counts, and the limits.

        :param database: where the accounts are
        :param state: where the counters are
        :param settings: those that begin with ``throttle_``
        """
        self._database = database
        self._state = state
        window_ms = round(settings.throttle_minutes * 60_000)
        self._limits = {
            kind: _Limit(max(1, window_ms // limit), window_ms, keep_ms)
            for kind, limit, window_ms, keep_ms in (
                (NETWORK, settings.throttle_network, window_ms, 0),
                (WIDE, settings.throttle_network * _WIDE_TIMES, window_ms, 0),
                (PAIR, settings.throttle_pair, window_ms, _STRICT_MS),
                (ACCOUNT, settings.throttle_account, _DAY_MS, 0),
            )
            if limit
        }
        self._running: dict[str, dict[bytes, int]] = {}
        self._failures = 0
        self._counted: deque[_Counted] = deque(maxlen=_COUNTED_MOST)
        self._wrong: OrderedDict[str, deque[bytes]] = OrderedDict()
        self._swept_ms = 0
        self._pause_seconds = settings.refusal_seconds

    @property
    def steps_ms(self) -> dict[str, int]:
        """How long one failure is remembered behind those before it, by kind of counter; without what is off."""
        return {kind: limit.step_ms for kind, limit in self._limits.items()}

    async def find_account(self, email: str, ip: str | None) -> tuple[Account | None, Attempt | None]:
        """Return an account, and the attempt to log in to it.

        :param ip: where it comes from; ``None`` for a caller inside this process, who is not throttled
        :raises UnavailableError: if a database is away
        """
        if ip is None or not self._limits:
            return await self._database.look_up(accounts.FIND, email), None
        network, wide = network_of(ip), wide_network_of(ip)
        keys = store.keys_of(email, network, wide)
        seen, standing, found = await self._database.look_up_with(self._find_now, email, keys)
        return found, Attempt(email, network, wide, keys, standing, seen)

    def _find_now(self, email: str, keys: Keys) -> tuple[int, Standing, Account | None]:
        # Asked before the counters are read: whatever was counted by then is among them.
        seen = self._failures
        return seen, *store.find_with_account_now(self._state, self._database, email, keys)

    @asynccontextmanager
    async def guarded(
        self, attempt: Attempt | None, guess: bytes, *, is_whole: bool = True
    ) -> AsyncIterator[None]:
        """Let an attempt go on in the block, and count it where the block raises :class:`LoginRefusedError`.

        Whatever is checked there counts: a password, a second factor's code.

        :param attempt: ``None`` for one that is not throttled
        :param guess: stands for what was sent, the same for the same
        :param is_whole: whether the user is logged in then, and has not to give a code yet
        :raises ThrottledError: if too many have failed; nothing must be hashed then
        """
        if attempt is None:
            yield
            return
        now_ms = _now_ms()
        familiar = False
        is_first = attempt.standing == _NOTHING and attempt.seen == self._failures
        if not is_first or not self._running.keys().isdisjoint(attempt.keys):
            under_attack = self._wait_ms(attempt, ACCOUNT, guess, now_ms) > 0
            familiar = under_attack and await self._is_familiar(attempt, now_ms)
            await self._admit(attempt, guess, now_ms, strictly=under_attack and not familiar)
        # From here to the block nothing is awaited: who comes meanwhile finds this attempt running.
        self._begin(attempt, guess)
        try:
            try:
                yield
            except LoginRefusedError as error:
                if await self._count(attempt, guess, error):
                    self._failures += 1
                    self._counted.append(_Counted(self._failures, attempt.keys, guess))
                raise
            if is_whole and not familiar and self._is_being_guessed(attempt, now_ms):
                await self._remember(attempt)
        finally:
            self._end(attempt, guess)

    async def refuse_key(self, ip: str | None, guess: bytes) -> None:
        """Count a key or a token that nobody has. Those that are right need not ask: they cannot be guessed.

        :param ip: where it comes from; ``None`` for a caller inside this process
        :param guess: stands for what was sent
        :raises ThrottledError: if too many have failed from there
        """
        if ip is None:
            return
        network, wide = network_of(ip), wide_network_of(ip)
        keys = store.keys_of("", network, wide)
        seen = self._failures
        standing = await self._state.look_up_with(store.find_now, self._state, keys)
        attempt = Attempt("", network, wide, keys, standing, seen)
        await self._admit(attempt, guess, _now_ms(), strictly=False)
        await self._count(attempt, guess, LoginRefusedError(REFUSED))

    def _kinds(self, attempt: Attempt) -> list[str]:
        """Return by what an attempt is counted."""
        wanted = [NETWORK]
        if attempt.wide:
            wanted.append(WIDE)
        if attempt.email:
            wanted += [PAIR, ACCOUNT]
        return [kind for kind in wanted if kind in self._limits]

    async def _admit(self, attempt: Attempt, guess: bytes, now_ms: int, *, strictly: bool) -> None:
        waits = [
            self._wait_ms(attempt, kind, guess, now_ms) for kind in self._kinds(attempt) if kind != ACCOUNT
        ]
        last_ms = attempt.standing.pair_last
        if strictly and last_ms is not None and now_ms - _STRICT_MS < last_ms <= now_ms + _STRICT_MS:
            waits.append(last_ms + _STRICT_MS - now_ms)
        if strictly and self._others(attempt, PAIR, guess):
            waits.append(_STRICT_MS)
        longest_ms = max(waits, default=0)
        if longest_ms > 0:
            # Whoever sends the next one as soon as this is answered takes no more than his share of the event loop.
            await asyncio.sleep(self._pause_seconds)
            raise ThrottledError(max(1, -(-longest_ms // 1000)))

    def _wait_ms(self, attempt: Attempt, kind: str, guess: bytes, now_ms: int) -> int:
        """Return how long one more failure would be too many, ``0`` where it would not."""
        limit = self._limits.get(kind)
        if limit is None:
            return 0
        behind = self._others(attempt, kind, guess) * limit.step_ms
        drained_ms = getattr(attempt.standing, kind)
        if drained_ms is not None and now_ms < drained_ms < now_ms + 2 * limit.window_ms:
            behind += drained_ms - now_ms
        return max(0, behind - (limit.window_ms - limit.step_ms))

    def _others(self, attempt: Attempt, kind: str, guess: bytes) -> int:
        """Return how many other guesses are being checked, or were counted since the attempt has read the counters."""
        key = getattr(attempt.keys, kind)
        running = self._running.get(key)
        others = 0 if running is None else len(running) - (guess in running)
        for counted in reversed(self._counted):
            if counted.number <= attempt.seen:
                break
            if getattr(counted.keys, kind) != key or counted.guess == guess:
                continue
            # The same guess that is being checked once more is among those already.
            others += running is None or counted.guess not in running
        return others

    def _begin(self, attempt: Attempt, guess: bytes) -> None:
        for key in attempt.keys:
            running = self._running.setdefault(key, {})
            running[guess] = running.get(guess, 0) + 1

    def _end(self, attempt: Attempt, guess: bytes) -> None:
        for key in attempt.keys:
            running = self._running[key]
            running[guess] -= 1
            if not running[guess]:
                del running[guess]
                if not running:
                    del self._running[key]

    def _is_being_guessed(self, attempt: Attempt, now_ms: int) -> bool:
        """Tell whether half of what an account's limit allows has failed, so that it may soon be reached."""
        drained_ms = attempt.standing.account
        return drained_ms is not None and now_ms + _DAY_MS // 2 < drained_ms < now_ms + 2 * _DAY_MS

    async def _is_familiar(self, attempt: Attempt, now_ms: int) -> bool:
        return await self._state.look_up_with(
            store.is_familiar_now, self._state, attempt.email, attempt.network, now_ms
        )

    async def _count(self, attempt: Attempt, guess: bytes, error: LoginRefusedError) -> bool:
        """Count a failure; return whether it was one that counts."""
        # A password that is wrong stays so while the stored hash does. A code may be right later: it counts each time.
        if error.message in UNCOUNTED or (
            error.message == REFUSED and not self._is_new(attempt.email, attempt.network, guess)
        ):
            return False
        now_ms = _now_ms()
        if abs(now_ms - self._swept_ms) > _SWEEP_MS:
            self._swept_ms = now_ms
            await self._state.write(store.sweep, now_ms)
        networks = {NETWORK: attempt.network, WIDE: attempt.wide, PAIR: attempt.network}
        emails = {PAIR: attempt.email, ACCOUNT: attempt.email}
        counters = [
            Counter(
                getattr(attempt.keys, kind),
                kind,
                emails.get(kind, ""),
                networks.get(kind, ""),
                *self._limits[kind],
            )
            for kind in self._kinds(attempt)
        ]
        await self._state.write(store.count, counters, now_ms)
        return True

    def _is_new(self, email: str, network: str, guess: bytes) -> bool:
        """Tell whether something wrong comes for the first time; it is kept as only this process can read it."""
        # By its hash, for what is sent as an address may be of any length.
        key = store.key_of(PAIR, email, network)
        wrong = self._wrong.setdefault(key, deque(maxlen=_WRONG_EACH))
        self._wrong.move_to_end(key)
        while len(self._wrong) > _WRONG_MOST:
            self._wrong.popitem(last=False)
        if guess in wrong:
            return False
        wrong.append(guess)
        return True

    async def _remember(self, attempt: Attempt) -> None:
        now_ms = _now_ms()
        if not await self._is_familiar(attempt, now_ms):
            remember = partial(
                store.remember,
                email=attempt.email,
                network=attempt.network,
                now_ms=now_ms,
                until_ms=now_ms + _FAMILIAR_MS,
            )
            await self._state.write(lambda connection: remember(connection))


def _now_ms() -> int:
    return int(time.time() * 1000)

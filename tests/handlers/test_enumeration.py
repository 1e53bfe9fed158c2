"""Whether an address is a user's cannot be told from a refusal: not by its text, its status, its work or its time.

The time is the processor's, which a busy machine changes less than the clock's, of attempts of all kinds in turns, and
it is compared by the ranks of the samples (Mann and Whitney), which one slow sample does not move. That the comparison
would find what there is to find is tested too.
"""

from __future__ import annotations

import importlib
import math
import random
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from passlib.hash import sha512_crypt

from mailusers_plugin.models import ADMIN
from mailusers_plugin.passwords import Passwords, Verdict
from mailusers_plugin.store.lookups import Lookup, Lookups
from tests.support import BOSS, CONSOLE, PASSWORD, UNTHROTTLED, USER, XSRF, Answer, Box, Boxes, Client

SECOND_FACTOR = "factor@example.com"
ARCHIVED = "gone@example.com"
KNOWN = (BOSS, USER, SECOND_FACTOR)
UNKNOWN = ("nobody@example.com", ARCHIVED, "none@example.org")
TOKEN = re.compile(r"2\|[0-9a-f]{8}\|[0-9a-f]+\|[0-9]+")
"""Tornado's XSRF token, which is masked anew each time."""
ROUNDS = 20
HASH_ROUNDS = 30_000
"""Six times those of a new hash."""
CHANCE = 1e-6
"""How seldom the test may find a difference where there is none: once in a million comparisons."""


async def login_page(box: Box, email: str, password: str) -> Answer:
    """Send the form."""
    client = box.nobody.sending(Cookie=f"_xsrf={XSRF}")
    return await client.post("/admin/mailusers/login", email=email, password=password, _xsrf=XSRF)


async def login_dialog(box: Box, email: str, password: str) -> Answer:
    """Send the form of the dialog."""
    client = box.nobody.sending(Cookie=f"_xsrf={XSRF}", HX_Request="true")
    return await client.post("/admin/mailusers/login", email=email, password=password, _xsrf=XSRF)


async def login_api(box: Box, email: str, password: str) -> Answer:
    """Ask for a session key."""
    return await box.basic(email, password).post("/admin/login")


async def basic_api(box: Box, email: str, password: str) -> Answer:
    """Send them with a request."""
    return await box.basic(email, password).get("/admin/mail/users")


async def basic_page(box: Box, email: str, password: str) -> Answer:
    """Send them with a request for a page."""
    return await box.basic(email, password).sending(Accept="text/html").get("/admin/users")


async def basic_script(box: Box, email: str, password: str) -> Answer:
    """Send them as a script on a page does, with a code as well."""
    client: Client = box.basic(email, password).sending(
        X_Requested_With="XMLHttpRequest", X_Auth_Token="123456"
    )
    return await client.get("/admin/mail/users")


WAYS: Sequence[Callable[[Box, str, str], Awaitable[Answer]]] = (
    login_page,
    login_dialog,
    login_api,
    basic_api,
    basic_page,
    basic_script,
)


async def populate(box: Box) -> Box:
    """Add users of every kind: an administrator, one without privileges, one with a second factor, one archived."""
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    await box.add(SECOND_FACTOR, (ADMIN,))
    await box.add(ARCHIVED)
    await box.service.archive(CONSOLE, ARCHIVED)
    insert = "INSERT INTO mfa (user_id, type, secret) SELECT id, 'totp', 'JBSWY3DPEHPK3PXP' FROM users"
    box.sql(f"{insert} WHERE email = ?", SECOND_FACTOR)
    return box


def what_is_seen(answer: Answer, email: str) -> tuple[Any, ...]:
    """Return all of an answer but what changes with each request and the address that was sent."""
    headers = sorted(
        (name, TOKEN.sub("TOKEN", value))
        for name, value in answer.headers.get_all()
        if name not in ("Date", "Content-Length", "X-Request-Id")
    )
    return answer.status, headers, TOKEN.sub("TOKEN", answer.text.replace(email, "EMAIL"))


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str, calls: list[str]) -> None:
    """Note each call of a function of a module."""
    module, _, attribute = name.rpartition(".")
    original = getattr(importlib.import_module(module), attribute)

    def call(*args: Any) -> Any:
        calls.append(name)
        return original(*args)

    monkeypatch.setattr(name, call)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
@pytest.mark.parametrize("limits", [{}, {"throttle_pair": 3}], ids=["as it is", "until it is throttled"])
async def test_by_text_and_work(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch, way: Any, limits: dict[str, Any]
) -> None:
    """Every address gets the same answers, for the same hashes and queries, also once it is throttled."""
    monkeypatch.setattr("mailusers_plugin.auth.throttle._now_ms", lambda: 1_800_000_000_000)
    box = await populate(await boxes.open(throttle_network=0, **limits))
    work: list[str] = []
    found: dict[str, list[Any]] = {}

    def verify(self: Passwords, password: str, stored: str) -> Verdict:
        work.append("hash")
        return Verdict(False)

    find = Lookups.find

    def look_up(self: Lookups, lookup: Lookup[Any], values: tuple[Any, ...]) -> Any:
        work.append("query")
        return find(self, lookup, values)

    for name in ("accounts.decoy_hash", "throttle.count"):
        count_calls(monkeypatch, f"mailusers_plugin.store.{name}", work)
    monkeypatch.setattr(Passwords, "verify_now", verify)
    monkeypatch.setattr(Lookups, "find", look_up)
    for email in (*KNOWN, *UNKNOWN):
        for number in range(5):
            work.clear()
            answer = await way(box, email, f"wrong {number}")
            found.setdefault(email, []).append((what_is_seen(answer, email), list(work)))
    for email in (*KNOWN, *UNKNOWN):
        assert found[email] == found[BOSS], email
    hashes = [seen[1].count("hash") for seen in found[BOSS]]
    assert hashes == ([1, 1, 1, 0, 0] if limits else [1] * 5)
    assert found[BOSS][0][1].count("mailusers_plugin.store.throttle.count") == 1


def ranks_differ(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how likely two samples would differ as much by chance (Mann and Whitney's U, both ways, normal)."""
    together = sorted((value, side) for side, values in enumerate((one, other)) for value in values)
    ranks = {0: 0.0, 1: 0.0}
    for rank, (_, side) in enumerate(together, start=1):
        ranks[side] += rank
    n, m = len(one), len(other)
    u = ranks[0] - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


async def times(box: Box, ways: Sequence[Any], rounds: int) -> tuple[list[float], list[float]]:
    """Return the processor's time of refusals of known and of unknown addresses, taken in turns."""
    found: dict[bool, list[float]] = {True: [], False: []}
    order = random.Random(5)
    for number in range(rounds):
        for way in ways:
            turns = [(True, KNOWN[number % 3]), (False, UNKNOWN[number % 3])]
            order.shuffle(turns)
            for known, email in turns:
                began = time.process_time()
                await way(box, email, f"a wrong password {number}")
                found[known].append(time.process_time() - began)
    return found[True], found[False]


async def measured(boxes: Boxes) -> Box:
    """Open a box in which nothing but the log-ins works, and warm it up.

    A hash is a good part of the time of an attempt there, as it is outside of tests: where it is a tenth, a busy
    machine hides that it is missing.
    """
    box = await populate(await boxes.open(**UNTHROTTLED))
    stored = sha512_crypt.using(rounds=HASH_ROUNDS).hash(PASSWORD)
    box.sql("UPDATE users SET password = ?", f"{{SHA512-CRYPT}}{stored}")
    await times(box, WAYS, 2)
    return box


@pytest.mark.gen_test(timeout=300)
async def test_by_time(boxes: Boxes) -> None:
    """The processor works as long for an unknown address as for a wrong password, with and without a second factor."""
    box = await measured(boxes)
    known, unknown = await times(box, WAYS, ROUNDS)
    chance = ranks_differ(known, unknown)
    assert chance > CHANCE, (statistics.median(known), statistics.median(unknown))


@pytest.mark.gen_test(timeout=300)
async def test_a_difference_would_be_found(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown address whose hash takes half as long is told apart by these very samples."""
    box = await measured(boxes)
    spent: list[float] = []
    original = Passwords.verify_now

    def verify(self: Passwords, password: str, stored: str) -> Verdict:
        began = time.thread_time()
        verdict = original(self, password, stored)
        spent.append(time.thread_time() - began)
        return verdict

    monkeypatch.setattr(Passwords, "verify_now", verify)
    await times(box, WAYS, 2)
    part = statistics.median(spent) / 2

    def spend(self: Passwords, password: str, stored: str | None) -> None:
        began = time.thread_time()
        while time.thread_time() - began < part:
            pass

    monkeypatch.setattr(Passwords, "_verify_decoy_now", spend)
    known, unknown = await times(box, WAYS, ROUNDS)
    assert ranks_differ(known, unknown) < CHANCE, (statistics.median(known), statistics.median(unknown))


def test_the_statistics() -> None:
    """Equal samples do not differ, those that lie apart do, and one value far out changes nothing."""
    order = random.Random(7)
    one = [order.gauss(10, 1) for _ in range(200)]
    same = [order.gauss(10, 1) for _ in range(200)]
    assert ranks_differ(one, same) > 0.01
    assert ranks_differ([*one, 1e9], [*same, 10.0]) > 0.01
    assert ranks_differ(one, [value + 1 for value in same]) < 1e-9

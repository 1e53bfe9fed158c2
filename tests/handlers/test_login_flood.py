"""A flood of log-ins over HTTP: it is bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from passlib.hash import sha512_crypt

from mailusers_plugin.models import ADMIN
from tests.support import BOSS, PASSWORD, UNTHROTTLED, USER, Answer, Box, Boxes

USERS = "/admin/mail/users"
QUEUE = 8
GUESSES = 200


@pytest.fixture
def small(io_loop: object, boxes: Boxes) -> Box:
    """A box with two administrators, that hashes one password at a time and lets few wait."""

    async def make() -> Box:
        # What bounds the queue is asked here, not what refuses one caller after some guesses.
        box = await boxes.open(hash_threads=1, hash_queue=QUEUE, **UNTHROTTLED)
        # Rounds of another program's, so that a hash takes longer than a request, however slow the machine is.
        stored = sha512_crypt.using(rounds=100_000).hash(PASSWORD)
        for email in (BOSS, USER):
            await box.add(email, (ADMIN,))
            box.sql("UPDATE users SET password = ? WHERE email = ?", "{SHA512-CRYPT}" + stored, email)
        return box

    made: Box = io_loop.run_sync(make)  # type: ignore[attr-defined]
    return made


async def flood(box: Box, path: str = "/admin/login") -> list[Answer]:
    """Guess passwords of known and unknown addresses, all at the same moment."""
    guesses = [
        box.basic((BOSS, USER, "nobody@example.com")[number % 3], f"a wrong password {number}").fetch(
            "POST" if path == "/admin/login" else "GET", path
        )
        for number in range(GUESSES)
    ]
    return await asyncio.gather(*guesses)


@pytest.mark.parametrize("path", ["/admin/login", USERS])
async def test_the_queue_is_bounded(small: Box, path: str) -> None:
    """Past the bound an attempt is answered at once with 503 and when to come back, and costs no hash."""
    answers = await flood(small, path)
    statuses = Counter(answer.status for answer in answers)
    refused = 200 if path == "/admin/login" else 401
    assert set(statuses) == {refused, 503}
    assert statuses[refused] >= QUEUE
    for answer in answers:
        if answer.status == 503:
            assert answer.headers["Retry-After"] == "2"
            assert "Too many passwords" in answer.text
        else:
            assert "Incorrect email address or password." in answer.text
    # Afterwards there is room again.
    assert (await small.basic(USER).get(USERS)).status == 200


async def test_nobody_else_notices(small: Box) -> None:
    """Meanwhile a remembered password, a session, the token, and what an administrator changes go on."""
    remembered = small.basic(BOSS)
    assert (await remembered.get(USERS)).status == 200
    clients = [remembered, small.basic(USER, await small.session_key(USER)), small.api]
    clients.append(await small.browser(USER))
    flooding = asyncio.ensure_future(flood(small))
    turns = 0
    while not flooding.done():
        answers = await asyncio.gather(*(client.get(USERS) for client in clients))
        assert [answer.status for answer in answers] == [200] * len(clients)
        if turns < 5:
            form = {"email": f"new{turns}@example.com", "password": PASSWORD}
            added = await remembered.post(USERS + "/add", **form)
            assert (added.status, added.text) == (200, "mail user added\n")
        turns += 1
    statuses = Counter(answer.status for answer in await flooding)
    assert statuses[503] > 0
    assert turns > 1


async def test_refusals_are_held_back(boxes: Boxes) -> None:
    """What is not even tried is answered late, and checked after all where there is room by then."""
    pause = 0.4
    box = await boxes.open(hash_threads=1, hash_queue=1, refusal_seconds=pause, **UNTHROTTLED)
    await box.add(BOSS, (ADMIN,))
    stored = sha512_crypt.using(rounds=400_000).hash(PASSWORD)
    box.sql("UPDATE users SET password = ? WHERE email = ?", "{SHA512-CRYPT}" + stored, BOSS)

    async def guess(number: int) -> tuple[int, float]:
        begun = asyncio.get_running_loop().time()
        answer = await box.basic(BOSS, f"a wrong password {number}").get(USERS)
        return answer.status, asyncio.get_running_loop().time() - begun

    answers = await asyncio.gather(*(guess(number) for number in range(8)))
    refused = [seconds for status, seconds in answers if status == 503]
    assert refused
    assert min(refused) >= pause
    assert {status for status, _ in answers} == {401, 503}


async def test_who_guesses_is_answered_late(boxes: Boxes) -> None:
    """So is whoever has failed too often, while whoever was let in before goes on."""
    pause = 0.4
    box = await boxes.open(throttle_pair=1, refusal_seconds=pause)
    await box.add(BOSS, (ADMIN,))
    session = await box.session_key(BOSS)
    loop = asyncio.get_running_loop()
    assert (await box.basic(BOSS, "a wrong password").get(USERS)).status == 401
    begun = loop.time()
    late = asyncio.ensure_future(box.basic(BOSS, "another wrong password").get(USERS))
    assert (await box.basic(BOSS, session).get(USERS)).status == 200
    assert (await late).status == 429
    assert loop.time() - begun >= pause

"""``Idempotency-Key``: a request is carried out once, however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailusers_plugin import hookimpl
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.handlers.once import HEADER, MAX_KEY, REPLAYED, parse_key
from mailusers_plugin.idempotency import Idempotency, Wanted
from mailusers_plugin.models import ADMIN, Actor, AddRequest, Claim, Terms
from tests.support import BOSS, PASSWORD, USER, Answer, Box, Boxes, Client, stored_time

NEW = "new@example.com"
OTHER = "other@example.com"
API = "/admin/mail/users"
ROWS = "SELECT mark, salt, fingerprint, token, owner, status, headers, body FROM mailusers_idempotency"

CHANGES: dict[str, tuple[dict[str, str], str, str]] = {
    "add": ({"email": NEW, "password": PASSWORD}, "UserAdded", "mail user added\n"),
    "remove": ({"email": USER}, "UserArchived", "mail user removed\n"),
    "purge": ({"email": OTHER, "confirm": OTHER}, "UserPurged", "mail user purged\n"),
    "password": ({"email": USER, "password": PASSWORD + "!"}, "PasswordChanged", "OK"),
    "privileges/add": ({"email": USER, "privilege": ADMIN}, "PrivilegesChanged", "OK"),
    "privileges/remove": ({"email": USER, "privilege": "reader"}, "PrivilegesChanged", "OK"),
    "quota": ({"email": USER, "quota": "5G"}, "QuotaChanged", "OK"),
}
"""What each endpoint is sent, the event of the change, and the answer."""


def keyed(client: Client, key: str) -> Client:
    """Return a client that sends a key."""
    return client.sending(Idempotency_Key=key)


def is_repeat(answer: Answer) -> bool:
    """Whether an answer says that it was given before."""
    return answer.headers.get(REPLAYED) == "true"


async def count(box: Box, type_: str) -> int:
    """Return how many events of a type there were."""
    return sum(event["type"] == type_ for event in await box.events())


@pytest.mark.parametrize("path", CHANGES)
async def test_a_repeat_gets_the_first_answer(boxes: Boxes, path: str) -> None:
    """Of the same request with the same key, each change is made once, and answered alike each time."""
    box = await boxes.open(extra_privileges=("reader",))
    await box.add(USER, ("reader",))
    box.make_mailbox(OTHER, "a message")
    form, type_, text = CHANGES[path]
    before = await count(box, type_)
    client = keyed(box.api, "one-key")
    first = await client.post(f"{API}/{path}", **form)
    assert (first.status, first.text, is_repeat(first)) == (200, text, False)
    for _ in range(2):
        again = await client.post(f"{API}/{path}", **form)
        assert (again.status, again.text, again.type) == (200, text, first.type)
        assert is_repeat(again)
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert await count(box, type_) - before == 1


async def test_a_repeat_does_not_undo_what_came_after(box: Box, user: str) -> None:
    """A late repeat changes nothing: what others have done since stays."""
    client = keyed(box.api, "late")
    await client.post(f"{API}/quota", email=user, quota="1G")
    await box.api.post(f"{API}/quota", email=user, quota="2G")
    assert is_repeat(await client.post(f"{API}/quota", email=user, quota="1G"))
    assert (await box.service.account(user)).quota == "2G"


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("quota", {"email": USER, "quota": "2G"}),
        ("quota", {"email": BOSS, "quota": "1G"}),
        ("quota", {"email": USER, "quota": "1G", "more": "x"}),
        ("remove", {"email": USER, "quota": "1G"}),
    ],
    ids=["quota", "address", "another parameter", "path"],
)
async def test_another_request_with_the_same_key(
    box: Box, user: str, path: str, form: dict[str, str]
) -> None:
    """The same key with another request is refused with 422 and a clear text, and nothing is done."""
    client = keyed(box.api, "key")
    assert (await client.post(f"{API}/quota", email=user, quota="1G")).status == 200
    answer = await client.post(f"{API}/{path}", **form)
    assert answer.status == 422
    assert "with a new key" in answer.text
    assert not is_repeat(answer)
    assert (await box.service.account(user)).quota == "1G"
    assert set(await box.emails()) == {BOSS, user}
    assert is_repeat(await client.post(f"{API}/quota", email=user, quota="1G"))


async def test_another_password_with_the_same_key(box: Box, user: str) -> None:
    """Passwords are part of what must be the same."""
    client = keyed(box.api, "key")
    assert (await client.post(f"{API}/password", email=user, password="first password")).status == 200
    assert (await client.post(f"{API}/password", email=user, password="other password")).status == 422
    assert is_repeat(await client.post(f"{API}/password", email=user, password="first password"))
    assert (await box.basic(user, "first password").post("/admin/login")).json()["status"] == "ok"


async def test_other_condition_with_the_same_key(box: Box, user: str) -> None:
    """``If-Match`` is part of the request: with another version it is another one."""
    tag = (await box.api.get(f"{API}/quota", email=user)).headers["ETag"]
    client = keyed(box.api, "key")
    assert (await client.sending(If_Match=tag).post(f"{API}/quota", email=user, quota="1G")).status == 200
    assert is_repeat(await client.sending(If_Match=tag).post(f"{API}/quota", email=user, quota="1G"))
    assert (await client.post(f"{API}/quota", email=user, quota="1G")).status == 422


async def test_neither_password_nor_key_is_stored(box: Box, user: str) -> None:
    """What is stored of a request holds no password, no key, and no hash that could be made without knowing the key."""
    key, password = "8e03978e-40d5-43dd-bc93-6894a57f9324", "password to be found"
    for name, secret in (("first", key), ("second", f"{key}2")):
        answer = await keyed(box.api, secret).post(f"{API}/password", email=user, password=password)
        assert (name, answer.status) == (name, 200)
    rows = box.state_sql(ROWS)
    stored = repr(rows)
    guesses = [
        password,
        key,
        *(hashlib.new(h, t.encode()).hexdigest() for h in ("sha1", "sha256") for t in (password, key)),
    ]
    assert [guess for guess in guesses if guess in stored] == []
    fingerprints = {row[2] for row in rows}
    assert len(fingerprints) == 2


async def test_each_caller_has_keys_of_its_own(box: Box, admin: Client, user: str) -> None:
    """The same key of somebody else is another key."""
    assert (await keyed(box.api, "key").post(f"{API}/quota", email=user, quota="1G")).status == 200
    answer = await keyed(admin, "key").post(f"{API}/quota", email=user, quota="2G")
    assert (answer.status, is_repeat(answer)) == (200, False)
    assert (await box.service.account(user)).quota == "2G"


async def test_refused_input_is_remembered(box: Box, admin: Client) -> None:
    """An answer of 400 is the answer for a day, also where the same would be allowed by then."""
    client = keyed(admin, "key")
    answers = [await client.post(f"{API}/quota", email=NEW, quota="1G")]
    await box.add(NEW)
    answers.append(await client.post(f"{API}/quota", email=NEW, quota="1G"))
    assert [(a.status, a.text) for a in answers] == [(400, f"That's not a user ({NEW}).")] * 2
    assert [is_repeat(a) for a in answers] == [False, True]
    assert (await box.service.account(NEW)).quota == "0"


async def test_a_character_that_a_database_does_not_take(box: Box) -> None:
    """An answer is kept whatever a caller put into it."""
    client = keyed(box.api, "key")
    for repeated in (False, True):
        answer = await client.post(f"{API}/quota", email="a\0\N{GRINNING FACE}b@example.com", quota="1G")
        assert (answer.status, is_repeat(answer)) == (400, repeated)


@pytest.mark.sqlite_only(reason="locks SQLite's file")
async def test_unavailable_is_not_remembered(boxes: Boxes) -> None:
    """What may be better later is tried again: after 503 the same request with the same key is carried out."""
    box = await boxes.open(busy_timeout_seconds=0.1)
    await box.add(USER)
    client = keyed(box.api, "key")
    with closing(sqlite3.connect(box.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await client.post(f"{API}/quota", email=USER, quota="1G")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    answer = await client.post(f"{API}/quota", email=USER, quota="1G")
    assert (answer.status, is_repeat(answer)) == (200, False)
    assert is_repeat(await client.post(f"{API}/quota", email=USER, quota="1G"))
    assert await count(box, "QuotaChanged") == 1


async def test_who_is_not_let_in_learns_nothing(box: Box, user: str) -> None:
    """A caller without credentials is refused as ever, and no key is stored for it."""
    answer = await keyed(box.nobody, "key").post(f"{API}/quota", email=user, quota="1G")
    assert answer.status == 401
    assert box.state_sql(ROWS) == []


class Slow:
    """Looks at new users for as long as the test wants."""

    def __init__(self) -> None:
        """Begin with nobody asking."""
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    @hookimpl
    async def mailusers_validate_add(self, request: AddRequest) -> None:
        """Wait."""
        self.asked.set()
        await self.go_on.wait()


async def test_a_repeat_while_the_first_runs(box: Box) -> None:
    """A repeat that comes too soon is answered 409 with Retry-After, and the change is made once."""
    slow = Slow()
    box.handle.pm.register(slow)
    client = keyed(box.api, "key")
    form = {"email": NEW, "password": PASSWORD}
    first = asyncio.ensure_future(client.post(f"{API}/add", **form))
    await slow.asked.wait()
    soon = await client.post(f"{API}/add", **form)
    assert (soon.status, soon.headers["Retry-After"]) == (409, "1")
    assert "still running" in soon.text
    slow.go_on.set()
    assert (await first).status == 200
    assert is_repeat(await client.post(f"{API}/add", **form))
    assert await count(box, "UserAdded") == 1


async def test_many_at_once(box: Box, user: str) -> None:
    """Of ten equal requests at once one is carried out; the others get its answer, or are told to wait."""
    client = keyed(box.api, "key")
    answers = await asyncio.gather(
        *(client.post(f"{API}/password", email=user, password="a new password") for _ in range(10))
    )
    assert sum(a.status == 200 and not is_repeat(a) for a in answers) == 1
    assert {a.status for a in answers} <= {200, 409}
    assert await count(box, "PasswordChanged") == 1


async def test_made_by_an_attempt_that_was_not_answered(
    box: Box, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the change was made and the list could not be brought up to date (503), a repeat does not make it twice."""
    client = keyed(box.api, "key")
    refresh = box.runtime.directory.refresh

    async def away(_: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(box.runtime.directory, "refresh", away)
    assert (await client.post(f"{API}/password", email=user, password="a new password")).status == 503
    monkeypatch.setattr(box.runtime.directory, "refresh", refresh)
    again = await client.post(f"{API}/password", email=user, password="a new password")
    assert (again.status, again.text, is_repeat(again)) == (200, "OK", False)
    assert is_repeat(await client.post(f"{API}/password", email=user, password="a new password"))
    assert await count(box, "PasswordChanged") == 1


async def test_a_process_that_comes_back_too_late(box: Box, user: str) -> None:
    """Who was taken over while it stood still cannot make the change a second time."""
    runtime = box.runtime
    wanted = Wanted(("caller",), "key", ("POST", "/path"), {})
    slow = await runtime.idempotency.claim(wanted)
    assert isinstance(slow, Claim)
    box.state_sql("UPDATE mailusers_idempotency SET lease_until = ?", stored_time(datetime.now(UTC)))
    other = Idempotency(runtime.database, runtime.state, runtime.duties)
    quick = await other.claim(wanted)
    assert isinstance(quick, Claim)
    assert quick.resumed
    assert not await other.made(quick, user)
    await box.service.set_quota(Actor(None, "basic", terms=Terms(claim=quick)), user, "1G")
    with pytest.raises(UnavailableError):
        await box.service.set_quota(Actor(None, "basic", terms=Terms(claim=slow)), user, "2G")
    assert (await box.service.account(user)).quota == "1G"
    assert await count(box, "QuotaChanged") == 1
    other.stop()


async def test_a_key_is_good_for_a_day(box: Box, user: str) -> None:
    """After a day a key is new again, whether the record was deleted by then or not."""
    client = keyed(box.api, "key")
    for hours, repeated in ((23, True), (25, False)):
        await client.post(f"{API}/quota", email=user, quota="1G")
        old = stored_time(datetime.now(UTC) - timedelta(hours=hours))
        box.state_sql("UPDATE mailusers_idempotency SET created_at = ?", old)
        assert is_repeat(await client.post(f"{API}/quota", email=user, quota="1G")) == repeated


async def test_old_keys_are_deleted(box: Box, user: str) -> None:
    """Records of more than a day ago go; younger ones stay."""
    for key in ("old", "young"):
        await keyed(box.api, key).post(f"{API}/quota", email=user, quota="1G")
    (first, *_), (second, *_) = box.state_sql(ROWS)
    old = stored_time(datetime.now(UTC) - timedelta(hours=25))
    box.state_sql("UPDATE mailusers_idempotency SET created_at = ? WHERE mark = ?", old, first)
    await box.runtime.idempotency.expire()
    assert [row[0] for row in box.state_sql(ROWS)] == [second]


async def test_without_a_key_nothing_is_stored(box: Box, user: str) -> None:
    """Requests without the header cost no more than before: nothing is written for them."""
    for _ in range(2):
        answer = await box.api.post(f"{API}/quota", email=user, quota="1G")
        assert REPLAYED not in answer.headers
    assert box.state_sql(ROWS) == []


@pytest.mark.parametrize(
    "key", ["", " ", '""', '"a', "a b", "a, b", '"a" "b"', "\u00fc", "a" * (MAX_KEY + 1), '"a\\n"'], ids=ascii
)
async def test_a_key_that_is_none(box: Box, user: str, key: str) -> None:
    """A key that is no key is refused with what it must be, and nothing is done."""
    answer = await keyed(box.api, key).post(f"{API}/quota", email=user, quota="1G")
    assert answer.status == 400
    assert HEADER in answer.text
    assert (await box.service.account(user)).quota == "0"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "a key with \\"quotes\\" and a \\\\" ', 'a key with "quotes" and a \\'),
        ("k" * MAX_KEY, "k" * MAX_KEY),
    ],
)
def test_forms_of_a_key(header: str, key: str) -> None:
    """A key may stand in quotation marks, as the draft wants it, or without."""
    assert parse_key(header) == key


async def test_json_error_is_repeated_as_json(box: Box) -> None:
    """A repeat has the content type of the first answer."""
    client = keyed(box.api, "key").sending(Accept="application/json")
    answers: list[Any] = [await client.post(f"{API}/quota", email=NEW, quota="1G") for _ in range(2)]
    assert {a.type for a in answers} == {"application/json"}
    assert (
        answers[0].json() == answers[1].json() == {"status": "error", "reason": f"That's not a user ({NEW})."}
    )

"""The rules of the use cases, also when many change at once."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

import pytest

from mailusers_plugin import hookimpl
from mailusers_plugin.errors import (
    ConfigurationError,
    ForbiddenChangeError,
    InvalidInputError,
    MailUsersError,
    UnknownUserError,
    UserExistsError,
    VetoError,
)
from mailusers_plugin.models import ADMIN, Actor, AddRequest
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client

SECOND = "second@example.com"


async def test_add_tells_what_was_added(box: Box) -> None:
    """The event of an addition says who, what and whether the mailbox was there before."""
    change = await box.service.add(Actor(BOSS, "basic"), USER, PASSWORD, (ADMIN,), "5G")
    (event,) = await box.events()
    assert (event["event_id"],) == change.event_ids
    wanted = {
        "type": "UserAdded",
        "actor": BOSS,
        "via": "basic",
        "email": USER,
        "privileges": ["admin"],
        "quota": "5G",
        "quota_bytes": 5 * 2**30,
        "restored": False,
    }
    assert {name: event[name] for name in wanted} == wanted


async def test_every_change_has_its_event(box: Box, admin: Client, user: str) -> None:
    """Each use case writes one event with what was before and after, and never a secret."""
    box.make_mailbox(USER)
    await box.service.set_quota(CONSOLE, USER, "1G")
    await box.service.set_password(CONSOLE, USER, "another secret word")
    await box.service.add_privileges(CONSOLE, USER, ("admin",))
    await box.service.remove_privileges(CONSOLE, USER, ("admin",))
    await box.service.archive(CONSOLE, USER)
    await box.service.purge(CONSOLE, USER, USER)
    events = [event for event in await box.events() if event["email"] == USER]
    expected: list[tuple[str, dict[str, Any]]] = [
        ("UserAdded", {"restored": False}),
        (
            "QuotaChanged",
            {"old_quota": "0", "new_quota": "1G", "old_quota_bytes": 0, "new_quota_bytes": 2**30},
        ),
        ("PasswordChanged", {}),
        ("PrivilegesChanged", {"old_privileges": [], "new_privileges": ["admin"]}),
        ("PrivilegesChanged", {"old_privileges": ["admin"], "new_privileges": []}),
        ("UserArchived", {"quota": "1G", "privileges": [], "mailbox": str(box.maildir(USER))}),
        ("UserPurged", {"mailbox": str(box.maildir(USER))}),
    ]
    assert [event["type"] for event in events] == [name for name, _ in expected]
    for event, (_, values) in zip(events, expected, strict=True):
        assert {name: event[name] for name in values} == values
    everything = str(box.sql("SELECT * FROM mailusers_outbox")) + str(events)
    assert "secret" not in everything
    assert "$6$" not in everything


async def test_no_change_no_event(box: Box, admin: Client, user: str) -> None:
    """What is so already is not told again."""
    changes = [
        await box.service.set_quota(CONSOLE, USER, "0"),
        await box.service.add_privileges(CONSOLE, BOSS, ("admin",)),
        await box.service.remove_privileges(CONSOLE, USER, ("admin",)),
    ]
    assert [change.event_ids for change in changes] == [(), (), ()]


async def test_failed_change_has_no_event(box: Box, admin: Client, user: str) -> None:
    """What is refused inside the transaction leaves neither a change nor an event."""
    before = await box.events()
    for attempt in (
        box.service.add(CONSOLE, USER, PASSWORD),
        box.service.archive(CONSOLE, BOSS),
        box.service.remove_privileges(CONSOLE, BOSS, (ADMIN,)),
        box.service.set_quota(CONSOLE, "nobody@example.com", "1G"),
    ):
        with pytest.raises(MailUsersError):
            await attempt
    assert await box.events() == before


async def test_not_yourself(box: Box, admin: Client) -> None:
    """An administrator can neither archive nor demote himself, though there are others."""
    await box.add(SECOND, (ADMIN,))
    me = Actor(BOSS, "cookie")
    with pytest.raises(ForbiddenChangeError, match=r"^You cannot archive your own account\.$"):
        await box.service.archive(me, BOSS)
    with pytest.raises(
        ForbiddenChangeError, match=r"^You cannot remove the admin privilege from yourself\.$"
    ):
        await box.service.remove_privileges(me, BOSS, (ADMIN,))


async def test_last_administrator(box: Box, admin: Client, user: str) -> None:
    """The last administrator stays one, whoever asks."""
    for attempt in (
        box.service.archive(CONSOLE, BOSS),
        box.service.remove_privileges(CONSOLE, BOSS, (ADMIN,)),
    ):
        with pytest.raises(ForbiddenChangeError, match=r"^That is the last administrator\.$"):
            await attempt
    await box.service.archive(CONSOLE, USER)


@pytest.mark.parametrize("demote", [False, True])
async def test_two_administrators_remove_each_other(boxes: Boxes, demote: bool) -> None:
    """When the last two administrators remove each other at once, exactly one succeeds."""
    box = await boxes.open()
    # A second server on the same box, so that no lock of one process helps.
    other = await boxes.open(box.storage)
    await box.add(BOSS, (ADMIN,))
    for _ in range(10):
        await box.add(SECOND, (ADMIN,))
        attempts = [
            service.remove_privileges(Actor(actor, "basic"), target, (ADMIN,))
            if demote
            else service.archive(Actor(actor, "basic"), target)
            for service, actor, target in ((box.service, BOSS, SECOND), (other.service, SECOND, BOSS))
        ]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [str(error) for error in refused] == ["That is the last administrator."]
        assert box.sql("SELECT COUNT(*) FROM users WHERE privileges = 'admin'") == [(1,)]
        # Back to the beginning.
        box.sql("DELETE FROM users WHERE email = ?", SECOND)
        if await box.find(BOSS) is None:
            box.sql("INSERT INTO users (email, password) VALUES (?, 'x')", BOSS)
        box.sql("UPDATE users SET privileges = 'admin' WHERE email = ?", BOSS)


async def test_same_address_at_once(boxes: Boxes) -> None:
    """Of many additions of one address at once, through two servers, one succeeds and the others are told."""
    box = await boxes.open()
    other = await boxes.open(box.storage)
    attempts = [(box, other)[number % 2].add(USER, quota=str(number)) for number in range(12)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 11
    assert {type(error) for error in refused} == {UserExistsError}
    assert box.sql("SELECT COUNT(*) FROM users") == [(1,)]
    assert [event["type"] for event in await box.events()] == ["UserAdded"]


async def test_no_update_is_lost(box: Box, admin: Client, user: str) -> None:
    """Many changes of one account at once all take effect, each in a transaction of its own."""
    await asyncio.gather(*(box.service.set_quota(CONSOLE, USER, str(n)) for n in range(1, 31)))
    changes = [event for event in await box.events() if event["type"] == "QuotaChanged"]
    assert len(changes) == 30
    by_old = {event["old_quota"]: event["new_quota"] for event in changes}
    quota = "0"
    for _ in range(30):
        quota = by_old.pop(quota)
    assert box.sql("SELECT quota FROM users WHERE email = ?", USER) == [(quota,)]


@pytest.mark.parametrize("via", ["archived by us", "mailbox of an older time", "never had a mailbox"])
async def test_restore(box: Box, admin: Client, via: str) -> None:
    """Adding an archived address gives the new account the old mailbox, and the event says so."""
    if via == "mailbox of an older time":
        box.make_mailbox(USER, "a letter")
    else:
        await box.add(USER, (ADMIN,), quota="1G")
        if via == "archived by us":
            box.make_mailbox(USER, "a letter")
        await box.service.archive(CONSOLE, USER)
    await box.add(USER)
    event = [event for event in await box.events() if event["email"] == USER][-1]
    assert (event["type"], event["restored"]) == ("UserAdded", True)
    account = await box.find(USER)
    assert account is not None
    assert (account.privileges, account.quota) == ((), "0")
    if via != "never had a mailbox":
        assert (box.maildir(USER) / "cur" / "0.message").read_text() == "a letter"
    assert box.sql("SELECT * FROM mailusers_archive") == []


async def test_unknown_user(box: Box) -> None:
    """Every change of somebody who is not there names him."""
    nobody = "nobody@example.com"
    for attempt in (
        box.service.archive(CONSOLE, nobody),
        box.service.set_password(CONSOLE, nobody, PASSWORD),
        box.service.set_quota(CONSOLE, nobody, "1G"),
        box.service.add_privileges(CONSOLE, nobody, ("admin",)),
        box.service.remove_privileges(CONSOLE, nobody, ("admin",)),
        box.service.account(nobody),
    ):
        with pytest.raises(UnknownUserError, match=r"^That's not a user \(nobody@example.com\)\.$"):
            await attempt


async def test_first_administrator_only_once(box: Box) -> None:
    """Of two set-ups at once one makes the first administrator, and the other is refused."""
    attempts = [
        box.service.add(Actor(None, "setup"), email, PASSWORD, (ADMIN,), first_administrator=True)
        for email in (BOSS, SECOND)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert isinstance(refused, ForbiddenChangeError)
    assert len(await box.emails()) == 1


async def test_first_control_address_only_once(box: Box) -> None:
    """Of two first accounts at once with addresses that prove control over a domain, one is refused."""
    attempts = [box.add(email) for email in ("admin@example.com", "abuse@example.com")]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert isinstance(refused, InvalidInputError)


@pytest.mark.parametrize("quota", ["lots", "1.5G", "-1"])
async def test_impossible_default_quota(boxes: Boxes, quota: str) -> None:
    """A default quota that is none is said at the start, as a wrong setting."""
    with pytest.raises(ConfigurationError, match=r"^default_quota '"):
        await boxes.open(default_quota=quota)


class Validator:
    """Refuses what it is told to, and remembers what it was asked."""

    def __init__(self, behaviour: Any = None) -> None:
        self.asked: list[AddRequest] = []
        self._behaviour = behaviour

    @hookimpl
    def mailusers_validate_add(self, request: AddRequest) -> None:
        """Do as told."""
        self.asked.append(request)
        if self._behaviour is not None:
            raise self._behaviour


class AsyncValidator:
    """The same as a coroutine."""

    def __init__(self, behaviour: Any = None) -> None:
        self._plain = Validator(behaviour)
        self.asked = self._plain.asked

    @hookimpl
    async def mailusers_validate_add(self, request: AddRequest) -> None:
        """Do as told."""
        self._plain.mailusers_validate_add(request)
        await asyncio.sleep(0)


class Hanging:
    """Never answers."""

    @hookimpl
    async def mailusers_validate_add(self) -> None:
        """Hang."""
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", [Validator, AsyncValidator])
async def test_veto(boxes: Boxes, kind: type[Validator | AsyncValidator]) -> None:
    """A module that refuses a new user is quoted, and nothing is written."""
    validator = kind(VetoError("Not on my watch."))
    box = await boxes.open(hooks=[validator])
    answer = await box.api.post("/admin/mail/users/add", email=USER, password=PASSWORD, quota="1g")
    assert (answer.status, answer.text) == (400, "Not on my watch.")
    assert await box.emails() == []
    assert validator.asked == [AddRequest(USER, (), "1G", Actor(None, "token"))]
    assert not any("password" in field.name for field in fields(AddRequest))


async def test_validator_that_agrees(boxes: Boxes) -> None:
    """Every module is asked, and where none refuses the user is added."""
    one, two = Validator(), AsyncValidator()
    box = await boxes.open(hooks=[one, two])
    await box.add(USER)
    assert (len(one.asked), len(two.asked)) == (1, 1)


async def test_validator_is_not_asked_in_vain(boxes: Boxes) -> None:
    """A module is asked about requests that are otherwise possible, and about no others."""
    validator = Validator()
    box = await boxes.open(hooks=[validator])
    await box.add(USER)
    for form in ({"email": USER}, {"email": "x@example.com", "password": "short"}, {"email": "bad"}):
        await box.api.post("/admin/mail/users/add", **{"password": PASSWORD, **form})
    assert [request.email for request in validator.asked] == [USER]


@pytest.mark.parametrize(
    "validator",
    [
        Validator(RuntimeError("the inside")),
        AsyncValidator(KeyError("the inside")),
        Validator(SystemExit(3)),
        AsyncValidator(SystemExit(3)),
        Validator(StopIteration()),
        Hanging(),
    ],
    ids=["raises", "raises, async", "exits", "exits, async", "StopIteration", "hangs"],
)
async def test_validator_that_fails(boxes: Boxes, validator: object) -> None:
    """A rule that could not be checked is not taken as kept, and the caller is not told of the inside."""
    box = await boxes.open(hooks=[validator], hook_timeout_seconds=0.2)
    with pytest.raises(VetoError, match="could not check the request") as raised:
        await box.add(USER)
    assert "inside" not in str(raised.value)
    assert await box.emails() == []

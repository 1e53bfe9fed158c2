"""``ETag`` and ``If-Match``: nobody overwrites what he has not seen."""

from __future__ import annotations

import asyncio
import re

import pytest

from mailusers_plugin import user_versions as versions
from mailusers_plugin.errors import ChangedError
from mailusers_plugin.models import ADMIN, Actor, Terms
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client

API = "/admin/mail/users"
TAG = re.compile(r'"[0-9a-f]{12}(-[0-9a-f]{12}){2}"')


async def tag_of(client: Client, email: str, what: str = "quota") -> str:
    """Return the tag of a user."""
    return (await client.get(f"{API}/{what}", email=email)).headers["ETag"]


async def test_every_way_to_see_a_user_has_its_tag(box: Box, admin: Client, user: str) -> None:
    """Quota, privileges, the list and a page of it give the same strong tag; each user has one of his own."""
    tag = await tag_of(admin, user)
    assert TAG.fullmatch(tag)
    assert await tag_of(admin, user, "privileges") == tag
    assert (await admin.get(f"{API}/quota", email=user, text="1")).headers["ETag"] == tag
    for more in ({}, {"limit": "10"}):
        (domain,) = (await admin.get(API, format="json", **more)).json()
        found = {each["email"]: each["etag"] for each in domain["users"]}
        assert found[user] == tag
        assert found[BOSS] == await tag_of(admin, BOSS) != tag


async def test_the_tag_of_an_archived_user(box: Box, admin: Client, user: str) -> None:
    """An archived user has a tag in the list, with which it can be purged; archived once more it is another one."""
    box.make_mailbox(user, "a message")
    tags = []
    for _ in range(2):
        await box.service.archive(CONSOLE, user)
        (domain,) = (await admin.get(API, format="json", status="inactive")).json()
        tags.append(domain["users"][0]["etag"])
        if len(tags) == 1:
            await box.add(user)
    old, new = tags
    assert old != new
    form = {"email": user, "confirm": user}
    assert (await admin.sending(If_Match=old).post(f"{API}/purge", **form)).status == 412
    assert box.maildir(user).exists()
    assert (await admin.sending(If_Match=new).post(f"{API}/purge", **form)).status == 200
    assert not box.maildir(user).exists()


async def test_the_tag_changes_with_the_user(boxes: Boxes) -> None:
    """Another quota or privilege makes another tag, and the old values the old one; a password is no part of it."""
    box = await boxes.open(extra_privileges=("reader",))
    await box.add(USER)
    first = await tag_of(box.api, USER)
    await box.service.set_quota(CONSOLE, USER, "1G")
    second = await tag_of(box.api, USER)
    await box.service.add_privileges(CONSOLE, USER, ["reader"])
    third = await tag_of(box.api, USER)
    assert len({first, second, third}) == 3
    await box.service.set_password(CONSOLE, USER, PASSWORD + "!")
    assert await tag_of(box.api, USER) == third
    await box.service.remove_privileges(CONSOLE, USER, ["reader"])
    await box.service.set_quota(CONSOLE, USER, "0")
    assert await tag_of(box.api, USER) == first


CHANGES = {
    "quota": {"quota": "5G"},
    "password": {"password": PASSWORD + "!"},
    "privileges/add": {"privilege": ADMIN},
    "privileges/remove": {"privilege": ADMIN},
    "remove": {},
}


@pytest.mark.parametrize("path", CHANGES)
async def test_a_change_of_what_was_seen(box: Box, admin: Client, user: str, path: str) -> None:
    """With the tag that the user has the change is made; with the one from before it is not, and nothing is changed."""
    await box.service.set_quota(CONSOLE, user, "1G")
    old = await tag_of(admin, user)
    await box.service.set_quota(CONSOLE, user, "2G")
    before = (await box.find(user), await box.events())
    refused = await admin.sending(If_Match=old).post(f"{API}/{path}", email=user, **CHANGES[path])
    assert refused.status == 412
    assert refused.text == (
        "Somebody has changed this user meanwhile: the quota is 2G now. Nothing was done: load the user again."
    )
    assert (await box.find(user), await box.events()) == before
    new = await tag_of(admin, user)
    several = f'"something", {old} , {new}'
    assert (
        await admin.sending(If_Match=several).post(f"{API}/{path}", email=user, **CHANGES[path])
    ).status == 200


async def test_what_has_changed_is_said(boxes: Boxes) -> None:
    """The refusal says which of the values are other ones, and what they are now."""
    box = await boxes.open(extra_privileges=("reader",))
    await box.add(USER)
    seen = box.api.sending(If_Match=await tag_of(box.api, USER))
    await box.service.add_privileges(CONSOLE, USER, ["reader"])
    assert "the privileges are reader now" in (await seen.post(f"{API}/quota", email=USER, quota="1G")).text
    await box.service.set_quota(CONSOLE, USER, "3G")
    text = (await seen.post(f"{API}/quota", email=USER, quota="1G")).text
    assert "the quota is 3G and the privileges are reader now" in text
    seen = box.api.sending(If_Match=await tag_of(box.api, USER))
    await box.service.set_quota(CONSOLE, USER, "0")
    await box.service.remove_privileges(CONSOLE, USER, ["reader"])
    assert (
        "the quota is 0 and the privileges are - now" in (await seen.post(f"{API}/remove", email=USER)).text
    )
    seen = box.api.sending(If_Match=await tag_of(box.api, USER))
    await box.service.archive(CONSOLE, USER)
    answer = await seen.sending(Accept="application/json").post(f"{API}/quota", email=USER, quota="1G")
    assert answer.status == 412
    assert answer.json()["reason"].startswith("Somebody has archived this user meanwhile")


async def test_any_version(box: Box, admin: Client, user: str) -> None:
    """``If-Match: *`` asks for nothing but that there is such a user."""
    client = admin.sending(If_Match="*")
    assert (await client.post(f"{API}/quota", email=user, quota="1G")).status == 200
    assert (await client.post(f"{API}/quota", email="nobody@example.com", quota="1G")).status == 412
    assert (await client.post(f"{API}/add", email="nobody@example.com", password=PASSWORD)).status == 412
    assert set(await box.emails()) == {BOSS, user}


async def test_a_weak_tag_matches_nothing(box: Box, admin: Client, user: str) -> None:
    """``If-Match`` compares strongly (RFC 9110, section 13.1.1): a tag that a proxy has made weak is none."""
    weak = f"W/{await tag_of(admin, user)}"
    answer = await admin.sending(If_Match=weak).post(f"{API}/quota", email=user, quota="1G")
    assert answer.status == 412
    assert answer.text.startswith("The user is at none of the versions that were sent")


@pytest.mark.parametrize("header", ["", "abc", '"a" "b"', '"a', "*, *", 'w/"a"', '"a",,"b"'])
async def test_no_tag_at_all(box: Box, admin: Client, user: str, header: str) -> None:
    """What is not a list of tags is refused with what it must be, and not taken for no condition."""
    answer = await admin.sending(If_Match=header).post(f"{API}/quota", email=user, quota="1G")
    assert answer.status == 400
    assert "If-Match must be" in answer.text
    assert (await box.service.account(user)).quota == "0"


async def test_two_writers_at_once(box: Box, admin: Client, user: str) -> None:
    """Of twenty who change what they have all seen, one does; the others are told what it is now."""
    tag = await tag_of(admin, user)
    answers = await asyncio.gather(
        *(
            box.api.sending(If_Match=tag).post(f"{API}/quota", email=user, quota=f"{number}G")
            for number in range(1, 21)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + 19 * [412]
    quota = (await box.service.account(user)).quota
    assert all(f"the quota is {quota} now" in answer.text for answer in answers if answer.status == 412)


async def test_two_who_set_a_password_at_once(box: Box, user: str) -> None:
    """A version with the password in it, as the page has it, is another one as soon as somebody has set one."""
    account = await box.service.account(user)
    seen = Terms(versions=(versions.of_account(account, with_password=True),))
    results = await asyncio.gather(
        *(
            box.service.set_password(Actor("a", "cli", terms=seen), user, f"a new password {number}")
            for number in range(5)
        ),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, ChangedError)]
    assert len(refused) == 4
    assert {error.what for error in refused} == {frozenset((versions.PASSWORD,))}


async def test_administrators_change_each_other_at_once(box: Box, admin: Client) -> None:
    """Conditions on administrators, whose rows are locked in one order, keep nobody waiting for ever."""
    emails = [f"admin{number}@example.com" for number in range(4)]
    for email in emails:
        await box.add(email, (ADMIN,))
    tags = {email: await tag_of(admin, email) for email in emails}
    answers = await asyncio.gather(
        *(
            box.api.sending(If_Match=tags[email]).post(f"{API}/privileges/remove", email=email)
            for email in emails
            for _ in range(2)
        )
    )
    assert sorted(answer.status for answer in answers) == 4 * [200] + 4 * [412]

"""Forms of a user who has changed since they were opened, and forms that are sent twice."""

from __future__ import annotations

import asyncio
import html
import re
from urllib.parse import urlencode

import pytest

from mailusers_plugin import hookimpl
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN, AddRequest
from tests.handlers.browsing import as_browser, as_script, field, follow, told, value, words
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Answer, Box, Client

NEW = "new@example.com"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(params=["page", "script"])
def asking(request: pytest.FixtureRequest, browser: Client) -> Client:
    """A browser, without scripts and with them."""
    return as_browser(browser) if request.param == "page" else as_script(browser)


def hidden(answer: Answer) -> dict[str, str]:
    """Return what a form sends of itself."""
    found = re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', answer.text)
    return {name: html.unescape(text) for name, text in found if name != "_xsrf"}


async def count(box: Box, type_: str) -> int:
    """Return how many events of a type there were."""
    return sum(event["type"] == type_ for event in await box.events())


async def test_another_quota_meanwhile(box: Box, asking: Client) -> None:
    """Nothing is done; the form says what the quota is now, keeps what was typed, and can be sent once more."""
    form = hidden(await asking.get("/admin/users/quota", email=USER))
    await box.service.set_quota(CONSOLE, USER, "2G")
    form |= {"email": USER, "quota_number": "7", "quota_unit": "M"}
    refused = await asking.post("/admin/users/quota", **form)
    assert refused.status == 412
    assert "Somebody has set another quota for this user since you opened this form." in words(refused)
    assert "The quota is 2G now." in words(refused)
    assert value(refused, "quota_number") == "7"
    assert '<option value="M" selected>' in refused.text
    assert (await box.service.account(USER)).quota == "2G"
    done = await asking.post("/admin/users/quota", **{**form, **hidden(refused)})
    assert done.status in (200, 303)
    assert (await box.service.account(USER)).quota == "7M"


async def test_a_slip_does_not_hide_a_conflict(box: Box, asking: Client) -> None:
    """Where a form comes back because of a slip, it still stands for what it showed when it was opened."""
    form = hidden(await asking.get("/admin/users/quota", email=USER)) | {"email": USER, "quota_unit": "G"}
    slip = await asking.post("/admin/users/quota", **form, quota_number="x")
    assert slip.status == 400
    await box.service.set_quota(CONSOLE, USER, "2G")
    slip = await asking.post("/admin/users/quota", **{**form, **hidden(slip)}, quota_number="y")
    refused = await asking.post("/admin/users/quota", **{**form, **hidden(slip)}, quota_number="7")
    assert (slip.status, refused.status) == (400, 412)


async def test_another_password_meanwhile(box: Box, asking: Client) -> None:
    """Of two administrators who set a password the second one is told; a new quota does not concern them."""
    form = hidden(await asking.get("/admin/users/password", email=USER)) | {"email": USER}
    await box.service.set_password(CONSOLE, USER, "set by the other")
    refused = await asking.post("/admin/users/password", **form, password="set by me, I think")
    assert refused.status == 412
    assert "Somebody has set another password for this user" in words(refused)
    assert "set by me" not in refused.text
    form |= hidden(refused)
    done = await asking.post("/admin/users/password", **form, password="set by me, I think")
    assert done.status in (200, 303)
    form = hidden(await asking.get("/admin/users/quota", email=USER)) | {"email": USER, "quota": "1G"}
    await box.service.set_password(CONSOLE, USER, "set by the other")
    assert (await asking.post("/admin/users/quota", **form)).status in (200, 303)


@pytest.mark.parametrize("path", ["make-admin", "archive"])
async def test_privileges_meanwhile(box: Box, asking: Client, path: str) -> None:
    """Who is about to do something to a normal user is told that it is an administrator by now."""
    form = hidden(await asking.get(f"/admin/users/{path}", email=USER))
    await box.service.add_privileges(CONSOLE, USER, [ADMIN])
    refused = await asking.post(f"/admin/users/{path}", **form)
    assert refused.status == 412
    assert "the user is an administrator now" in words(refused)
    assert await box.find(USER) is not None
    assert (await asking.post(f"/admin/users/{path}", **{**form, **hidden(refused)})).status in (200, 303)


@pytest.mark.parametrize("path", ["quota", "password", "make-admin", "archive"])
async def test_archived_meanwhile(box: Box, asking: Client, path: str) -> None:
    """Where there is nothing left to send the form for, that is said, and the list is to be loaded again."""
    form = hidden(await asking.get(f"/admin/users/{path}", email=USER)) | {"email": USER}
    await box.service.archive(CONSOLE, USER)
    refused = await asking.post(f"/admin/users/{path}", **form, quota="1G", password=PASSWORD)
    assert refused.status == 412
    assert "Somebody has archived this user meanwhile" in words(refused)
    if "HX-Retarget" in refused.headers:
        assert told(refused) == {"mailusers:refresh": {}}


@pytest.mark.parametrize("path", ["purge", "restore", "undo"])
async def test_an_archived_user_comes_and_goes(box: Box, asking: Client, path: str) -> None:
    """A form of an archived user is no good for what was archived later."""
    box.make_mailbox(USER, "old mail")
    await box.service.archive(CONSOLE, USER)
    form = hidden(await asking.get(f"/admin/users/{path}", email=USER)) | {"email": USER}
    await box.add(USER)
    await box.service.archive(CONSOLE, USER)
    before = await box.events()
    refused = await asking.post(f"/admin/users/{path}", **form, confirm=USER, password=PASSWORD, quota="1G")
    assert refused.status == 412
    assert (await box.events(), box.maildir(USER).exists()) == (before, True)


async def test_several_users_of_whom_one_has_changed(box: Box, asking: Client) -> None:
    """What is done to several leaves those alone that are not as the preview showed them, and says which."""
    await box.add(NEW)
    await box.runtime.directory.catch_up(5)
    chosen = [("email", USER), ("email", NEW), ("quota", "5G")]
    preview = await asking.send("/admin/users/bulk/quota", urlencode(chosen), FORM)
    await box.service.set_quota(CONSOLE, USER, "1G")
    form = {**hidden(preview), "do": "yes"}
    found = re.search(r'name="versions" value="([^"]*)"', preview.text)
    assert found is not None
    result = await asking.post("/admin/users/bulk/quota", **form)
    assert "the quota is 1G now" in words(result)
    assert (await box.service.account(USER)).quota == "1G"
    assert (await box.service.account(NEW)).quota == "5G"


async def test_sent_twice(box: Box, asking: Client) -> None:
    """A form that is sent again, since its answer was lost, does nothing twice and is answered as the first time."""
    form = hidden(await asking.get("/admin/users/password", email=USER))
    form |= {"email": USER, "password": "another good one"}
    answers = [await asking.post("/admin/users/password", **form) for _ in range(3)]
    assert {answer.status for answer in answers} <= {200, 303}
    assert len({answer.status for answer in answers}) == 1
    last = answers[-1] if answers[-1].status == 200 else await follow(asking, answers[-1])
    assert f"The password of {USER} was set." in words(last)
    assert await count(box, "PasswordChanged") == 1


class Slow:
    """Looks at new users for a while."""

    @hookimpl
    async def mailusers_validate_add(self, request: AddRequest) -> None:
        """Take some time."""
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("at", ["/admin/users", "/admin/users/add"])
async def test_double_click(box: Box, browser: Client, at: str) -> None:
    """Of two clicks on the button the second one waits for the first, adds nobody, and says that the user was added."""
    client = as_browser(browser)
    box.handle.pm.register(Slow())
    form = {"sending": value(await client.get(at), "sending"), "email": NEW, "password": PASSWORD}
    form |= {"quota": "1G"}
    answers = await asyncio.gather(*(client.post("/admin/users/add", **form) for _ in range(2)))
    for answer in answers:
        assert f"{NEW} was added" in words(await follow(client, answer))
    assert await count(box, "UserAdded") == 3


async def test_back_and_something_else(box: Box, browser: Client) -> None:
    """Who goes back to a form that was sent and types something else has that done, not what was done before."""
    client = as_browser(browser)
    sending = value(await client.get("/admin/users/add"), "sending")
    for email in (NEW, "other@example.com"):
        form = {"sending": sending, "email": email, "password": PASSWORD, "quota": "1G"}
        assert (await client.post("/admin/users/add", **form)).status == 303
    assert set(await box.emails()) == {BOSS, USER, NEW, "other@example.com"}


async def test_after_a_slip_the_form_is_sent_anew(box: Box, browser: Client) -> None:
    """Each form that is shown has a number of its own, and one that was refused does not stand in the way."""
    client = as_browser(browser)
    first = await client.get("/admin/users/quota", email=USER)
    form = {"email": USER, "sending": value(first, "sending"), "quota_unit": "G"}
    slip = await client.post("/admin/users/quota", **form, quota_number="x")
    assert value(slip, "sending") not in ("", value(first, "sending"))
    assert (await client.post("/admin/users/quota", **form, quota_number="1")).status == 303
    assert 'name="sending"' in field(slip, "sending")


async def test_the_password_of_a_form_is_not_stored(box: Box, browser: Client) -> None:
    """Of a form that was sent neither the password nor its number is kept."""
    client = as_browser(browser)
    form = hidden(await client.get("/admin/users/password", email=USER))
    await client.post("/admin/users/password", **form, email=USER, password="password to be found")
    (row,) = box.state_sql("SELECT mark, salt, fingerprint, token, headers, body FROM mailusers_idempotency")
    assert "to be found" not in repr(row)
    assert form["sending"] not in repr(row)


async def test_made_by_an_attempt_that_was_not_answered(
    box: Box, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the change was made and the list could not be brought up to date, sending again does not make it twice."""
    client = as_browser(browser)
    form = hidden(await client.get("/admin/users/password", email=USER)) | {
        "email": USER,
        "password": "a good one",
    }
    refresh = box.runtime.directory.refresh

    async def away(_: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(box.runtime.directory, "refresh", away)
    assert (await client.post("/admin/users/password", **form)).status == 503
    monkeypatch.setattr(box.runtime.directory, "refresh", refresh)
    for _ in range(2):
        assert (await client.post("/admin/users/password", **form)).status == 303
    assert await count(box, "PasswordChanged") == 1

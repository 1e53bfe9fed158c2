"""What can be done to a user from the page: as a page without scripts, as a dialog with them."""

from __future__ import annotations

import re

import pytest

from mailusers_plugin import Identity
from mailusers_plugin.models import ADMIN
from tests.handlers.browsing import HOSTILE, as_browser, as_script, field, follow, told, value, words
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client

ACTIONS = [
    ("quota", {"quota_number": "7", "quota_unit": "G"}, f"The quota of {USER} is now 7G."),
    ("quota", {"quota": "7g"}, f"The quota of {USER} is now 7G."),
    ("quota", {"quota_unit": "unlimited"}, f"The quota of {USER} is now unlimited."),
    ("quota", {"quota_number": "2", "quota_unit": "T"}, f"The quota of {USER} is now 2048G."),
    ("password", {"password": "another good one"}, f"The password of {USER} was set."),
    ("make-admin", {}, f"{USER} is now an administrator."),
    ("archive", {}, f"{USER} was archived. The mailbox is kept."),
]
PATHS = ["quota", "password", "make-admin", "remove-admin", "archive", "restore", "undo", "purge"]


@pytest.mark.parametrize(("path", "form", "message"), ACTIONS)
async def test_actions(browser: Client, path: str, form: dict[str, str], message: str) -> None:
    """An action asks first, then does it, leads back to the page and says what was done."""
    await browser.post("/admin/users/quota", email=USER, quota="3M")
    asked = await browser.get(f"/admin/users/{path}", email=USER)
    assert asked.status == 200
    assert USER in words(asked)
    assert f'action="/admin/users/{path}"' in asked.text
    assert "<dialog" not in asked.text
    done = await follow(browser, await browser.post(f"/admin/users/{path}", email=USER, **form))
    assert message in words(done)


@pytest.mark.parametrize(("path", "form", "message"), ACTIONS)
async def test_dialogs(script: Client, path: str, form: dict[str, str], message: str) -> None:
    """A script gets the same form as a dialog, then the message and word of who changed."""
    await script.post("/admin/users/quota", email=USER, quota="3M")
    asked = await script.get(f"/admin/users/{path}", email=USER)
    assert asked.headers["HX-Retarget"] == "#mu-dialogs"
    assert asked.text.count("<dialog") == 1
    assert "<html" not in asked.text
    assert f'hx-post="/admin/users/{path}"' in asked.text
    assert 'hx-sync="this:drop"' in asked.text
    done = await script.post(f"/admin/users/{path}", email=USER, **form)
    assert done.status == 200
    assert message in words(done)
    assert "<dialog" not in done.text
    assert told(done) == {"mailusers:changed": {"email": USER}}


async def test_the_way_back(browser: Client) -> None:
    """A form leads back to the list as it was, and nowhere else."""
    back = "q=user&status=active&sort=-size"
    asked = await browser.get("/admin/users/quota", email=USER, back=back)
    assert value(asked, "back") == back
    answer = await browser.post("/admin/users/quota", email=USER, quota="1G", back=back)
    assert answer.headers["Location"].startswith(f"/admin/users?{back}&done=quota")
    for evil in ("//evil.example", "next=//evil.example&done=purged", "\r\nX: y", "%"):
        answer = await browser.post("/admin/users/quota", email=USER, quota="2G", back=evil)
        assert answer.headers["Location"] == "/admin/users?done=quota&email=user%40example.com"


async def test_removing_an_administrator(box: Box, browser: Client) -> None:
    """An administrator becomes a normal user."""
    await box.add("second@example.com", (ADMIN,))
    answer = await browser.post("/admin/users/remove-admin", email="second@example.com")
    assert "second@example.com is now a normal user." in words(await follow(browser, answer))


async def test_undo(box: Box, browser: Client) -> None:
    """After archiving the page offers to take it back; then the user has the old password again."""
    await box.service.set_quota(CONSOLE, USER, "3G")
    page = await follow(browser, await browser.post("/admin/users/archive", email=USER))
    form = re.search(r'<form class="mu-undo".*?</form>', page.text, re.DOTALL)
    assert form is not None
    assert f'name="email" value="{USER}"' in form[0]
    asked = await browser.get("/admin/users/undo", email=USER)
    assert re.search(r"This is possible until .* UTC", words(asked))
    page = await follow(browser, await browser.post("/admin/users/undo", email=USER))
    assert f"{USER} is active again, with the old password." in words(page)
    account = await box.find(USER)
    assert account is not None
    assert account.quota == "3G"
    assert (await box.runtime.passwords.verify(PASSWORD, account.password_hash)).matches


async def test_undo_beside_the_message(script: Client) -> None:
    """With scripts, too, the message has a button to take it back."""
    done = await script.post("/admin/users/archive", email=USER)
    assert 'hx-post="/admin/users/undo"' in done.text
    undone = await script.post("/admin/users/undo", email=USER)
    assert f"{USER} is active again, with the old password." in words(undone)
    again = await script.post("/admin/users/undo", email=USER)
    assert again.status == 400
    assert "That account is not archived." in words(again)


async def test_undo_too_late(box: Box, browser: Client) -> None:
    """When the time is over, both asking and doing say what to do instead."""
    await box.service.archive(CONSOLE, USER)
    box.sql("UPDATE mailusers_archive SET kept_until = '2020-01-01 00:00:00.000000'")
    await box.runtime.wipe_kept()
    for answer in (
        await browser.get("/admin/users/undo", email=USER),
        await browser.post("/admin/users/undo", email=USER),
    ):
        assert answer.status == 400
        assert "Restore the user with a new password instead." in words(answer)


async def test_without_undo(boxes: Boxes) -> None:
    """Where undo is switched off it is not offered."""
    box = await boxes.open(undo_minutes=0)
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    browser = as_browser(await box.browser(BOSS))
    page = await follow(browser, await browser.post("/admin/users/archive", email=USER))
    assert f"{USER} was archived." in words(page)
    assert "/users/undo" not in page.text


async def test_purging_wants_the_address(box: Box, browser: Client) -> None:
    """Only who types the address deletes the mailbox."""
    box.make_mailbox("gone@example.com", "a message")
    answer = await browser.post("/admin/users/purge", email="gone@example.com", confirm="other@example.com")
    assert answer.status == 400
    assert "Nothing was deleted." in words(answer)
    assert box.maildir("gone@example.com").exists()
    answer = await browser.post("/admin/users/purge", email="gone@example.com", confirm="gone@example.com")
    assert "gone@example.com was deleted for good." in words(await follow(browser, answer))
    assert not box.maildir("gone@example.com").exists()


@pytest.mark.parametrize(
    ("path", "form", "name"),
    [
        ("quota", {"quota": "1.5G"}, "quota"),
        ("quota", {"quota_number": "1.5", "quota_unit": "G"}, "quota"),
        ("quota", {"quota_number": "99999999999999999999", "quota_unit": "T"}, "quota"),
        ("quota", {"quota_number": "", "quota_unit": "M"}, "quota"),
        ("password", {"password": "short"}, "password"),
    ],
)
async def test_faults_stand_beside_their_field(
    browser: Client, path: str, form: dict[str, str], name: str
) -> None:
    """A wrong value asks again, with the message at the field and what was typed in it, but for passwords."""
    for client, at in ((browser, "mu-"), (as_script(browser), "mu-d-")):
        answer = await client.post(f"/admin/users/{path}", email=USER, **form)
        assert answer.status == 400
        assert f'id="{at}{name}-fault"' in answer.text
        shown = "quota_number" if name == "quota" else name
        tag = field(answer, shown)
        assert 'aria-invalid="true"' in tag
        assert f"{at}{name}-note" in tag
        typed = "1.5" if "1.5G" in form.values() else form.get("quota_number", "")
        assert value(answer, shown) == ("1.5G" if "quota" in form else typed)
        assert "short" not in answer.text


@pytest.mark.parametrize("path", ["archive", "remove-admin"])
async def test_nobody_locks_himself_out(box: Box, browser: Client, path: str) -> None:
    """Your own account and the last administrator's say why not, and there is no button; a form is refused."""
    asked = await browser.get(f"/admin/users/{path}", email=BOSS)
    assert "This is your own account." in words(asked)
    assert f'action="/admin/users/{path}"' not in asked.text
    by_key = as_browser(box.api)
    asked = await by_key.get(f"/admin/users/{path}", email=BOSS)
    assert "This is the last administrator." in words(asked)
    assert f'action="/admin/users/{path}"' not in asked.text
    for client in (browser, by_key):
        assert (await client.post(f"/admin/users/{path}", email=BOSS)).status == 400
    account = await box.find(BOSS)
    assert account is not None
    assert account.is_admin


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_users(browser: Client, path: str) -> None:
    """A form about nobody is an error with a way back, not a form; a script is told that its list is old."""
    email = f"{HOSTILE}@example.com"
    answer = await browser.get(f"/admin/users/{path}", email=email)
    assert answer.status == 400
    assert f'action="/admin/users/{path}"' not in answer.text
    assert 'href="/admin/users"' in answer.text
    assert HOSTILE not in answer.text
    for part in (
        await as_script(browser).get(f"/admin/users/{path}", email=email),
        await as_script(browser).post(f"/admin/users/{path}", email=email, password=PASSWORD, quota="1G"),
    ):
        assert part.status == 400
        assert HOSTILE not in part.text
        if "confirm" not in part.text:
            assert 'role="alertdialog"' in part.text
            assert told(part) == {"mailusers:refresh": {}}


async def test_somebody_else_was_quicker(box: Box, script: Client) -> None:
    """A dialog about a user who was archived meanwhile says so."""
    assert (await script.get("/admin/users/quota", email=USER)).status == 200
    await box.service.archive(CONSOLE, USER)
    answer = await script.post("/admin/users/quota", email=USER, quota="1G")
    assert answer.status == 400
    assert f"That's not a user ({USER})." in words(answer)
    assert told(answer) == {"mailusers:refresh": {}}


@pytest.mark.parametrize("path", ["add", "check", "bulk/archive", "bulk/quota", *PATHS])
async def test_every_form_needs_its_token(box: Box, admin: Client, user: str, path: str) -> None:
    """A form that another site sends with the browser's cookie does nothing, whoever it claims to come from."""
    for client in (await box.browser(BOSS, xsrf=None), as_script(await box.browser(BOSS, xsrf=None))):
        answer = await as_browser(client).post(
            f"/admin/users/{path}", email=USER, password=PASSWORD, quota="1G", confirm=USER, do="yes"
        )
        assert answer.status == 403
        assert (await box.find(USER)) is not None


class Reader:
    """A host whose only user may look."""

    login_url = "/host/login"

    def identify(self, handler: object) -> Identity:
        """Know everybody."""
        return Identity("reader", "cookie")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow looking."""
        return permission == "users:read"


@pytest.mark.parametrize("path", ["add", "bulk/archive", "bulk/quota", *PATHS])
async def test_a_reader_may_do_nothing(boxes: Boxes, path: str) -> None:
    """Who may only look gets no form; a script gets words and no log-in, for the reader is logged in."""
    box = await boxes.open(host=Reader())
    await box.add(USER)
    assert (await as_browser(box.nobody).get(f"/admin/users/{path}", email=USER)).status == 403
    part = await as_script(box.nobody).get(f"/admin/users/{path}", email=USER)
    assert part.status == 403
    assert "WWW-Authenticate" not in part.headers
    assert "You are not an administrator." in words(part)

"""Adding and restoring from the page: every fault at once, consent for an old mailbox, mail program settings."""

from __future__ import annotations

import html
import re

import pytest

from mailusers_plugin.handlers.fields import ALPHABET, split_quota, suggest_password
from mailusers_plugin.models import ADMIN
from tests.handlers.browsing import as_browser, as_script, field, follow, told, value, words
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client

NEW = "new@example.com"
GONE = "gone@example.com"
ON_PAGE = "div#mu-add-body"


async def test_adding(box: Box, browser: Client) -> None:
    """The form adds a user with what was chosen and says so on the page."""
    answer = await browser.post(
        "/admin/users/add", email=f" {NEW} ", password=PASSWORD, privilege="admin", quota="5g"
    )
    page = await follow(browser, answer)
    assert f"{NEW} was added." in words(page)
    account = await box.find(NEW)
    assert account is not None
    assert (account.privileges, account.quota) == ((ADMIN,), "5G")


@pytest.mark.parametrize(
    ("form", "quota"),
    [
        ({"quota_number": "5", "quota_unit": "G"}, "5G"),
        ({"quota_number": "2", "quota_unit": "T"}, "2048G"),
        ({"quota_number": "1000", "quota_unit": "B"}, "1000"),
        ({"quota_number": "5", "quota_unit": "unlimited"}, "0"),
        ({"quota_number": "", "quota_unit": "G"}, "3G"),
        ({"quota": "700m"}, "700M"),
        ({"quota": ""}, "3G"),
        ({}, "3G"),
    ],
)
async def test_quotas(boxes: Boxes, form: dict[str, str], quota: str) -> None:
    """Number and unit make a quota, so does the one old field, and nothing means the default."""
    box = await boxes.open(default_quota="3G")
    await box.add(BOSS, (ADMIN,))
    browser = as_browser(await box.browser(BOSS))
    answer = await browser.post("/admin/users/add", email=NEW, password=PASSWORD, **form)
    assert answer.status == 303, words(answer)
    account = await box.find(NEW)
    assert account is not None
    assert account.quota == quota


@pytest.mark.parametrize(
    ("stored", "number", "unit"),
    [
        ("0", "", "unlimited"),
        ("0G", "", "unlimited"),
        ("500M", "500", "M"),
        ("1024M", "1", "G"),
        ("5G", "5", "G"),
        ("2048G", "2", "T"),
        ("1048576", "1", "M"),
        ("1000", "1000", "B"),
        ("", "", "G"),
        ("lots", "lots", "B"),
    ],
)
def test_stored_quotas_in_two_fields(stored: str, number: str, unit: str) -> None:
    """A stored quota is shown in the largest unit that leaves a whole number; what is none is shown as it is."""
    found = split_quota(stored)
    assert (found.number, found.unit) == (number, unit)


async def test_everything_that_is_wrong(box: Box, browser: Client) -> None:
    """Each message stands beside its field; what was typed stays, but for the password."""
    for client, at in ((browser, "mu-"), (as_script(browser), "mu-d-"), (as_script(browser, ON_PAGE), "mu-")):
        answer = await client.post(
            "/admin/users/add",
            email="Ä@example.com",
            password="2short",
            privilege="admin",
            quota_number="5 5",
            quota_unit="G",
        )
        assert answer.status == 400
        for name, message in (
            ("email", "Invalid email address."),
            ("password", "Passwords must be at least eight characters."),
            ("quota", "Quotas cannot contain spaces, commas, or decimal points."),
        ):
            fault = re.search(rf'id="{at}{name}-fault">(.*?)</p>', answer.text)
            assert fault is not None, name
            assert message in html.unescape(fault[1])
        assert value(answer, "email") == "Ä@example.com"
        assert value(answer, "quota_number") == "5 5"
        assert '<option value="G" selected>' in answer.text
        assert '<option value="admin" selected>' in answer.text
        assert "2short" not in answer.text
    assert await box.emails() == [BOSS, USER]


@pytest.mark.parametrize("email", [USER, "postmaster@example.com"])
async def test_what_only_the_box_can_refuse(browser: Client, email: str) -> None:
    """A taken or reserved address is refused beside the address."""
    answer = await browser.post("/admin/users/add", email=email, password=PASSWORD)
    assert answer.status == 400
    assert 'id="mu-email-fault"' in answer.text


async def archived(box: Box) -> None:
    """Archive a user whose mailbox holds 2 MB."""
    await box.add(GONE, quota="3G")
    await box.service.archive(CONSOLE, GONE)
    box.make_mailbox(GONE)
    (box.maildir(GONE) / "maildirsize").write_text("3221225472S\n2097152 3\n")
    box.runtime.refresh_usage()


async def test_an_old_mailbox_needs_consent(box: Box, browser: Client) -> None:
    """An archived address is refused until somebody agrees; the question names size and time."""
    await archived(box)
    asked = await browser.post("/admin/users/add", email=GONE, password=PASSWORD)
    assert asked.status == 400
    assert re.search(
        r"This address was archived on .* UTC\. Its old mailbox holds 2\.0M\. .* Give the new user this old mailbox",
        words(asked),
    )
    assert value(asked, "restore") == GONE
    assert " checked" not in field(asked, "restore")
    assert 'id="mu-restore-fault"' in asked.text
    assert await box.find(GONE) is None
    agreed = await browser.post("/admin/users/add", email=GONE, password=PASSWORD, restore=GONE)
    assert f"{GONE} was restored, with its old mailbox." in words(await follow(browser, agreed))
    assert (await box.events())[-1]["restored"] is True


async def test_consent_is_for_one_address(box: Box, browser: Client) -> None:
    """Who agreed and then typed another address is asked anew; a plain yes from other clients counts."""
    await archived(box)
    other = await browser.post("/admin/users/add", email=GONE, password=PASSWORD, restore="x@example.com")
    assert other.status == 400
    assert await box.find(GONE) is None
    assert (
        await browser.post("/admin/users/add", email=GONE, password=PASSWORD, restore="yes")
    ).status == 303


async def test_consent_stays_checked(box: Box, browser: Client) -> None:
    """Another fault does not take the consent back."""
    await archived(box)
    answer = await browser.post("/admin/users/add", email=GONE, password="short", restore=GONE)
    assert " checked" in field(answer, "restore")


async def test_an_old_mailbox_that_is_half_gone(box: Box, browser: Client) -> None:
    """Where a purge was interrupted there is nothing to agree to; the form says what to do."""
    await archived(box)
    box.sql("UPDATE mailusers_archive SET purge_name = '.mailusers-purge-1'")
    answer = await browser.post("/admin/users/add", email=GONE, password=PASSWORD, restore=GONE)
    assert answer.status == 400
    assert "Delete it again to finish, then add the user." in words(answer)
    assert 'name="restore"' not in answer.text


async def test_restoring(box: Box, browser: Client) -> None:
    """Restoring suggests the old quota and needs a password; it is its own consent."""
    await archived(box)
    asked = await browser.get("/admin/users/restore", email=GONE)
    assert value(asked, "quota_number") == "3"
    refused = await browser.post("/admin/users/restore", email=GONE, password="", quota="4G")
    assert refused.status == 400
    assert "No password provided." in words(refused)
    assert value(refused, "quota_number") == "4"
    answer = await browser.post("/admin/users/restore", email=GONE, password=PASSWORD, quota="4G")
    assert f"{GONE} was restored, with its old mailbox." in words(await follow(browser, answer))


async def test_restoring_needs_something_archived(box: Box, browser: Client) -> None:
    """The restore form adds nobody who was not archived."""
    answer = await browser.post("/admin/users/restore", email="never@example.com", password=PASSWORD)
    assert answer.status == 400
    assert "That account is not archived." in words(answer)
    assert await box.find("never@example.com") is None


async def test_settings_for_the_mail_program(boxes: Boxes) -> None:
    """After adding, the page and the script's answer show what the new user needs, and no password."""
    box = await boxes.open(mail_host="mail.example.net", imap_port=1993, smtp_port=1465)
    await box.add(BOSS, (ADMIN,))
    browser = as_browser(await box.browser(BOSS))
    page = await follow(browser, await browser.post("/admin/users/add", email=NEW, password=PASSWORD))
    form = await as_script(browser, ON_PAGE).post(
        "/admin/users/add", email="b@example.com", password=PASSWORD
    )
    dialog = await as_script(browser).post("/admin/users/add", email="c@example.com", password=PASSWORD)
    for answer, email in ((page, NEW), (form, "b@example.com"), (dialog, "c@example.com")):
        text = words(answer)
        assert f"Mail program settings for {email}" in text
        for shown in ("mail.example.net", "1993", "1465", "SSL/TLS"):
            assert shown in text
        assert PASSWORD not in answer.text
    assert told(form) == {"mailusers:changed": {"email": "b@example.com"}}
    assert form.headers["HX-Retarget"] == "#mu-add-body"
    assert value(form, "email") == ""
    assert dialog.text.count("<dialog") == 1


async def test_own_name_where_none_is_set(box: Box, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting the machine's own name is shown."""
    monkeypatch.setattr("mailusers_plugin.handlers.mail_settings._own_name", lambda: "own.example.net")
    answer = await as_script(browser).post("/admin/users/add", email=NEW, password=PASSWORD)
    assert "own.example.net" in words(answer)


@pytest.mark.parametrize("path", ["add", "password"])
async def test_a_suggested_password(box: Box, browser: Client, path: str) -> None:
    """Without scripts the server suggests a password, shows it, keeps what was typed and does nothing yet."""
    seen = set()
    for _ in range(3):
        answer = await browser.post(
            f"/admin/users/{path}", email=USER if path == "password" else NEW, suggest="1", password="typed"
        )
        assert answer.status == 200
        assert 'type="text"' in field(answer, "password")
        seen.add(value(answer, "password"))
    assert len(seen) == 3
    assert await box.find(NEW) is None
    if path == "add":
        assert value(answer, "email") == NEW


def test_suggestions_are_strong_and_readable() -> None:
    """A suggestion has at least 20 characters that count, none that looks like another, and all of them come up."""
    suggestions = [suggest_password() for _ in range(300)]
    used = set("".join(suggestions)) - {"-"}
    assert all(len(text.replace("-", "")) >= 20 for text in suggestions)
    assert used == set(ALPHABET)
    assert not used & set("lI1oO0")

"""The page on which a second factor is set up, without scripts."""

from __future__ import annotations

import re

import pytest

from tests.factor_support import OTHER_SECRET, SECRET, WRONG, code, rows, set_up
from tests.handlers.browsing import HOSTILE, as_browser, follow, value, words
from tests.support import BOSS, PASSWORD, Answer, Box, Client

PAGE = "/admin/mailusers/second-factor"
USERS = "/admin/users"


async def enrol(browser: Client, page: Answer, **form: str) -> Answer:
    """Send the form with a code that fits."""
    secret = value(page, "secret")
    sent = {"secret": secret, "code": code(secret=secret), "label": "phone", "password": PASSWORD, **form}
    return await browser.post(PAGE, **sent)


def codes_of(answer: Answer) -> list[str]:
    """Return the recovery codes that a page shows."""
    return re.findall(r"\b[a-z2-9]{4}(?:-[a-z2-9]{4}){3}\b", answer.text)


async def test_set_up(box: Box, browser: Client) -> None:
    """The page offers a secret as picture and text; with its first code and the password it is set up."""
    page = await browser.get(PAGE)
    assert page.status == 200
    secret = value(page, "secret")
    assert " ".join(re.findall("....", secret)) in words(page)
    assert f"?secret={secret}&amp;issuer=" in page.text
    assert '<svg viewBox="' in page.text
    assert value(await browser.get(PAGE), "secret") != secret
    answer = await enrol(browser, page)
    assert answer.status == 200
    assert "The second factor is set up." in words(answer)
    codes = codes_of(answer)
    assert len(codes) == 10
    ((kind, stored, _, label),) = rows(box)
    assert (kind, stored, label) == ("totp", secret, "phone")
    assert secret not in answer.text
    again = await browser.get(PAGE)
    assert codes_of(again) == []
    assert "10 codes are left." in words(again)
    assert "phone" in words(again)
    assert secret not in again.text


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"code": WRONG}, "That code does not fit."),
        ({"code": ""}, "That code does not fit."),
        ({"password": "wrong"}, "That is not your password."),
        ({"password": ""}, "Enter your password."),
        ({"label": "x" * 101}, "A name has at most 100 characters"),
    ],
)
async def test_what_is_wrong(box: Box, browser: Client, form: dict[str, str], text: str) -> None:
    """It is said beside the field; the secret, which the app has already, and the name stay, the password does not."""
    page = await browser.get(PAGE)
    answer = await enrol(browser, page, **form)
    assert answer.status == 400
    assert text in words(answer)
    assert value(answer, "secret") == value(page, "secret")
    assert value(answer, "label") == form.get("label", "phone")
    assert PASSWORD not in answer.text
    assert re.findall(r'<input id="[^"]*" name="([^"]*)"[^>]*aria-invalid="true"', answer.text) == list(form)
    assert rows(box) == []


async def test_a_secret_that_was_not_offered(box: Box, browser: Client) -> None:
    """A form with a secret that no app understands is refused and gets another one."""
    answer = await browser.post(PAGE, secret="x", code="123456", label="", password=PASSWORD)
    assert answer.status == 400
    assert len(value(answer, "secret")) == 32
    assert rows(box) == []


async def test_remove(box: Box, browser: Client) -> None:
    """Removing asks for the password, names what is removed, and leaves this session."""
    first = set_up(box)
    set_up(box, secret=OTHER_SECRET, label="tablet")
    browser = as_browser(await box.browser(BOSS))
    answer = await browser.post(f"{PAGE}/remove", id=str(first), password="wrong")
    assert (answer.status, "That is not your password." in words(answer)) == (400, True)
    assert len(rows(box)) == 2
    answer = await browser.post(f"{PAGE}/remove", id=str(first), password=PASSWORD)
    shown = await follow(browser, answer)
    assert "The second factor was removed." in words(shown)
    assert [row[3] for row in rows(box)] == ["tablet"]
    for gone in (str(first), "x", "9" * 30, ""):
        assert (await browser.post(f"{PAGE}/remove", id=gone, password=PASSWORD)).status == 303
    assert len(rows(box)) == 1


async def test_new_recovery_codes(box: Box, browser: Client) -> None:
    """New codes want the password, and take the place of the old ones."""
    set_up(box)
    browser = as_browser(await box.browser(BOSS))
    assert "You have none" in words(await browser.get(PAGE))
    answer = await browser.post(f"{PAGE}/codes", password="wrong")
    assert (answer.status, codes_of(answer)) == (400, [])
    first = codes_of(await browser.post(f"{PAGE}/codes", password=PASSWORD))
    second = codes_of(await browser.post(f"{PAGE}/codes", password=PASSWORD))
    assert (len(first), len(second), set(first) & set(second)) == (10, 10, set())
    await box.runtime.second_factors.check(await box.service.account(BOSS), second[0])
    assert "9 codes are left." in words(await browser.get(PAGE))


async def test_labels_are_text(box: Box, browser: Client) -> None:
    """What another program stored as a name is shown as text."""
    set_up(box, label=HOSTILE)
    page = await as_browser(await box.browser(BOSS)).get(PAGE)
    assert HOSTILE not in page.text
    assert HOSTILE in words(page)


async def test_who_is_not_logged_in(box: Box, browser: Client) -> None:
    """A browser is led to the log-in and back."""
    answer = await as_browser(box.nobody).get(PAGE)
    assert (answer.status, answer.headers["Location"]) == (
        303,
        "/admin/mailusers/login?next=%2Fadmin%2Fmailusers%2Fsecond-factor",
    )


async def test_forms_need_our_token(box: Box, browser: Client) -> None:
    """Another site can neither set up nor remove anything, even if it knew the password."""
    number = set_up(box)
    key = await box.session_key(BOSS, "cookie")
    bare = as_browser(box.cookie(key, None))
    for path in ("", "/remove", "/codes"):
        answer = await bare.post(
            PAGE + path, id=str(number), password=PASSWORD, secret=OTHER_SECRET, code=code(0, OTHER_SECRET)
        )
        assert answer.status == 403
    assert len(rows(box)) == 1


async def test_link_on_the_users_page(box: Box, browser: Client) -> None:
    """The Users page leads there; the system API key, which is nobody, is not led there and has no such page."""
    assert f'href="{PAGE}"' in (await browser.get(USERS)).text
    key = as_browser(box.api)
    assert f'href="{PAGE}"' not in (await key.get(USERS)).text
    assert (await key.get(PAGE)).status == 400


async def test_used_secret(box: Box, browser: Client) -> None:
    """A secret that is in use is not taken a second time."""
    set_up(box)
    browser = as_browser(await box.browser(BOSS))
    answer = await browser.post(PAGE, secret=SECRET, code=code(), label="", password=PASSWORD)
    assert (answer.status, "in use already" in words(answer)) == (400, True)
    assert len(rows(box)) == 1

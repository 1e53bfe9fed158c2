"""The page in a browser of another language: in German, in French, and in one that is written from right to left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from mailusers_plugin import languages
from mailusers_plugin.models import ADMIN
from tests.handlers.test_untranslated import fill
from tests.pseudo import PSEUDO, write_pseudo_catalogue
from tests.servers.browser import chromium, open_page
from tests.support import BOSS, CONSOLE, PASSWORD, Box, Boxes

EMAIL = "neu@example.com"

pytestmark = pytest.mark.gen_test(timeout=180)


async def enter(page: Page, box: Box) -> None:
    """Log in in any language."""
    await page.goto(f"{box.base_url}/admin/mailusers/login")
    await page.locator("[name=email]").fill(BOSS)
    await page.locator("[name=password]").fill(PASSWORD)
    await page.locator("form.mu-form [type=submit]").click()
    await expect(page.locator("#mu-list")).to_be_visible()


async def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(
        await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


CUT_OFF = """() => [...document.querySelectorAll("#mu *")].filter((element) => {
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const isHidden = style.clipPath !== "none" || box.width < 2 || !element.checkVisibility();
    const isData = element.closest("[translate=no], input, textarea, pre, svg") !== null;
    return !isHidden && !isData && style.overflowX !== "visible" && style.overflowX !== "auto"
        && element.scrollWidth > element.clientWidth + 1;
}).map((element) => element.outerHTML.slice(0, 200))"""
"""What of our texts does not fit where it stands."""
PAGES = (
    "/users",
    "/users?q=none-like-it",
    "/users?status=inactive",
    "/users/statistics",
    "/users/import",
    "/users/add",
    "/users/quota?email=full@example.org",
    "/users/restore?email=gone@example.com",
    "/users/purge?email=gone@example.com",
    "/users/quota",
    "/mailusers/login",
    "/mailusers/second-factor",
)


@pytest.mark.parametrize(
    ("locale", "title", "add", "added", "fault"),
    [
        (
            "de-DE",
            "Mail-Benutzer",
            "Benutzer hinzufügen",
            f"{EMAIL} wurde hinzugefügt.",
            "Passwörter müssen mindestens acht Zeichen lang sein.",
        ),
        (
            "fr-FR",
            "Utilisateurs de messagerie",
            "Ajouter l’utilisateur",
            f"{EMAIL} a été ajouté.",
            "Les mots de passe doivent avoir au moins huit caractères.",
        ),
    ],
)
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
async def test_adding_in_another_language(
    box: Box, locale: str, title: str, add: str, added: str, fault: str, scripts: bool
) -> None:
    """A browser that is set to German or French adds a user and reads everything in it, a fault as well."""
    await box.add(BOSS, (ADMIN,))
    complaints: list[str] = []
    async with chromium(locale=locale, java_script_enabled=scripts) as context:
        page = await open_page(context, complaints)
        await enter(page, box)
        await expect(page).to_have_title(title)
        form = page.locator("#mu-add")
        await form.locator("[name=email]").fill(EMAIL)
        # Past the browser's own check of the length.
        await page.locator("#mu-add form:has([name=email])").first.evaluate("form => form.noValidate = true")
        await form.locator("[name=password]").fill("kurz")
        await form.get_by_role("button", name=add).click()
        await expect(page.get_by_text(fault).first).to_be_visible()
        fields = page.locator("form:has([name=password]):visible").first
        await fields.locator("[name=password]").fill(PASSWORD)
        await fields.get_by_role("button", name=add).click()
        await expect(page.get_by_text(added).first).to_be_visible()
        assert await page.locator("html").get_attribute("lang") == locale[:2]
        assert await overflow(page) <= 0
    assert complaints == []


async def test_choosing_a_language(box: Box) -> None:
    """The menu at the end of the page changes the language, leads back to the same list, and is remembered."""
    await box.add(BOSS, (ADMIN,))
    complaints: list[str] = []
    async with chromium(locale="de-DE") as context:
        page = await open_page(context, complaints)
        await enter(page, box)
        await page.goto(f"{box.base_url}/admin/users?q=boss")
        await page.get_by_role("button", name="Français").click()
        await expect(page).to_have_title("Utilisateurs de messagerie")
        assert page.url.endswith("/admin/users?q=boss")
        await page.reload()
        await expect(page.get_by_role("button", name="Français")).to_have_attribute("aria-current", "true")
        await page.get_by_role("button", name="English").click()
        await expect(page).to_have_title("Mail users")
    assert complaints == []


async def test_times_in_the_readers_zone(box: Box) -> None:
    """Without a script a time is in UTC and says so; with one it is the reader's, also in a list that was reloaded."""
    await box.add(BOSS, (ADMIN,))
    await box.add(EMAIL)
    box.make_mailbox(EMAIL, "a message")
    await box.service.archive(CONSOLE, EMAIL)
    box.runtime.refresh_usage()
    await box.runtime.directory.catch_up(10)
    for scripts, zone in ((False, r" UTC$"), (True, r" GMT\+5:45$")):
        async with chromium(
            locale="de-DE", timezone_id="Asia/Kathmandu", java_script_enabled=scripts
        ) as context:
            page = await open_page(context, [])
            await enter(page, box)
            shown = page.locator(f'#mu-list [data-email="{EMAIL}"] time, #mu-list time').first
            await expect(shown).to_have_text(re.compile(r"^\d\d\.\d\d\.\d{4}, \d\d:\d\d" + zone))
            if scripts:
                await box.add("another@example.com")
                await expect(page.locator("#mu-list")).to_contain_text("another@example.com")
                await expect(shown).to_have_text(re.compile(zone))


@pytest.mark.parametrize("width", [360, 1280])
async def test_from_right_to_left(
    boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """In a language that runs the other way nothing sticks out of the window, on any page or in a dialog."""
    monkeypatch.setattr(languages, "CATALOGUES", write_pseudo_catalogue(tmp_path / "catalogues"))
    box = await boxes.open(languages=(PSEUDO, "en"), extra_privileges=("reports",))
    await fill(box)
    # Whoever has a second factor is asked for a code, which is good once.
    box.sql("DELETE FROM mfa")
    complaints: list[str] = []
    async with chromium(viewport={"width": width, "height": 900}, locale=PSEUDO) as context:
        page = await open_page(context, complaints)
        await enter(page, box)
        assert await page.locator("#mu").evaluate("element => getComputedStyle(element).direction") == "rtl"
        for path in PAGES:
            await page.goto(f"{box.base_url}/admin{path}")
            assert await overflow(page) <= 0, path
            assert await page.evaluate(CUT_OFF) == [], path
        await page.goto(f"{box.base_url}/admin/users")
        await page.locator('[href*="/users/quota?"]').first.click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        assert await overflow(page) <= 0
        frame = await dialog.bounding_box()
        assert frame is not None
        assert frame["x"] >= 0
        assert frame["x"] + frame["width"] <= width
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("locale", ["de-DE", "fr-FR"])
async def test_longer_texts_fit(boxes: Boxes, locale: str, width: int) -> None:
    """German and French are longer than English: nothing sticks out of the window or is cut off."""
    box = await boxes.open(extra_privileges=("reports",))
    await fill(box)
    # Whoever has a second factor is asked for a code, which is good once.
    box.sql("DELETE FROM mfa")
    complaints: list[str] = []
    async with chromium(viewport={"width": width, "height": 900}, locale=locale) as context:
        page = await open_page(context, complaints)
        await enter(page, box)
        for path in PAGES:
            await page.goto(f"{box.base_url}/admin{path}")
            assert await page.locator("#mu").get_attribute("lang") == locale[:2]
            assert await overflow(page) <= 0, path
            assert await page.evaluate(CUT_OFF) == [], path
        # What is looked for is found.
        narrow = "heading => Object.assign(heading.style, {width: '2em', overflow: 'hidden', whiteSpace: 'nowrap'})"
        await page.locator("h1").evaluate(narrow)
        assert len(await page.evaluate(CUT_OFF)) == 1
    assert complaints == []

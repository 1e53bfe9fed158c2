"""Takes the pictures of the documentation: ``python -m tests.screenshots [FOLDER]``, or ``tox -e screenshots``.

Each is of the demonstration box in Chromium, so that they show what there is and can be taken anew after any change.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, expect

from tests.servers.browser import chromium
from tests.servers.panel import PanelProcess
from tests.servers.ports import LOOPBACK

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDE: Final = (1280, 960)
NARROW: Final = (390, 844)
USERS: Final = "/admin/users"
_CSV: Final = """address;password;quota;privilege
luisa.marsh@example.org;;5G;
paul.dyer@example.org;correct horse battery;2G;admin
Not An Address;;1G;
ben@example.com;;1G;
rita@example.org;short;1G;
"""


async def _nothing(page: Page) -> None:
    """Show the page as it opens."""


async def _list(page: Page) -> None:
    await page.locator("#mu-list").evaluate("list => list.scrollIntoView()")


async def _quota(page: Page) -> None:
    await page.get_by_role("link", name="Set quota of carla.dos-santos@example.com").click()
    await expect(page.get_by_role("dialog")).to_be_visible()


async def _import(page: Page) -> None:
    await page.get_by_label("CSV file").set_input_files(
        {"name": "users.csv", "mimeType": "text/csv", "buffer": _CSV.encode()}
    )
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.get_by_role("table").first).to_be_visible()


@dataclass(frozen=True)
class Picture:
    """One picture.

    :ivar name: of the file, without its ending
    :ivar path: of the page
    :ivar schemes: for which of them it is taken
    :ivar act: what is done before
    """

    name: str
    path: str = USERS
    size: tuple[int, int] = WIDE
    schemes: tuple[str, ...] = ("light",)
    locale: str = "en-GB"
    act: Callable[[Page], Awaitable[None]] = _nothing

    def files(self, folder: Path) -> list[Path]:
        """Return where its pictures are kept."""
        return [folder / f"{self.name}-{scheme}.png" for scheme in self.schemes]


BOTH: Final = ("light", "dark")
PICTURES: Final = (
    Picture("users", schemes=BOTH),
    Picture("users-narrow", size=NARROW, schemes=BOTH, act=_list),
    Picture("users-german", locale="de-DE"),
    Picture("quota", f"{USERS}?domain=example.com", schemes=BOTH, act=_quota),
    Picture("import", f"{USERS}/import", act=_import),
    Picture("statistics", f"{USERS}/statistics", schemes=BOTH),
)


async def take(folder: Path) -> list[Path]:
    """Take all pictures.

    :param folder: where they are kept
    :returns: the files
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mailusers-pictures-") as box:
        program = ("mailusers_plugin", "serve", "--demo", "--listen", f"{LOOPBACK}:{{port}}")
        with PanelProcess(Path(box) / "box", environment={"MAILUSERS_DOVEADM": ""}, program=program) as panel:
            log_in = await _log_in(panel)
            for picture in PICTURES:
                await _take(picture, panel.url, log_in, folder)
    return [file for picture in PICTURES for file in picture.files(folder)]


async def _log_in(panel: PanelProcess) -> dict[str, str]:
    for _ in range(300):
        found = re.search(r"Log in as (\S+) with the password (\S+)", panel.log.read_text())
        if found:
            return {"email": found[1], "password": found[2]}
        await asyncio.sleep(0.1)
    raise TimeoutError(panel.log.read_text())


async def _take(picture: Picture, url: str, log_in: dict[str, str], folder: Path) -> None:
    width, height = picture.size
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": height},
        "locale": picture.locale,
        "timezone_id": "Europe/Berlin",
        "reduced_motion": "reduce",
    }
    async with chromium(**options) as context:
        page = await context.new_page()
        await page.goto(f"{url}{USERS}")
        await page.locator('input[name="email"]').fill(log_in["email"])
        await page.locator('input[name="password"]').fill(log_in["password"])
        await page.locator('form[action$="/login"] button[type="submit"]').click()
        await expect(page.locator("#mu-list")).to_be_visible()
        for scheme, file in zip(picture.schemes, picture.files(folder), strict=True):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.goto(url + picture.path)
            await picture.act(page)
            await page.screenshot(path=file)


if __name__ == "__main__":
    for taken in asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)):
        print(taken)

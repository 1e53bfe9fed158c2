"""Measures the Users page in the browser, with a thousand users and with a hundred thousand side by side.

``python -m tests.benchmarks.page`` prints a table. Each figure is the median of some runs after a first one, from the
reader's click or key to the frame in which the new list is painted; the page of a bare Tornado handler, painted by the
same browser, is the baseline. It takes some minutes, most of them to fill the large box.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence

from playwright.async_api import Page, ViewportSize
from tornado.web import Application, RequestHandler

from tests.benchmarks.box import ADMIN, PASSWORD, panel_with
from tests.servers.browser import chromium
from tests.servers.panel import PanelProcess

SIZES = (1_000, 100_000)
LIMIT_MS = 300
LIMIT_FACTOR = 1.5
_VIEW = ViewportSize(width=1280, height=900)
_BUILDING_MS = 120_000
_TYPING_DELAY_MS = 100
"""Of this the search waits for further letters; it is no work of ours and stands in the figure all the same."""

Measure = Callable[[Page, str, int], Awaitable[float]]

# From the action to the first frame after the list has changed.
_UNTIL_PAINTED = """([action, selector, value]) => new Promise((resolve) => {
    const list = document.getElementById('mu-list');
    const begin = performance.now();
    document.addEventListener('htmx:after:swap', () => {
        requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - begin)));
    }, { once: true });
    const element = document.querySelector(selector);
    if (action === 'type') {
        element.focus();
        element.value = value;
        element.dispatchEvent(new InputEvent('input', { bubbles: true }));
    } else {
        element.click();
    }
})"""
_FIRST_PAINT = """() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"""


async def first_paint(page: Page, url: str, turn: int) -> float:
    """Load the page and return when it was painted first."""
    await page.goto(url)
    found = -1.0
    while found < 0:
        found = float(await page.evaluate(_FIRST_PAINT))
    return found


async def search(page: Page, url: str, turn: int) -> float:
    """Type a part of an address that is another one each time, and that fills a page in either box."""
    await page.goto(url)
    return float(await page.evaluate(_UNTIL_PAINTED, ["type", "#mu-q", f"user{turn % 9 + 1}"]))


async def search_one(page: Page, url: str, turn: int) -> float:
    """Type what stands in one address of either box."""
    await page.goto(url)
    return float(await page.evaluate(_UNTIL_PAINTED, ["type", "#mu-q", f"user{turn % 9 + 1}17@"]))


async def sort(page: Page, url: str, turn: int) -> float:
    """Sort by size."""
    await page.goto(url)
    return float(await page.evaluate(_UNTIL_PAINTED, ["click", "th.mu-column-quota a", ""]))


async def next_page(page: Page, url: str, turn: int) -> float:
    """Go to the next page."""
    await page.goto(url)
    return float(await page.evaluate(_UNTIL_PAINTED, ["click", "#mu-next", ""]))


MEASURES: Sequence[tuple[str, Measure]] = (
    ("first paint", first_paint),
    ("search, many found", search),
    ("search, one found", search_one),
    ("sort", sort),
    ("next page", next_page),
)


async def log_in(page: Page, panel: PanelProcess) -> None:
    """Log in as the administrator."""
    await page.goto(f"{panel.url}/admin/users")
    await page.locator("input[name=email]").fill(ADMIN)
    await page.locator("input[name=password]").fill(PASSWORD)
    await page.locator("form:has(input[name=password]) button[type=submit]").click()
    await page.locator("#mu-list").wait_for(timeout=_BUILDING_MS)


async def measure(sizes: Sequence[int], runs: int) -> dict[tuple[str, int], float]:
    """Return the medians, in milliseconds, by what was measured and how many users there are; 0 is the baseline."""
    found: dict[tuple[str, int], list[float]] = {}
    with panel_with(sizes[0]) as small, panel_with(sizes[1]) as large:
        async with chromium() as context:
            browser = context.browser
            assert browser is not None
            pages = {}
            for users, panel in zip(sizes, (small, large), strict=True):
                # A session each: cookies do not tell ports apart.
                reader = await browser.new_context(viewport=_VIEW)
                pages[users] = (await reader.new_page(), f"{panel.url}/admin/users")
                await log_in(pages[users][0], panel)
            bare = await context.new_page()
            server = Application([("/", Hello)]).listen(0, "127.0.0.1")
            port = next(iter(server._sockets.values())).getsockname()[1]
            for turn in range(runs + 1):
                await bare.bring_to_front()
                baseline = await first_paint(bare, f"http://127.0.0.1:{port}/", turn)
                found.setdefault(("first paint", 0), []).append(baseline)
                # In turns, so that whatever else the machine does falls on both.
                for name, function in MEASURES:
                    for users, (page, url) in pages.items():
                        await page.bring_to_front()
                        found.setdefault((name, users), []).append(await function(page, url, turn))
            server.stop()
    return {key: statistics.median(values[1:]) for key, values in found.items()}


class Hello(RequestHandler):
    """A bare Tornado handler."""

    def get(self) -> None:
        """Say so."""
        self.finish("<!doctype html><title>Hello</title><p>hello")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="runs that count, each after all others")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="users in the two boxes")
    arguments = parser.parse_args()
    medians = asyncio.run(measure(arguments.sizes, arguments.runs))
    small, large = arguments.sizes
    print(f"| median of {arguments.runs} in Chromium | {small:,} users | {large:,} users | factor |")
    print("| --- | --- | --- | --- |")
    for name, _ in MEASURES:
        one, other = medians[name, small], medians[name, large]
        wrong = " **too slow**" if other > LIMIT_MS or other > one * LIMIT_FACTOR else ""
        print(f"| {name} | {one:.0f} ms | {other:.0f} ms | {other / one:.2f}{wrong} |")
    print(f"| a bare Tornado page, first paint | {medians['first paint', 0]:.0f} ms | | |")
    print(
        f"\nThe searches' figures include the {_TYPING_DELAY_MS} ms for which further letters are waited for."
    )


if __name__ == "__main__":
    main()

"""Ways to look at a page in the browser as a whole: what axe says, what sticks out, what data has become."""

from __future__ import annotations

from collections.abc import Sequence

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

_WIDER = """() => [...document.querySelectorAll("html, dialog, .mu-results, .mu-table-frame")]
    .filter(element => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1)
    .map(element => `${element.localName}.${element.className}: ${element.scrollWidth} of ${element.clientWidth}`)"""
_OUTSIDE = """() => [...document.querySelectorAll(".mailusers *, .mailusers-header *")].filter(element => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility() && !element.closest(".mu-hidden, svg, option") && box.width > 1
        && (box.right > innerWidth + 1 || box.left < -1);
}).map(element => element.outerHTML.slice(0, 200))"""
_SMALL = """() => {
    const isInText = element => {
        const rest = element.parentElement.cloneNode(true);
        rest.querySelectorAll("a, button, input, select, .mu-hidden").forEach(other => other.remove());
        return getComputedStyle(element).display === "inline" && /[\\p{L}\\p{N}]/u.test(rest.textContent);
    };
    const controls = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
        .filter(element => element.checkVisibility({visibilityProperty: true}) && element.type !== "hidden"
            && !element.closest(".mu-hidden"));
    const open = document.querySelector("dialog:modal");
    const targets = controls.filter(element => !open || open.contains(element)).map(element => {
        // A label around a box is pressed in its place.
        const label = element.matches("[type=checkbox], [type=radio]") ? element.closest("label") : null;
        const rect = (label ?? element).getBoundingClientRect();
        return {element, rect, x: rect.x + rect.width / 2, y: rect.y + rect.height / 2,
            small: rect.width < 23.9 || rect.height < 23.9};
    }).filter(({rect}) => rect.bottom > -1000 && rect.width > 0);
    const reaches = (one, other) => {
        if (other.small) return Math.hypot(one.x - other.x, one.y - other.y) < 24;
        const x = Math.max(other.rect.left - one.x, 0, one.x - other.rect.right);
        const y = Math.max(other.rect.top - one.y, 0, one.y - other.rect.bottom);
        return Math.hypot(x, y) < 12;
    };
    return targets.filter(one => one.small && !isInText(one.element)
        && targets.some(other => other !== one && reaches(one, other)))
        .map(({element, rect}) => `${rect.width} × ${rect.height}: ${element.outerHTML.slice(0, 160)}`);
}"""
_MADE_OF_DATA = """() => [...document.querySelectorAll("*")].filter(element =>
    element.matches("#mu :is(img, b, i), iframe, object, embed, base, marquee, svg[onload], script:not([src]), style")
    || [...element.attributes].some(({name, value}) => name.startsWith("on") || name === "style"
        || (/^(href|src|action|formaction)$/.test(name) && /^\\s*(javascript|data):/i.test(value)))
).map(element => element.outerHTML.slice(0, 200))"""
_TURNED = """tails => {
    const turned = [];
    const isOpen = ({display, unicodeBidi}) => display === "inline" && !/isolate|plaintext/.test(unicodeBidi);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        let root = node.parentElement;
        if (!node.data.includes("\\u202e") || root.closest(".mu-hidden, script, textarea, option")) continue;
        // What the mark turns round ends with the nearest element, or the nearest pair of marks, that isolates.
        while (isOpen(getComputedStyle(root))) root = root.parentElement;
        for (const [, tail] of root.textContent.matchAll(/\\u202e([^\\u202e\\u2069]*)/g)) {
            if (!tails.includes(tail.trim())) turned.push(`${tail} in ${root.outerHTML.slice(0, 200)}`);
        }
    }
    return turned;
}"""


async def check(page: Page) -> None:
    """Let axe look at the page, and see that nothing is wider than its place or outside the window."""
    # What is fading in or out has another contrast for a moment.
    await page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")
    results = await Axe().run(page)
    assert results.response["passes"]
    assert results.violations_count == 0, (page.url, results.generate_report())
    await check_place(page)


async def check_place(page: Page) -> None:
    """See that nothing is wider than its place or outside the window."""
    for program in (_WIDER, _OUTSIDE):
        found: list[str] = await page.evaluate(program)
        assert found == [], (page.url, found)


async def small_targets(page: Page) -> list[str]:
    """Return the controls that are smaller than 24 × 24 CSS pixels and too near to another one (WCAG 2.5.8).

    Links inside a sentence may be as high as its line. Where a dialog is open, only what is in it counts.
    """
    found: list[str] = await page.evaluate(_SMALL)
    return found


async def check_data(page: Page, data: Sequence[str]) -> None:
    """See that no data has become an element or a script, and that none turns round the text behind it.

    :param data: texts with a right-to-left override (U+202E) in them, as they are shown
    """
    made: list[str] = await page.evaluate(_MADE_OF_DATA)
    assert made == [], (page.url, made)
    tails = [text.rpartition("\u202e")[2] for text in data]
    turned: list[str] = await page.evaluate(_TURNED, tails)
    assert turned == [], (page.url, turned)

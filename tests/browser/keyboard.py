"""A person who has a keyboard and no mouse, and sees where the focus is."""

from __future__ import annotations

import json
from dataclasses import dataclass

from playwright.async_api import Page, expect

_FOCUS = """() => {
    const element = document.activeElement;
    if (element === document.body || element === null) return null;
    const label = element.closest("label") ?? element.labels?.[0];
    const name = element.getAttribute("aria-label") || label?.textContent || element.textContent || element.id;
    const [rect] = element.getClientRects();
    const isMarked = one => {
        const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(one);
        const hasOutline = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
        return hasOutline || /0px 0px 0px [2-9]px/.test(boxShadow);
    };
    const others = [...document.querySelectorAll("a, button, input, select")].filter(other => other !== element);
    const hits = [0.5, 0.1, 0.9].map(part =>
        document.elementFromPoint(rect.left + rect.width * part, rect.top + rect.height / 2));
    return {
        name: name.replace(/\\s+/g, " ").trim(),
        kind: element.type || element.localName,
        isVisible: element.checkVisibility({opacityProperty: true, visibilityProperty: true})
            && rect.width > 1 && rect.height > 1 && rect.right > 0 && rect.left < innerWidth,
        isMarked: isMarked(element) && !others.some(isMarked),
        isFree: hits.some(hit => element.contains(hit) || label?.contains(hit)),
        inDialog: element.closest("dialog:modal") !== null,
        email: element.closest("tr[data-email]")?.dataset.email ?? "",
    };
}"""


@dataclass(frozen=True)
class Stop:
    """Where the focus is.

    :ivar kind: type of a field or button, else the element's name
    :ivar is_in_dialog: whether it is in an open modal dialog
    :ivar email: the user in whose line it is
    """

    name: str
    kind: str
    is_in_dialog: bool
    email: str


class Keyboard:
    """Works a page by keys only; each place where the focus stops is looked at."""

    def __init__(self, page: Page) -> None:
        """Take the page."""
        self._page = page
        self._keyboard = page.keyboard

    async def stop(self) -> Stop | None:
        """Return where the focus is, ``None`` where it is on nothing; it must be seen, marked and not covered."""
        found = await self._page.evaluate(_FOCUS)
        if found is None:
            return None
        for fault, is_so in (
            ("not visible", not found["isVisible"]),
            ("not marked as focused", not found["isMarked"]),
            ("covered", not found["isFree"]),
        ):
            assert not is_so, f"{fault}: {found}"
        return Stop(found["name"], found["kind"], found["inDialog"], found["email"])

    async def to(self, name: str, kind: str = "", *, email: str = "", back: bool = False) -> Stop:
        """Press Tab until the focus is on a control.

        :param name: what its name begins with
        :param kind: as in :class:`Stop`, empty for any
        :param email: the user in whose line it is, empty for anywhere
        :param back: go backwards
        """
        passed = []
        for _ in range(200):
            await self.press("Shift+Tab" if back else "Tab")
            stop = await self.stop()
            if stop is None:
                continue
            passed.append(stop.name[:40])
            if (
                stop.name.startswith(name)
                and (not kind or stop.kind == kind)
                and (not email or stop.email == email)
            ):
                return stop
        raise AssertionError(f"Tab does not lead to {json.dumps(name)}, but to {passed}.")

    async def press(self, key: str, times: int = 1) -> None:
        """Press a key."""
        for _ in range(times):
            await self._keyboard.press(key)

    async def enter(self, name: str, kind: str = "", *, email: str = "", back: bool = False) -> None:
        """Go to a control and press Enter."""
        await self.to(name, kind, email=email, back=back)
        await self.press("Enter")

    async def type(self, text: str, *, instead: bool = False) -> None:
        """Type into the field that has the focus.

        :param instead: of what is in it
        """
        if instead:
            await self.press("Control+a")
        await self._keyboard.type(text)

    async def in_dialog(self, title: str) -> None:
        """Wait for a dialog and see that Tab stays in it, forwards and backwards."""
        dialog = self._page.get_by_role("dialog", name=title)
        await expect(dialog).to_be_visible()
        await expect(dialog.locator(":focus")).to_have_count(1)
        first = await self.stop()
        stops: list[Stop | None] = []
        while first not in stops:
            assert len(stops) < 40, stops
            await self.press("Tab")
            stops.append(await self.stop())
        # Between the last and the first one the focus may be in the browser's own bars.
        assert all(stop is None or stop.is_in_dialog for stop in stops), stops
        await self.press("Shift+Tab")
        stop = await self.stop()
        assert stop is None or stop.is_in_dialog, stop
        await self.press("Tab")
        assert await self.stop() == first

"""The page inside hosts of other frameworks: neither changes anything of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from playwright.async_api import Page, expect
from tornado.web import RequestHandler

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, USER, Box, Boxes

pytestmark = pytest.mark.gen_test(timeout=180)
DATA = Path(__file__).parent.parent / "data"
FRAMEWORKS = ["bootstrap-3.4.1", "bootstrap-5.3.8"]

FRAME = """<!doctype html>
<html lang="en"><head><title>Host</title><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="/host-style/{framework}.css"></head>
<body>{elements}{block}{elements}</body></html>"""
ELEMENTS = """<div class="host container"><h1>One</h1><h2>Two</h2><h3>Three</h3><p>Text with <a href="#a">a link</a>,
<code>code</code>, <small>small</small>, <strong>strong</strong>, <mark>marked</mark>.</p><ul><li>Item</li></ul>
<ol><li>Item</li></ol><dl><dt>Term</dt><dd>What it is</dd></dl><pre>pre</pre><blockquote>Quote</blockquote><hr>
<form class="form-inline" role="search"><label for="i">Label</label><input id="i" type="text" class="form-control">
<input type="search"><input type="checkbox"><input type="radio"><input type="submit" value="Send"><select><option>Choice
</option></select><textarea>Text</textarea><button type="button" class="btn btn-primary">Button</button>
<fieldset><legend>Legend</legend></fieldset></form><details><summary>More</summary>Text</details>
<table class="table"><thead><tr><th>Head</th></tr></thead><tbody><tr><td>Cell</td></tr></tbody></table>
<nav><ul><li><a href="#b">Entry</a></li></ul></nav><progress value="1" max="2"></progress><section>Section</section>
<article>Article</article><main>Main</main><figure>Figure</figure><div class="grid"><span>Grid</span></div>
<div class="modal-is-open mu-button mu-card">Names that frameworks use</div>
<svg width="9" height="9"><path d="M0 0h9v9"/></svg></div>"""

READ = """selector => [...document.querySelectorAll(selector)].map(element => {
    const styles = {};
    for (const pseudo of ['', '::before', '::after', '::placeholder']) {
        if (pseudo === '::placeholder' && !element.placeholder) continue;
        const computed = getComputedStyle(element, pseudo || null);
        if (pseudo && computed.content === 'none') continue;
        for (const name of computed) styles[pseudo + name] = computed.getPropertyValue(name);
    }
    return [element.outerHTML.slice(0, 120), styles];
})"""
# Size and place depend on what else is on the page; all else does not.
DEPENDENT = ("height", "block-size", "perspective-origin", "transform-origin")


class HostStyle(RequestHandler):
    """The host's own style sheet."""

    def get(self, name: str) -> None:
        """Answer with a framework's, or with next to nothing."""
        self.set_header("Content-Type", "text/css")
        path = DATA / f"{name}.min.css"
        self.finish(path.read_bytes() if path.exists() else b"body { margin: 0 }")


class HostPage(RequestHandler):
    """A page of the host's own, without us."""

    def get(self, framework: str) -> None:
        """Answer with the same elements."""
        self.finish(FRAME.format(framework=framework, elements=ELEMENTS, block=""))


async def open_host(boxes: Boxes, framework: str) -> Box:
    """Open a box inside a host that loads a framework."""
    template = FRAME.format(framework=framework, elements=ELEMENTS, block="{% block content %}{% endblock %}")
    box = await boxes.open(
        base_template="host.html", template_loader=jinja2.DictLoader({"host.html": template})
    )
    box.app.add_handlers(".*", [(r"/host-style/(.*)\.css", HostStyle), (r"/host-page/(.*)", HostPage)])
    await box.add(BOSS, (ADMIN,))
    await box.add(USER, quota="1G")
    box.make_mailbox(USER)
    (box.maildir(USER) / "maildirsize").write_text("1073741824S\n966367641 3\n")
    box.make_mailbox("gone@example.com", "a message")
    box.runtime.refresh_usage()
    return box


async def styles(page: Page, selector: str) -> list[tuple[str, dict[str, str]]]:
    """Return each element's beginning and its computed styles."""
    found: list[tuple[str, dict[str, str]]] = await page.evaluate(READ, selector)
    return found


def differences(one: list[Any], other: list[Any], ignored: tuple[str, ...] = ()) -> list[str]:
    """Compare element by element; the number in a port or a version is no difference."""
    assert len(one) == len(other)
    assert one
    return [
        f"{name}: {styles_one[name]} or {styles_other.get(name)} of {element}"
        for (element, styles_one), (_, styles_other) in zip(one, other, strict=True)
        for name in styles_one
        if styles_one[name] != styles_other.get(name) and name.rpartition(":")[2] not in ignored
    ]


@pytest.mark.parametrize("framework", ["none", *FRAMEWORKS])
async def test_a_hosts_own_elements_stay_as_they_are(boxes: Boxes, framework: str) -> None:
    """Every style of the host's elements is the same with our page in it and without."""
    box = await open_host(boxes, framework)
    async with chromium(color_scheme="dark") as context:
        page = await open_page(context, [])
        await page.goto(f"{box.base_url}/host-page/{framework}")
        alone = await styles(page, ".host, .host *")
        frame = await styles(page, "html, body")
        await log_in(page, box)
        beside = await styles(page, ".host, .host *")
        assert differences(alone, beside) == []
        assert differences(frame, await styles(page, "html, body"), DEPENDENT) == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_hosts_framework_changes_nothing_of_ours(boxes: Boxes, framework: str) -> None:
    """Every style of our elements is the same inside a host with a framework and inside one without."""
    found: list[list[Any]] = []
    for name in ("none", framework):
        box = await open_host(boxes, name)
        async with chromium(viewport={"width": 1280, "height": 800}) as context:
            page = await open_page(context, [])
            await log_in(page, box)
            await expect(page.locator("#mu > [data-mu-said]")).to_be_attached()
            await page.wait_for_timeout(300)
            found.append(await styles(page, ".mailusers, .mailusers *"))
            await page.goto(f"{box.base_url}/admin/users/quota?email={USER}")
            found[-1] += await styles(page, ".mailusers, .mailusers *")
    assert differences(found[0], found[1]) == []

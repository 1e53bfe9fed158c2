"""The templates and styles: at home in any host, and within the strict policy."""

from __future__ import annotations

import html
import re
from pathlib import Path

import jinja2

from mailusers_plugin.handlers import page_base, static
from mailusers_plugin.models import ADMIN
from tests.support import BOSS, Boxes

USERS = "/admin/users"
TEMPLATES = Path(page_base.__file__).parent.parent / "templates" / "mailusers"
STYLES = Path(page_base.__file__).parent.parent / "static" / "css"


async def test_the_page_inside_a_host(boxes: Boxes) -> None:
    """A base template that has nothing but a content block is enough for every page."""
    panel = "<html><body><nav>Panel</nav>{% block content %}{% endblock %}</body></html>"
    loader = jinja2.DictLoader({"panel.html": panel})
    box = await boxes.open(base_template="panel.html", template_loader=loader)
    await box.add(BOSS, (ADMIN,))
    client = (await box.browser(BOSS)).sending(Accept="text/html")
    for path in (USERS, f"/admin/users/quota?email={BOSS}", "/admin/mailusers/login", "/admin/users/quota"):
        answer = await client.fetch("GET", path)
        assert answer.text.startswith("<html><body><nav>Panel</nav>")
        assert 'class="mailusers' in answer.text
        assert "mailusers.css" in answer.text


async def test_a_host_under_another_prefix(boxes: Boxes) -> None:
    """All links, forms and examples carry the prefix, also an empty one."""
    for prefix in ("", "/mail/panel"):
        box = await boxes.open(prefix=prefix, host=None)
        await box.add(BOSS, (ADMIN,))
        page = (await (await box.browser(BOSS)).sending(Accept="text/html").get(f"{prefix}/users")).text
        links = re.findall(r'(?:href|action)="([^"#]+)"', page)
        assert links
        assert all(link.startswith(f"{prefix}/") for link in links), links
        assert f"{box.base_url}{prefix}/mail/users" in html.unescape(page)


def test_nothing_is_inline() -> None:
    """No template holds a script, a style or an event handler: the policy would not run it."""
    wrong = [
        (path.name, found)
        for path in TEMPLATES.glob("*.html")
        for found in re.findall(
            r"<script\b(?![^>]*\ssrc=)|<style\b|\sstyle=|\s(?:hx-)?on[a-z:]+=|javascript:|js:",
            path.read_text("utf-8"),
        )
    ]
    assert wrong == []


def test_styles_stay_in_their_place() -> None:
    """Every rule is about our own elements, so that a host's are left alone."""
    wrong = [part for part in selectors(styles()) if not part.startswith((".mailusers", "@"))]
    assert wrong == []


def test_lengths_do_not_depend_on_the_host() -> None:
    """No length is measured by the host's root element, and none is to the left or right."""
    text = styles()
    assert not re.search(r"[\d.]rem\b", text)
    own = "".join(path.read_text("utf-8") for path in sorted(STYLES.glob("*.css")))
    sided = (
        r"[\s{;](?:(?:(?:margin|padding|border)-(?:left|right)|left|right)\s*:"
        r"|(?:float|text-align):\s*(?:left|right)\b)"
    )
    assert re.findall(sided, own) == []
    assert re.findall(r"@container[^{]*rem", own) == []


def test_what_a_host_may_set_is_documented() -> None:
    """Every colour, font and corner that a host can set stands in its documentation."""
    documented = (Path(__file__).parents[2] / "docs" / "host.md").read_text("utf-8")
    names = set(re.findall(r"var\(\s*--mailusers(-[a-z-]+)", styles()))
    assert len(names) > 20
    assert {name for name in names if f"{name}`" not in documented} == set()


def styles() -> str:
    """Return the style sheet as it is sent, without comments and frames."""
    text = re.sub(r"/\*.*?\*/", "", static._files()[static.STYLES].content.decode(), flags=re.DOTALL)
    return re.sub(r"@(?:property|keyframes|-webkit-keyframes)[^{]*\{(?:[^{}]|\{[^{}]*\})*\}", "", text)


def selectors(text: str) -> list[str]:
    """Return each selector; commas inside brackets part none."""
    found = []
    for block in re.findall(r"([^{};]+)\{", text):
        block = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "()", block)
        found += [part.strip() for part in block.split(",") if part.strip()]
    return found

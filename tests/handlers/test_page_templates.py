"""The templates and styles: at home in any host, and within the strict policy."""

from __future__ import annotations

import html
import re
from pathlib import Path

import jinja2

from mailusers_plugin.handlers import page_models
from mailusers_plugin.models import ADMIN
from tests.support import BOSS, Boxes

USERS = "/admin/users"
TEMPLATES = Path(page_models.__file__).parent.parent / "templates" / "mailusers"
STYLES = Path(page_models.__file__).parent.parent / "static" / "mailusers.css"


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
    """No template has a script, a style or an event handler: the policy would not run it."""
    wrong = [
        (path.name, found)
        for path in TEMPLATES.glob("*.html")
        for found in re.findall(
            r"<script\b|<style\b|\sstyle=|\son[a-z]+=|javascript:", path.read_text("utf-8")
        )
    ]
    assert wrong == []


def test_styles_stay_in_their_place() -> None:
    """Every rule is about our own elements, so that a host's are left alone."""
    text = re.sub(r"/\*.*?\*/", "", STYLES.read_text("utf-8"), flags=re.DOTALL)
    selectors = [part.strip() for block in re.findall(r"([^{}]+)\{", text) for part in block.split(",")]
    wrong = [part for part in selectors if not part.startswith((".mailusers", "@media", "@container"))]
    assert wrong == []

"""A panel with its own log-in and its own look gets the page by installing the plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.panel import PanelProcess, install_package

PACKAGES = Path(__file__).parents[1] / "packages"


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """The other panel, listening. Our own package's entry points are those of its installation."""
    install_package(PACKAGES / "other_panel", tmp_path / "installed")
    process = PanelProcess(
        tmp_path / "box",
        python_path=[tmp_path / "installed" / "site"],
        program=("other_panel.panel", str(tmp_path / "box"), "{port}"),
        prefix="/panel",
    )
    with process:
        yield process


def test_the_page_appears_inside_the_panel(panel: PanelProcess) -> None:
    """Who is not logged in is sent to the panel's own log-in, and then sees our page in the panel's frame."""
    form = panel.request("GET", "/panel/users", headers={"Accept": "text/html"})
    assert '<input name="password"' in form.text
    token = re.search(r'name="_xsrf" value="([^"]+)"', form.text)
    way_back = re.search(r'name="next" value="([^"]+)"', form.text)
    assert token is not None
    assert way_back is not None
    assert way_back[1] == "/panel/users"
    xsrf = form.headers["Set-Cookie"].partition(";")[0]
    fields = {"name": "ada", "password": "correct horse", "_xsrf": token[1], "next": way_back[1]}
    for wanted, location in (
        ("/panel/users?q=a", "/panel/users?q=a"),
        *(
            (evil, "/panel/users")
            for evil in ("//evil.example", "/\\evil.example", "https:evil.example", "/\t/evil")
        ),
    ):
        led = panel.request(
            "POST", "/sign-in", {**fields, "next": wanted}, headers={"Cookie": xsrf}, redirects=False
        )
        assert led.headers["Location"] == location
    signed_in = panel.request("POST", "/sign-in", fields, headers={"Cookie": xsrf}, redirects=False)
    staff = signed_in.headers["Set-Cookie"].partition(";")[0]
    page = panel.request("GET", "/panel/users", headers={"Accept": "text/html", "Cookie": f"{xsrf}; {staff}"})
    assert page.status == 200
    assert "· Other Panel</title>" in page.text
    assert '<a href="/panel/users">Users</a>' in page.text
    assert 'class="mailusers' in page.text
    assert f"{panel.url}/panel/mail/users" in page.text


def test_the_panels_log_in_decides_for_the_api_too(panel: PanelProcess) -> None:
    """The API takes the panel's identities and no others: our own log-in is not there at all."""
    assert panel.request("GET", "/panel/mail/users").status == 401
    assert panel.request("POST", "/panel/login", {}).status == 404
    assert panel.request("GET", "/panel/mailusers/login").status == 404

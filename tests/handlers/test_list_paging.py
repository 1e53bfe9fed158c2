"""The list by pages, as a program walks it."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import pytest

from mailusers_plugin.directory import Directory
from mailusers_plugin.models import ADMIN
from tests.support import BOSS, CONSOLE, Answer, Box, Boxes, Client

LIST = "/admin/mail/users?format=json"


@pytest.fixture
def users(io_loop: Any, box: Box, admin: Client) -> list[str]:
    """The addresses of seven users in two domains, one of them archived, beside the administrator."""

    async def add() -> list[str]:
        emails = [f"user{n}@example.{'com' if n % 2 else 'org'}" for n in range(7)]
        for number, email in enumerate(emails):
            await box.add(email, quota=f"{number + 1}M")
        await box.service.archive(CONSOLE, emails[3])
        return emails

    added: list[str] = io_loop.run_sync(add)
    return added


def emails(answer: Answer) -> list[str]:
    """The addresses of an answer, in order."""
    assert answer.type == "application/json"
    return [user["email"] for domain in answer.json() for user in domain["users"]]


def next_link(answer: Answer, box: Box) -> str | None:
    """Where the next page is."""
    if "Link" not in answer.headers:
        return None
    match = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers["Link"])
    assert match
    assert match[1].startswith(box.base_url)
    return match[1].removeprefix(box.base_url)


async def test_walking_by_links(box: Box, admin: Client, users: list[str]) -> None:
    """Following the links gives everybody once, in the order and the shape of the whole list."""
    found, asked = [], f"{LIST}&limit=3"
    path: str | None = asked
    while path is not None:
        answer = await admin.get(path)
        assert answer.headers["X-Total-Count"] == "8"
        found += emails(answer)
        path = next_link(answer, box)
    whole = await admin.get(LIST)
    assert found == emails(whole)
    assert "Link" not in whole.headers
    (page,) = [await admin.get(f"{LIST}&limit=1000")]
    assert page.json() == whole.json()


async def test_the_rest_is_gone_meanwhile(box: Box, admin: Client, users: list[str]) -> None:
    """Whoever follows a link after the rest was deleted gets an empty page, not the first one again."""
    first = await admin.get(f"{LIST}&limit=6")
    path = next_link(first, box)
    assert path is not None
    for email in {*users, BOSS} - set(emails(first)):
        await box.service.archive(CONSOLE, email)
        await box.service.purge(CONSOLE, email, email)
    rest = await admin.get(path)
    assert emails(rest) == []
    assert "Link" not in rest.headers


async def test_selecting_and_sorting(admin: Client, users: list[str]) -> None:
    """The parameters of the contract do what they say, also together."""
    for query, wanted in (
        ("q=USER4", [users[4]]),
        ("q=user&domain=example.org&sort=-quota", [users[6], users[4], users[2], users[0]]),
        ("domain=EXAMPLE.org&limit=2", [users[0], users[2]]),
        ("status=inactive", [users[3]]),
        (f"privilege={ADMIN}", [BOSS]),
        ("sort=quota&limit=2&status=active", [users[0], users[1]]),
        ("q=nobody", []),
    ):
        assert emails(await admin.get(f"{LIST}&{query}")) == wanted, query


async def test_a_domain_as_the_list_shows_it(box: Box, admin: Client) -> None:
    """The name of a domain in an answer finds its users, in either form."""
    await box.add("anna@xn--mller-kva.example.com")
    for query in ("domain=m%C3%BCller.example.com", "domain=xn--mller-kva.example.com", "q=anna@m%C3%BCll"):
        answer = await admin.get(f"{LIST}&{query}")
        assert emails(answer) == ["anna@xn--mller-kva.example.com"], query
        assert answer.json()[0]["domain"] == "müller.example.com"


async def test_what_is_not_possible_is_refused(admin: Client, users: list[str]) -> None:
    """A wrong value is an error that says what is right, not an empty page."""
    for query, said in (
        ("limit=0", "The limit is a number from 1 to 1000."),
        ("limit=1001", "The limit is a number from 1 to 1000."),
        ("limit=٣", "The limit is a number from 1 to 1000."),
        ("limit=", "The limit is a number from 1 to 1000."),
        ("q=" + "a" * 255, "No address is as long as what is looked for."),
        ("status=deleted", "The status is active or inactive."),
        ("sort=password", "The list can be sorted by email, size, used or quota."),
        ("cursor=x", "This place in the list is not known. Begin at the first page."),
    ):
        answer = await admin.get(f"{LIST}&{query}")
        assert (answer.status, answer.text) == (400, said), query


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_another_programs_user_is_on_the_page(box: Box, admin: Client, users: list[str]) -> None:
    """What Mail-in-a-Box itself has just added is listed."""
    await admin.get(f"{LIST}&limit=1")
    await asyncio.sleep(0.02)
    box.sql("INSERT INTO users (email, password) VALUES ('miab@example.net', 'x')")
    assert emails(await admin.get(f"{LIST}&q=miab")) == ["miab@example.net"]


async def test_half_a_list_is_not_shown(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the directory of a large box is made for the first time, every list says so and when to come back."""
    for module in ("api", "users_page", "export"):
        monkeypatch.setattr(f"mailusers_plugin.handlers.{module}.BUILDING_SECONDS", 0.05)
    monkeypatch.setattr("mailusers_plugin.handlers.statistics._BUILD_SECONDS", 0.05)
    made = threading.Event()
    compare = Directory.compare_now

    def wait(directory: Directory) -> int:
        made.wait(20)
        return compare(directory)

    monkeypatch.setattr(Directory, "compare_now", wait)
    box = await boxes.open()
    try:
        await box.add(BOSS, (ADMIN,))
        browser = (await box.browser(BOSS)).sending(Accept="text/html")
        for path in (
            f"{LIST}&limit=5",
            "/admin/users",
            "/admin/users/export?format=csv",
            "/admin/users/statistics",
        ):
            answer = await browser.get(path)
            assert answer.status == 503, path
            assert "is being made for the first time" in answer.text
            assert answer.headers["Retry-After"] == "5"
    finally:
        made.set()
    assert (await browser.get("/admin/users")).status in (200, 503)
    await box.runtime.directory.wait_until_built(10)
    assert (await browser.get("/admin/users")).status == 200

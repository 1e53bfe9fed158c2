"""What the tests of the pages share: a browser without scripts, the scripts' way of asking, and reading an answer."""

from __future__ import annotations

import html
import json
import re

from tests.support import Answer, Client

HOSTILE = "<img src=x onerror=alert(1)>"


def as_browser(client: Client) -> Client:
    """Ask for HTML."""
    return client.sending(Accept="text/html")


def as_script(client: Client, target: str = "div#mu-dialogs") -> Client:
    """Ask as the page's scripts do.

    :param target: the element that the answer is for
    """
    return client.sending(Accept="text/html", HX_Request="true", HX_Target=target)


def words(answer: Answer) -> str:
    """What the page says, without its tags, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", answer.text)).split())


async def follow(client: Client, answer: Answer) -> Answer:
    """Go where a form leads."""
    assert answer.status == 303, answer.text
    return await client.get(answer.headers["Location"])


def told(answer: Answer) -> dict[str, dict[str, str]]:
    """Return the events that an answer raises on the page, by name."""
    events: dict[str, dict[str, str]] = json.loads(answer.headers.get("HX-Trigger", "{}"))
    assert all(detail.pop("target") == "body" for detail in events.values())
    return events


def field(answer: Answer, name: str) -> str:
    """Return the tag of a field."""
    found = re.search(rf'<(?:input|select)[^>]*name="{name}"[^>]*>', answer.text)
    assert found is not None, name
    return found[0]


def value(answer: Answer, name: str) -> str:
    """Return what stands in a field."""
    found = re.search(r'value="([^"]*)"', field(answer, name))
    return html.unescape(found[1]) if found else ""

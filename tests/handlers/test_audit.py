"""The audit trail on its page, as a file, and for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mailusers_plugin.models import Identity
from mailusers_plugin.store import audit_chain
from mailusers_plugin.trail_models import Entry
from mailusers_plugin.trail_rows import cursor, parse_cursor, parse_time
from tests.handlers.browsing import HOSTILE, as_browser, words
from tests.support import BOSS, USER, Answer, Box, Boxes, Client

PAGE = "/admin/mailusers/audit"
EXPORT = f"{PAGE}/export"
API = "/admin/mail/users/audit"
NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


async def fill(box: Box, count: int = 0) -> None:
    """Put entries of every kind into the trail, and some more, one a second."""
    made: list[tuple[str, str, str | None, dict[str, Any]]] = [
        ("QuotaChanged", USER, BOSS, {"old_quota": "0", "new_quota": "5G", "new_quota_bytes": 5368709120}),
        ("PrivilegesChanged", USER, BOSS, {"old_privileges": [], "new_privileges": ["admin"]}),
        ("UserAdded", USER, BOSS, {"restored": True, "undone": False, "quota": "5G"}),
        ("LoginRefused", HOSTILE, None, {"reason": "=cmd|' /C calc'!A0", HOSTILE: HOSTILE}),
        ("OfAnotherModule%s", "", "=1+1", {}),
        *(("PasswordChanged", f"user{number}@example.com", BOSS, {}) for number in range(count)),
    ]
    entries = [
        Entry.made(
            type_,
            email=email,
            actor=actor,
            via="basic",
            ip="192.0.2.7",
            detail=detail,
            time=NOW + timedelta(seconds=number),
        )
        for number, (type_, email, actor, detail) in enumerate(made)
    ]
    await box.runtime.state.write(audit_chain.append, entries)


async def page(client: Client, path: str = PAGE, **query: str) -> Answer:
    """Open the page."""
    answer = await as_browser(client).get(path, **query)
    assert answer.status == 200, answer.text
    return answer


async def test_the_page_says_who_did_what(box: Box, admin: Client) -> None:
    """Each entry stands there with time and zone, what, old and new, whom, by whom, from where; newest first."""
    await fill(box)
    answer = await page(admin)
    text = words(answer)
    assert "Mar 4, 2026, 5:06 AM UTC" in text.replace("\u202f", " ")
    assert f'datetime="{(NOW + timedelta(seconds=4)).isoformat(timespec="seconds")}"' in answer.text
    assert "Quota 0 → 5G" in text
    assert "Privileges \N{EN DASH} → admin" in text
    assert "User restored with the old mailbox" in text
    assert f"{USER} " in text
    assert f"{BOSS} (basic)" in text
    assert "192.0.2.7" in text
    assert "5368709120" not in text
    assert text.index("Log-in refused") < text.index("Quota changed", text.index("Log-in refused"))
    link = re.search(r'<a href="/admin/mailusers/audit"[^>]*>', (await page(admin, "/admin/users")).text)
    assert link is not None


async def test_hostile_content_is_text(box: Box, admin: Client) -> None:
    """What an attacker typed stands on the page as he typed it, and does nothing."""
    await fill(box)
    answer = await page(admin, email=HOSTILE, actor=HOSTILE, type=HOSTILE)
    assert HOSTILE not in answer.text
    answer = await page(admin, type="LoginRefused")
    assert HOSTILE not in answer.text
    assert HOSTILE in words(answer)
    assert "OfAnotherModule%s" in words(await page(admin))


FILTERS: list[tuple[dict[str, str], set[str]]] = [
    ({"email": USER}, {"QuotaChanged", "PrivilegesChanged", "UserAdded"}),
    ({"actor": BOSS}, {"QuotaChanged", "PrivilegesChanged", "UserAdded"}),
    ({"type": "QuotaChanged"}, {"QuotaChanged"}),
    ({"actor": BOSS, "type": "UserAdded", "email": USER}, {"UserAdded"}),
    ({"since": "2026-03-04T05:06:10Z"}, {"LoginRefused", "OfAnotherModule%s"}),
    ({"since": "2026-03-04T06:06:10+01:00", "until": "2026-03-04T05:06:11Z"}, {"LoginRefused"}),
    ({"since": "2026-03-05"}, set()),
    ({"until": "2026-03-03"}, set()),
    ({"since": "2026-03-04", "until": "2026-03-04", "type": "QuotaChanged"}, {"QuotaChanged"}),
    ({"email": "nul \0"}, set()),
]


@pytest.mark.parametrize(("query", "types"), FILTERS)
async def test_filters(box: Box, query: dict[str, str], types: set[str]) -> None:
    """Page, API and file show what was asked for, all the same."""
    await fill(box)
    found = (await box.api.get(API, **query)).json()
    # The log-in of the caller is an entry too.
    assert {entry["type"] for entry in found} - {"LoggedIn"} == types
    lines = (await box.api.get(EXPORT, format="jsonl", **query)).text.splitlines()
    assert [json.loads(line) for line in lines] == found
    text = words(await page(box.api, **query))
    assert ("There is no such entry." in text) == (not found)


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-03-04T05:06:07"},
        {"until": "9999-12-31"},
        {"since": "٢٠٢٦-٠٣-٠٤"},
        {"since": "0001-01-01T00:00:00+23:59"},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "MjAyNi0wMS0wMSA1"},
        {"limit": "0"},
        {"limit": "1001"},
    ],
)
async def test_what_is_not_possible(box: Box, query: dict[str, str]) -> None:
    """What is no time, no cursor and no limit is refused with what to do instead."""
    answer = await box.api.get(API, **query)
    assert answer.status == 400, answer.text
    assert re.search("Give the time|cursor|limit", answer.text)


async def test_paging(box: Box, admin: Client) -> None:
    """Pages together are the whole trail, each entry once, also while others come; the page leads to older ones."""
    await fill(box, 120)
    client = box.api
    whole = (await client.get(API, limit="1000")).json()
    await box.runtime.state.write(
        audit_chain.append,
        [Entry.made("New", email="", actor=None, via="", ip=None, detail={})],
    )
    found: list[Any] = []
    query: dict[str, str] = {
        "limit": "50",
        "cursor": cursor((NOW + timedelta(days=9), 0)),
        "until": "2026-03-09",
    }
    while True:
        answer = await client.get(API, **query)
        found += answer.json()
        link = re.fullmatch(r'<([^>]*)>; rel="next"', answer.headers.get("Link", ""))
        if link is None:
            break
        query = {name: values[0] for name, values in parse_qs(urlsplit(link[1]).query).items()}
    assert [entry["seq"] for entry in found] == [
        entry["seq"] for entry in whole if entry["time"] < "2026-03-09"
    ]
    answer = await page(admin, type="PasswordChanged")
    older = re.search(r'rel="next" href="([^"]*)"', answer.text)
    assert older is not None
    again = await page(admin, older[1].replace("&amp;", "&"))
    assert "user119@" in words(answer)
    assert "user69@" in words(again)
    assert "user119@" not in words(again)
    assert "Newest entries" in words(again)


async def test_export(box: Box) -> None:
    """A spreadsheet runs nothing of what is in the file, and every entry of many is in it."""
    await fill(box, 2500)
    answer = await box.api.get(EXPORT)
    assert answer.type == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="audit-[0-9-]+\.csv"', answer.headers["Content-Disposition"])
    rows = list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))
    assert len(rows) == 2506
    assert {row["actor"] for row in rows} == {"", BOSS, "'=1+1"}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    head = await box.api.fetch("HEAD", EXPORT)
    assert (head.status, head.body) == (200, b"")
    assert (await box.api.get(EXPORT, format="xml")).status == 400


async def test_nobody_may_change_it(box: Box, admin: Client) -> None:
    """There is no verb that adds, changes or deletes an entry."""
    for path in (PAGE, EXPORT, API):
        for verb in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await admin.fetch(verb, path)).status == 405


@pytest.mark.parametrize("path", [PAGE, EXPORT, API])
async def test_who_may_read_it(box: Box, admin: Client, user: str, path: str) -> None:
    """Only administrators see the trail; a browser that is not logged in is led to the log-in page."""
    assert (await box.nobody.get(path)).status in (303, 401)
    assert (await box.basic(USER).get(path)).status == 401
    assert (await box.basic(BOSS, "wrong password").get(path)).status == 401
    assert (await admin.get(path)).status == 200
    if path == PAGE:
        answer = await as_browser(box.nobody).get(path)
        assert (answer.status, urlsplit(answer.headers["Location"]).path) == (303, "/admin/mailusers/login")


class Reader:
    """A host whose caller may see users, and nothing else."""

    login_url = "/login"

    def identify(self, handler: object) -> Identity:
        """Return somebody."""
        return Identity("reader", "token", ip="forged")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow to look."""
        return permission == "users:read"


async def test_a_host_decides(boxes: Boxes) -> None:
    """Who may see users may not see the trail unless the host says so, and the page does not lead there."""
    box = await boxes.open(host=Reader())
    assert (await box.nobody.get(API)).status == 401
    users = await as_browser(box.nobody).get("/admin/users")
    assert users.status == 200
    assert PAGE not in users.text
    # The address is what we see, whatever a host says.
    assert {entry.ip for entry in await box.trail()} == {"127.0.0.1"}


def test_cursors_and_times() -> None:
    """A cursor leads back to its position, and a day that ends a period is in it whole."""
    position = (NOW, 123)
    assert parse_cursor(cursor(position)) == position
    assert parse_time("2026-01-31", end=True) == datetime(2026, 2, 1, tzinfo=UTC)
    assert parse_time(
        f"2026-01-31T01:00:00{urlencode({'': '+01:00'})[1:].replace('%2B', ' ').replace('%3A', ':')}"
    )

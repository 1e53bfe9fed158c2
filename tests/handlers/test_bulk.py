"""Several users at once: a preview that tells the truth, one result for each, and rows that do not stop one another."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.handlers import bulk
from mailusers_plugin.models import ADMIN
from tests.handlers.browsing import HOSTILE, as_script, told, words
from tests.support import BOSS, CONSOLE, USER, Answer, Box, Client

ARCHIVE = "/admin/users/bulk/archive"
QUOTA = "/admin/users/bulk/quota"
RUN = "form#mu-bulk-run"
FORM = "application/x-www-form-urlencoded"


async def send(client: Client, path: str, emails: list[str], **more: str) -> Answer:
    """Send a form with several users: as the boxes of the list are sent, and in one field where they are very many."""
    boxes = [("email", email) for email in emails]
    pairs = [*(boxes if len(boxes) < 300 else [("emails", "\r\n".join(emails))]), *more.items()]
    return await client.send(path, urlencode(pairs), FORM)


def lines(answer: Answer) -> dict[str, tuple[str, str]]:
    """Return what stands beside each address: its kind and its text."""
    found = re.findall(
        r'<li class="mu-([a-z-]+)"><span[^>]*>(.*?)</span> <span>(.*?)</span></li>', answer.text, re.DOTALL
    )
    return {html.unescape(email): (kind, html.unescape(text).strip()) for kind, email, text in found}


def chosen(answer: Answer) -> list[str]:
    """Return the users for whom the form goes on."""
    found = re.search(r'type="hidden" name="emails" value="([^"]*)"', answer.text)
    return html.unescape(found[1]).split("\n") if found else []


async def test_archiving(box: Box, browser: Client) -> None:
    """The preview says who is left out and why; then the others are archived, and each has a result."""
    await box.add("a@example.com")
    await box.add("old@example.com")
    await box.service.archive(CONSOLE, "old@example.com")
    await box.runtime.directory.catch_up(5)
    everybody = ["a@example.com", USER, BOSS, "old@example.com", "nobody@example.com"]
    preview = await send(browser, ARCHIVE, everybody)
    assert preview.status == 200
    assert await box.find(USER) is not None
    assert {email: kind for email, (kind, _) in lines(preview).items()} == {
        "a@example.com": "will",
        USER: "will",
        BOSS: "left-out",
        "old@example.com": "left-out",
        "nobody@example.com": "left-out",
    }
    for email, reason in (
        (BOSS, "This is your own account."),
        ("old@example.com", "Is archived already."),
        ("nobody@example.com", "There is no such user any more."),
    ):
        assert reason in lines(preview)[email][1]
    assert "This will be done to 2 users. 3 users are left out." in words(preview)
    assert chosen(preview) == ["a@example.com", USER]
    result = await send(browser, ARCHIVE, chosen(preview), do="yes")
    assert {kind for kind, _ in lines(result).values()} == {"done"}
    assert "2 of 2 done." in words(result)
    assert await box.emails() == [BOSS]


async def test_administrators_together(box: Box, admin: Client) -> None:
    """Where the choice holds all administrators, one is left out, in the preview and when it is done."""
    for number in range(3):
        await box.add(f"admin{number}@example.com", (ADMIN,))
    everybody = [BOSS, *(f"admin{number}@example.com" for number in range(3))]
    by_key = box.api.sending(Accept="text/html")
    preview = await send(by_key, ARCHIVE, everybody)
    kinds = [kind for kind, _ in lines(preview).values()]
    assert kinds == ["will", "will", "will", "left-out"]
    assert "This is the last administrator." in lines(preview)["admin2@example.com"][1]
    result = await send(by_key, ARCHIVE, everybody, do="yes")
    assert sorted(kind for kind, _ in lines(result).values()) == ["done", "done", "done", "failed"]
    assert len(await box.emails()) == 1


async def test_quotas(box: Box, browser: Client) -> None:
    """First the quota is asked for, then shown beside the old one, then set."""
    await box.add("same@example.com", quota="5G")
    await box.add("full@example.com")
    box.make_mailbox("full@example.com")
    (box.maildir("full@example.com") / "maildirsize").write_text(f"0S\n{6 * 2**30} 3\n")
    box.runtime.refresh_usage()
    everybody = [USER, "same@example.com", "full@example.com"]
    asked = await send(browser, QUOTA, everybody)
    assert "The quota of 3 users is to be set." in words(asked)
    assert chosen(asked) == everybody
    wrong = await send(browser, QUOTA, everybody, quota_number="1.5", quota_unit="G")
    assert wrong.status == 400
    assert 'id="mu-quota-fault"' in wrong.text
    preview = await send(browser, QUOTA, everybody, quota_number="5", quota_unit="G")
    assert lines(preview)[USER] == ("will", "unlimited → 5G")
    assert lines(preview)["same@example.com"] == ("left-out", "Left out: Has this quota already.")
    assert "The mailbox holds 6.0G and will get no more mail." in lines(preview)["full@example.com"][1]
    done = await send(browser, QUOTA, chosen(preview), quota_number="5", quota_unit="G", do="yes")
    assert {kind for kind, _ in lines(done).values()} == {"done"}
    for email in everybody:
        account = await box.find(email)
        assert account is not None
        assert account.quota == "5G"


async def test_one_that_fails(box: Box, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an error of ours nor a surprise keeps the others from being done; each stands in its line."""
    for number in range(4):
        await box.add(f"u{number}@example.com")
    set_quota = box.service.set_quota

    async def sometimes(actor: Any, email: str, quota: str) -> Any:
        if email.startswith("u1"):
            raise UnavailableError("The account database is busy.")
        if email.startswith("u2"):
            raise RuntimeError("a secret detail")
        return await set_quota(actor, email, quota)

    monkeypatch.setattr(box.service, "set_quota", sometimes)
    everybody = [f"u{number}@example.com" for number in range(4)]
    result = await send(browser, QUOTA, everybody, quota="1G", do="yes")
    assert [kind for kind, _ in lines(result).values()] == ["done", "failed", "failed", "done"]
    assert lines(result)["u1@example.com"][1] == "Not done: The account database is busy."
    assert "secret" not in result.text
    assert "4 of 4 done. 2 failed." in words(result)


async def test_progress(box: Box, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets some results at a time and a form for the rest; nobody is done twice or forgotten."""
    everybody = [f"u{number:02}@example.com" for number in range(25)]
    for email in everybody:
        box.sql("INSERT INTO users (email, password, extra) VALUES (?, 'x', '')", email)
    monkeypatch.setattr(bulk, "_AT_ONCE", 10)
    monkeypatch.setattr(bulk, "_SLICE_SECONDS", 0.0)
    form = {"quota": "1G", "do": "yes"}
    first = await send(as_script(browser), QUOTA, everybody, **form)
    assert "<dialog" in first.text
    assert "10 of 25 done." in words(first)
    assert "HX-Trigger" not in first.headers
    seen = [*lines(first)]
    answer = first
    for finished in (20, 25):
        rest = chosen(answer)
        before = re.search(r'name="finished" value="(\d+)"', answer.text)
        assert before is not None
        answer = await send(as_script(browser, RUN), QUOTA, rest, finished=before[1], failed="0", **form)
        assert "<dialog" not in answer.text
        assert answer.headers["HX-Retarget"] == "#mu-bulk-run"
        assert f"{finished} of 25 done." in words(answer)
        seen += lines(answer)
    assert seen == everybody
    assert chosen(answer) == []
    assert told(answer) == {"mailusers:refresh": {}}
    assert box.sql("SELECT count(*) FROM users WHERE quota = '1G'") == [(25,)]


async def test_without_scripts_it_is_done_at_once(box: Box, browser: Client) -> None:
    """A browser without scripts gets all results in one answer, also of many."""
    everybody = [f"u{number:03}@example.com" for number in range(120)]
    for email in everybody:
        box.sql("INSERT INTO users (email, password, extra) VALUES (?, 'x', '')", email)
    result = await send(browser, ARCHIVE, everybody, do="yes")
    assert "120 of 120 done." in words(result)
    assert await box.emails() == [BOSS, USER]


@pytest.mark.parametrize(
    ("emails", "message"),
    [
        ([], "Choose users first"),
        ([f"u{number}@example.com" for number in range(bulk.MAX_USERS + 1)], "at most 1,000 users at once"),
        (["a\0b@example.com"], "Invalid email address."),
    ],
)
async def test_impossible_choices(browser: Client, emails: list[str], message: str) -> None:
    """Nobody, too many, and what is no address are refused in words, as a page and as a dialog."""
    for path in (ARCHIVE, QUOTA):
        for client in (browser, as_script(browser)):
            answer = await send(client, path, emails, do="yes", quota="1G")
            assert answer.status == 400
            assert message in words(answer)


async def test_hostile_values(box: Box, browser: Client) -> None:
    """What other programs wrote is shown as text."""
    email = f"{HOSTILE}@example.com"
    box.sql("INSERT INTO users (email, password, quota, extra) VALUES (?, 'x', ?, '')", email, HOSTILE)
    await box.runtime.directory.catch_up(5)
    preview = await send(browser, QUOTA, [email], quota="1G")
    assert HOSTILE not in preview.text
    assert "onerror" in preview.text
    assert chosen(preview) == [email]
    result = await browser.post(ARCHIVE, emails=f"{email}\r\n{USER}", do="yes")
    assert HOSTILE not in result.text
    assert [kind for kind, _ in lines(result).values()] == ["done", "done"]


async def test_a_field_that_is_given_twice(box: Box, browser: Client) -> None:
    """A form that cannot be read is answered in words like any other mistake."""
    body = urlencode([("email", USER), ("back", "q=a"), ("back", "q=b")])
    answer = await browser.send(QUOTA, body, FORM)
    assert (answer.status, answer.type) == (400, "text/html; charset=utf-8")
    assert "The parameter back was given more than once." in words(answer)

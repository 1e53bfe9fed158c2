"""The directory's queries on every database: pages by position, orders, selections, counts, the feed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.models import ADMIN, Counts, Entry, Selection, Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import directory, directory_lines, usage
from mailusers_plugin.store.directory_lines import active_line, archived_line
from tests.support import BOSS

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ORDERS = [sign + name for name in directory.ORDERS for sign in ("", "-")]
EVERYTHING = Selection()


def sized(box_bytes: int) -> Usage:
    """A mailbox of some size."""
    return Usage(box_bytes, 3, 0, NOW)


def people() -> dict[str, directory_lines.Line | None]:
    """Users with equal and different, known and unknown numbers, in several domains."""
    found: dict[str, directory_lines.Line | None] = {BOSS: active_line((BOSS, ADMIN, "0"), sized(5))}
    for number in range(23):
        email = f"user{number:02}@example.{'com' if number % 3 else 'org'}"
        size = None if number % 5 == 0 else sized(number % 4 * 2**20)
        if number % 7 == 0:
            found[email] = archived_line(email, None, size)
        else:
            found[email] = active_line((email, "", ("2M", "0", "4M", "no quota")[number % 4]), size)
    return found


@pytest.fixture
def filled(runtime: Runtime) -> Runtime:
    """A box whose directory holds them."""
    runtime.state.write_now(directory_lines.lock)
    runtime.state.write_now(directory_lines.replace, people())
    return runtime


def walk(runtime: Runtime, selection: Selection, sort: str, limit: int) -> list[list[Entry]]:
    """All pages, from the first to the last; going back from each leads to the one before."""
    pages: list[list[Entry]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = runtime.state.read_now(directory.page, selection, sort, cursor, limit)
        if pages:
            assert page.previous is not None
            back = runtime.state.read_now(directory.page, selection, sort, page.previous, limit)
            assert list(back.entries) == pages[-1]
        else:
            assert page.previous is None
        pages.append(list(page.entries))
        cursor = page.next
    return pages


async def test_pages_show_everybody_once(filled: Runtime) -> None:
    """In every order the pages together are everybody, sorted, each once; backward likewise."""
    for sort in ORDERS:
        pages = walk(filled, EVERYTHING, sort, 5)
        assert [len(page) for page in pages] == [5, 5, 5, 5, 4]
        emails = [entry.email for page in pages for entry in page]
        assert sorted(emails) == sorted(people())
        turned = (
            [e.email for p in walk(filled, EVERYTHING, "-" + sort, 7) for e in p] if sort[0] != "-" else []
        )
        assert not turned or turned == emails[::-1]


async def test_orders(filled: Runtime) -> None:
    """By address it goes by domain, the archived behind the active; what is not known is smallest, no limit largest."""
    lines = people()
    for sort, key in (
        ("email", lambda e: (lines[e]["domain"], lines[e]["archived"], e)),  # type: ignore[index]
        ("size", lambda e: (lines[e]["box_bytes"], e)),  # type: ignore[index]
        ("used", lambda e: (lines[e]["percent"], e)),  # type: ignore[index]
        ("quota", lambda e: (lines[e]["limit_bytes"], e)),  # type: ignore[index]
    ):
        found = [entry.email for page in walk(filled, EVERYTHING, sort, 50) for entry in page]
        assert found == sorted(lines, key=key), sort
    last = walk(filled, EVERYTHING, "quota", 50)[0][-1]
    assert last.quota == "0"
    assert walk(filled, EVERYTHING, "size", 50)[0][0].usage is None


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(query="USER1"), lambda e, line: "user1" in e),
        (Selection(query="1@example.o"), lambda e, line: "1@example.o" in e),
        (Selection(query="%"), lambda e, line: False),
        (Selection(query="_"), lambda e, line: False),
        (Selection(domain="example.org"), lambda e, line: e.endswith("@example.org")),
        (Selection(status="active"), lambda e, line: not line["archived"]),
        (Selection(status="inactive"), lambda e, line: line["archived"]),
        (Selection(privilege=ADMIN), lambda e, line: line["privileged"] == 2),
        (Selection(nearly_full=True), lambda e, line: line["percent"] >= 80),
        (
            Selection(query="user", domain="example.com", status="active", nearly_full=True),
            lambda e, line: "com" in e and not line["archived"] and line["percent"] >= 80,
        ),
    ],
    ids=[
        "case",
        "across",
        "percent",
        "underscore",
        "domain",
        "active",
        "archived",
        "admin",
        "full",
        "together",
    ],
)
async def test_selections(filled: Runtime, selection: Selection, wanted: object) -> None:
    """A selection has what it says, in every order, and the count says as many."""
    assert callable(wanted)
    expected = sorted(email for email, line in people().items() if wanted(email, line))
    for sort in ORDERS:
        found = [entry for page in walk(filled, selection, sort, 4) for entry in page]
        assert sorted(entry.email for entry in found) == expected
    counts = filled.state.read_now(directory.count, selection)
    _, together = filled.state.read_now(directory.page_and_count, selection, "size", "", 4)
    assert together == counts
    archived = sum(1 for email in expected if (people()[email] or {})["archived"])
    assert (counts.active, counts.archived) == (len(expected) - archived, archived)


async def test_a_text_that_many_have(filled: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether few or many addresses match, the answer is the same."""
    few = walk(filled, Selection(query="user0"), "-size", 4)
    monkeypatch.setattr(directory, "FEW", 2)
    assert walk(filled, Selection(query="user0"), "-size", 4) == few != []


async def test_people_type_a_domain_as_it_is_shown(filled: Runtime) -> None:
    """An internationalised domain is found both ways."""
    email = "anna@xn--mnchen-3ya.example.com"
    filled.state.write_now(directory_lines.replace, {email: active_line((email, "", "0"), None)})
    for query in ("anna@münch", "MÜNCHEN", "xn--mn", "anna@xn"):
        (page,) = walk(filled, Selection(query=query), "email", 50)
        assert [entry.email for entry in page] == [email], query


async def test_counts(filled: Runtime) -> None:
    """Domains are counted with their sizes, the one with most users first."""
    (com, org) = filled.state.read_now(directory.domains, "", 10)
    lines = [line for line in people().values() if line is not None]
    for name, counts in (com, org):
        here = [line for line in lines if line["domain"] == name]
        archived = sum(line["archived"] for line in here)
        known = sum(max(line["box_bytes"], 0) for line in here)
        assert counts == Counts(len(here) - archived, archived, known)
    assert (com[0], org[0]) == ("example.com", "example.org")
    assert filled.state.read_now(directory.domains, "org", 10) == [org]
    assert filled.state.read_now(directory.domain_counts, ("example.org", "none")) == {org[0]: org[1]}
    assert filled.state.read_now(directory.administrators) == 1


async def test_the_fullest_are_those_whose_size_is_known(filled: Runtime) -> None:
    """The largest mailboxes come first."""
    found = filled.state.read_now(directory.fullest, 3)
    assert [entry.usage and entry.usage.box_bytes for entry in found] == [3 * 2**20] * 3


async def test_what_is_no_cursor_is_refused(filled: Runtime) -> None:
    """A cursor of another order, or none at all, is an error that says what to do."""
    page = filled.state.read_now(directory.page, EVERYTHING, "email", "", 5)
    assert page.next
    large = base64.urlsafe_b64encode(json.dumps([False, "box_bytes", 2**64 - 1, "a"]).encode()).decode()
    forged = base64.urlsafe_b64encode(json.dumps([False, "domain", 1, 2, 3]).encode()).decode()
    for sort, cursor in (
        ("size", page.next),
        ("size", large),
        ("email", "x"),
        ("email", "é"),
        ("email", forged),
        ("email", "bnVsbA"),
    ):
        with pytest.raises(InvalidInputError, match="Begin at the first page"):
            filled.state.read_now(directory.page, EVERYTHING, sort, cursor, 5)
    with pytest.raises(InvalidInputError, match="sorted by"):
        filled.state.read_now(directory.page, EVERYTHING, "password", "", 5)


async def test_a_page_whose_lines_are_gone(filled: Runtime) -> None:
    """Where nothing is left behind a position the first page comes, not an empty one."""
    last = filled.state.read_now(directory.page, EVERYTHING, "-email", "", 5)
    filled.state.write_now(directory_lines.replace, dict.fromkeys(entry.email for entry in last.entries))
    page = filled.state.read_now(directory.page, EVERYTHING, "-email", last.previous or last.next or "", 50)
    assert len(page.entries) == len(people()) - 5


async def test_the_feed(runtime: Runtime) -> None:
    """Each line that differs is told of once, in order; a size by itself is told apart; the same again is no news."""
    state, email = runtime.state, "a@example.com"
    new = active_line((email, "", "1M"), None)
    full = active_line((email, "", "1M"), sized(2**20))
    again = active_line((email, "", "1M"), Usage(2**20, 3, 0, datetime.now(UTC)))
    quota = active_line((email, "", "2M"), sized(2**20))
    for line, told in ((new, 1), (new, 0), (full, 1), (again, 0), (quota, 1), (None, 1), (None, 0)):
        assert state.write_now(directory_lines.replace, {email: line}) == told
    found = state.read_now(directory_lines.changes, 0, 10)
    assert found is not None
    assert [(change.seq, change.kind) for change in found] == [
        (1, "line"),
        (2, "size"),
        (3, "line"),
        (4, "line"),
    ]
    assert state.read_now(directory_lines.newest_change) == 4
    assert state.read_now(directory_lines.changes, 4, 10) == []


async def test_what_the_feed_forgot(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for what is not kept any more, or for what never was, is told to read everything anew."""
    monkeypatch.setattr(directory_lines, "KEPT", 3)
    for number in range(6):
        email = f"u{number}@example.com"
        runtime.state.write_now(directory_lines.replace, {email: active_line((email, "", "0"), None)})
    assert runtime.state.read_now(directory_lines.changes, 2, 10) is None
    found = runtime.state.read_now(directory_lines.changes, 3, 10)
    assert found is not None
    assert [change.seq for change in found] == [4, 5, 6]
    assert runtime.state.read_now(directory_lines.changes, 7, 10) is None


async def test_numbers_beyond_all_bounds(runtime: Runtime) -> None:
    """What other programs stored does not keep the list from being made."""
    email = "huge@example.com"
    line = active_line((email, "", "9999999999999999999T"), Usage(10**30, 10**30, 0, NOW))
    runtime.state.write_now(directory_lines.replace, {email: line})
    runtime.state.write_now(usage.replace, {})
    (page,) = walk(runtime, EVERYTHING, "-used", 5)
    assert page[0].quota == "9999999999999999999T"


NUL = "user\0"


@pytest.mark.parametrize(
    "selection", [Selection(query=NUL), Selection(domain=NUL), Selection(privilege=NUL)], ids=repr
)
async def test_a_text_that_no_database_holds(filled: Runtime, selection: Selection) -> None:
    """What is looked for with a NUL in it is not there, also where the database would take it for an error."""
    assert filled.state.read_now(directory.page, selection, "email", "", 5).entries == ()
    assert filled.state.read_now(directory.count, selection) == Counts(0, 0, 0)
    assert filled.state.read_now(directory.entries, [NUL, BOSS]).keys() == {BOSS}
    assert filled.state.read_now(directory.domains, NUL, 5) == []
    cursor = base64.urlsafe_b64encode(json.dumps([False, "domain", NUL, 0, "x"]).encode()).decode()
    with pytest.raises(InvalidInputError):
        filled.state.read_now(directory.page, EVERYTHING, "email", cursor, 5)

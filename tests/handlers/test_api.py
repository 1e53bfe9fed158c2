"""The endpoints of the contract: what each answers when all is well."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailusers_plugin.models import ADMIN
from tests.support import BOSS, PASSWORD, USER, Box, Boxes, Client

PLAIN = "text/plain; charset=utf-8"
NEW = "new@example.com"


async def test_list_as_text(box: Box, admin: Client) -> None:
    """The plain list has the active addresses only, one a line, by domain and then by address."""
    for email in ("z@a.example.com", "a@example.org", "b@a.example.com", "a@example.com"):
        await box.add(email)
    box.make_mailbox("gone@example.com")
    answer = await admin.get("/admin/mail/users")
    assert (answer.status, answer.type) == (200, PLAIN)
    assert answer.text == (
        "b@a.example.com\nz@a.example.com\na@example.com\nboss@example.com\na@example.org\n"
    )


async def test_list_of_nobody_is_empty(box: Box) -> None:
    """A box without users has an empty list in both forms."""
    assert (await box.api.get("/admin/mail/users")).text == ""
    assert (await box.api.get("/admin/mail/users", format="json")).json() == []


@pytest.mark.parametrize("format", ["text", "JSON", ""])
async def test_list_in_an_unknown_format_is_text(box: Box, admin: Client, format: str) -> None:
    """Only ``format=json`` asks for JSON."""
    assert (await admin.get("/admin/mail/users", format=format)).text == f"{BOSS}\n"


async def test_list_as_json(box: Box, admin: Client) -> None:
    """The JSON list groups by domain: active users first, then archived ones, each by address."""
    await box.add("b@example.com", quota="5G")
    await box.add("a@example.org", quota="500M")
    box.make_mailbox("aaa@example.com")
    await asyncio.to_thread(box.runtime.refresh_usage)
    answer = await admin.get("/admin/mail/users", format="json")
    assert (answer.status, answer.type) == (200, "application/json")
    domains = answer.json()
    assert [domain["domain"] for domain in domains] == ["example.com", "example.org"]
    assert [(user["email"], user["status"]) for user in domains[0]["users"]] == [
        ("b@example.com", "active"),
        (BOSS, "active"),
        ("aaa@example.com", "inactive"),
    ]
    assert set(domains[0]) == {"domain", "users"}


def _subset(value: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value[name] for name in names}


async def test_active_user_object(box: Box, admin: Client) -> None:
    """An active user has the contract's keys; what is not known yet is a question mark."""
    await box.add(USER, quota="5G")
    ((boss, user),) = [d["users"] for d in (await admin.get("/admin/mail/users", format="json")).json()]
    wanted = {"email", "privileges", "status", "quota", "box_quota", "box_size", "percent"}
    assert _subset(boss, wanted) == {
        "email": BOSS,
        "privileges": ["admin"],
        "status": "active",
        "quota": "0",
        "box_quota": 0,
        "box_size": "?",
        "percent": "",
    }
    assert _subset(user, wanted) == {
        "email": USER,
        "privileges": [],
        "status": "active",
        "quota": "5G",
        "box_quota": 5 * 2**30,
        "box_size": "?",
        "percent": "?",
    }


async def test_user_object_with_sizes(box: Box, admin: Client) -> None:
    """Sizes are Dovecot's, for people: a size with its unit, and a padded percentage."""
    await box.add(USER, quota="500M")
    (box.make_mailbox(USER) / "maildirsize").write_text("524288000S\n62914560 12\n")
    box.runtime.refresh_usage()
    (users,) = [d["users"] for d in (await admin.get("/admin/mail/users", format="json")).json()]
    user = users[1]
    assert user["box_size"] == "60.0M"
    assert user["box_size_bytes"] == 62914560
    assert user["percent"] == " 12%"


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_quota_of_another_program_is_shown(box: Box, admin: Client, user: str) -> None:
    """A quota column that is not a quota does not break the list: its size in bytes is a question mark."""
    box.sql("UPDATE users SET quota = 'lots' WHERE email = ?", USER)
    (users,) = [d["users"] for d in (await admin.get("/admin/mail/users", format="json")).json()]
    assert (users[1]["quota"], users[1]["box_quota"], users[1]["percent"]) == ("lots", "?", "?")


async def test_archived_user_object(box: Box, admin: Client, user: str) -> None:
    """An archived user has no privileges, the directory of the mail, the last quota, and who did it."""
    box.make_mailbox(USER)
    await admin.post("/admin/mail/users/quota", email=USER, quota="1G")
    await admin.post("/admin/mail/users/privileges/add", email=USER, privilege="admin")
    await admin.post("/admin/mail/users/remove", email=USER)
    (users,) = [d["users"] for d in (await admin.get("/admin/mail/users", format="json")).json()]
    archived = users[1]
    assert archived["archived_at"].endswith("+00:00")
    names = {
        "email",
        "privileges",
        "status",
        "mailbox",
        "quota",
        "box_quota",
        "box_size",
        "percent",
        "archived_by",
    }
    assert _subset(archived, names) == {
        "email": USER,
        "privileges": [],
        "status": "inactive",
        "mailbox": str(box.maildir(USER)),
        "quota": "1G",
        "box_quota": 2**30,
        "box_size": "?",
        "percent": "?",
        "archived_by": BOSS,
    }


async def test_mailbox_of_an_older_time_is_archived(box: Box, admin: Client) -> None:
    """A mailbox on disk without a user is an archived account of which little is known."""
    box.make_mailbox("old@example.net")
    await asyncio.to_thread(box.runtime.refresh_usage)
    domains = (await admin.get("/admin/mail/users", format="json")).json()
    (archived,) = domains[1]["users"]
    assert (archived["status"], archived["quota"], archived["archived_at"]) == ("inactive", "?", None)


async def test_international_domain_is_shown_as_people_write_it(box: Box, admin: Client) -> None:
    """A domain is stored in ASCII and shown in its own script; addresses stay as they are."""
    await box.add("a@xn--bcher-kva.example.com")
    domains = (await admin.get("/admin/mail/users", format="json")).json()
    assert domains[1]["domain"] == "bücher.example.com"
    assert domains[1]["users"][0]["email"] == "a@xn--bcher-kva.example.com"


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_long_list_arrives_whole(box: Box, admin: Client) -> None:
    """A list of many pieces is valid JSON and complete."""
    box.insert_users([f"u{number:04}@d{number % 30:02}.example.com" for number in range(2000)])
    domains = (await admin.get("/admin/mail/users", format="json")).json()
    assert len(domains) == 31
    assert sum(len(domain["users"]) for domain in domains) == 2001


ADD_FORMS: list[tuple[dict[str, str], tuple[str, ...], str]] = [
    ({}, (), "0"),
    ({"privileges": "admin"}, ("admin",), "0"),
    ({"privilege": "admin"}, ("admin",), "0"),
    ({"privilege": ""}, (), "0"),
    ({"privileges": "", "quota": "500m"}, (), "500M"),
    ({"quota": "5G"}, (), "5G"),
    ({"quota": "0G"}, (), "0"),
    ({"quota": "007"}, (), "7"),
    ({"quota": "9223372036854775807"}, (), "9223372036854775807"),
]


@pytest.mark.parametrize(("form", "privileges", "quota"), ADD_FORMS)
async def test_add(
    box: Box, admin: Client, form: dict[str, str], privileges: tuple[str, ...], quota: str
) -> None:
    """Adding answers exactly so, and stores privileges and quota under either of their names."""
    answer = await admin.post("/admin/mail/users/add", email=NEW, password=PASSWORD, **form)
    assert (answer.status, answer.type, answer.text) == (200, PLAIN, "mail user added\n")
    account = await box.find(NEW)
    assert account is not None
    assert (account.privileges, account.quota) == (privileges, quota)


async def test_added_row_is_what_other_programs_expect(boxes: Boxes) -> None:
    """Privileges are stored one a line, the password with its scheme; ``extra`` stays empty."""
    box = await boxes.open(extra_privileges=("billing",))
    form = {"email": NEW, "password": PASSWORD, "privileges": "admin\nbilling"}
    assert (await box.api.post("/admin/mail/users/add", **form)).status == 200
    ((email, password, extra, privileges, quota),) = box.sql(
        "SELECT email, password, extra, privileges, quota FROM users"
    )
    assert (email, extra, privileges, quota) == (NEW, None, "admin\nbilling", "0")
    assert password.startswith("{SHA512-CRYPT}$6$")


async def test_remove_archives(box: Box, admin: Client, user: str) -> None:
    """Removing answers exactly so; the account goes, the mailbox stays."""
    maildir = box.make_mailbox(USER, "a letter")
    answer = await admin.post("/admin/mail/users/remove", email=USER)
    assert (answer.status, answer.type, answer.text) == (200, PLAIN, "mail user removed\n")
    assert await box.emails() == [BOSS]
    assert (maildir / "cur" / "0.message").read_text() == "a letter"


async def test_purge(box: Box, admin: Client, user: str) -> None:
    """Purging answers exactly so, and nothing of the account is left."""
    maildir = box.make_mailbox(USER, "a letter")
    await admin.post("/admin/mail/users/remove", email=USER)
    answer = await admin.post("/admin/mail/users/purge", email=USER, confirm=USER)
    assert (answer.status, answer.type, answer.text) == (200, PLAIN, "mail user purged\n")
    assert not maildir.exists()
    assert USER not in (await admin.get("/admin/mail/users", format="json")).text


async def test_password(box: Box, admin: Client, user: str) -> None:
    """A password that was set is the one that logs in, and the old one does no longer."""
    answer = await admin.post("/admin/mail/users/password", email=USER, password="another password")
    assert (answer.status, answer.type, answer.text) == (200, PLAIN, "OK")
    login = await box.basic(USER, "another password").post("/admin/login")
    assert login.json()["status"] == "ok"
    assert (await box.basic(USER, PASSWORD).post("/admin/login")).json()["status"] == "invalid"


async def test_privileges(boxes: Boxes) -> None:
    """Privileges are listed one a line, added without repeats, and removed one by one."""
    box = await boxes.open(extra_privileges=("billing", "support"))
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    admin = box.basic(BOSS)
    path = "/admin/mail/users/privileges"

    async def listed() -> str:
        answer = await admin.get(path, email=USER)
        assert (answer.status, answer.type) == (200, PLAIN)
        return answer.text

    assert await listed() == ""
    steps = [
        ("add", {"privilege": "admin"}, "admin"),
        ("add", {"privileges": "admin"}, "admin"),
        ("add", {"privileges": "billing\nsupport"}, "admin\nbilling\nsupport"),
        ("remove", {"privilege": "billing"}, "admin\nsupport"),
        ("remove", {"privileges": "billing"}, "admin\nsupport"),
        ("remove", {}, "support"),
        ("remove", {}, "support"),
    ]
    for verb, form, left in steps:
        answer = await admin.post(f"{path}/{verb}", email=USER, **form)
        assert (answer.status, answer.type, answer.text) == (200, PLAIN, "OK")
        assert await listed() == left


async def test_privilege_of_another_program_can_be_taken_away(box: Box, admin: Client, user: str) -> None:
    """A stored privilege that does not exist here is listed and can be removed."""
    box.sql("UPDATE users SET privileges = 'old' WHERE email = ?", USER)
    assert (await admin.get("/admin/mail/users/privileges", email=USER)).text == "old"
    answer = await admin.post("/admin/mail/users/privileges/remove", email=USER, privilege="old")
    assert answer.text == "OK"
    assert (await admin.get("/admin/mail/users/privileges", email=USER)).text == ""


async def test_quota(box: Box, admin: Client, user: str) -> None:
    """A quota that was set is answered as JSON, or bare where ``text=1`` asks for that."""
    answer = await admin.post("/admin/mail/users/quota", email=USER, quota=" 5g ")
    assert (answer.status, answer.type, answer.text) == (200, PLAIN, "OK")
    answer = await admin.get("/admin/mail/users/quota", email=USER)
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json() == {"email": USER, "quota": "5G"}
    answer = await admin.get("/admin/mail/users/quota", email=USER, text="1")
    assert (answer.type, answer.text) == (PLAIN, "5G")


async def test_unlimited_quota_is_shown_as_nought(box: Box, admin: Client, user: str) -> None:
    """``0G`` is unlimited, whoever wrote it."""
    box.sql("UPDATE users SET quota = '0G' WHERE email = ?", USER)
    assert (await admin.get("/admin/mail/users/quota", email=USER, text="1")).text == "0"
    await admin.post("/admin/mail/users/quota", email=USER, quota="0M")
    assert box.sql("SELECT quota FROM users WHERE email = ?", USER) == [("0",)]


async def test_default_quota(boxes: Boxes) -> None:
    """A user added without a quota gets the default one; an explicit 0 stays unlimited."""
    box = await boxes.open(default_quota="2g")
    await box.api.post("/admin/mail/users/add", email=USER, password=PASSWORD)
    await box.api.post("/admin/mail/users/add", email=NEW, password=PASSWORD, quota="0")
    assert box.sql("SELECT email, quota FROM users ORDER BY email") == [(NEW, "0"), (USER, "2G")]

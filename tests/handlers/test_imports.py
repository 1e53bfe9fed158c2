"""The pages of an import, over HTTP."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from typing import Any

import pytest

from mailusers_plugin.import_file import MAX_BYTES
from mailusers_plugin.imports_memory import MAX_HELD
from mailusers_plugin.models import ADMIN, Actor
from tests.support import BOSS, PASSWORD, USER, XSRF, Answer, Box, Boxes, Client

BOUNDARY = "a-boundary-that-no-file-holds"
IMPORT = "/admin/users/import"


async def upload(client: Client, content: str | bytes, name: str = "users.csv", token: str = XSRF) -> Answer:
    """Send a file as a browser does."""
    content = content.encode() if isinstance(content, str) else content
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="_xsrf"\r\n\r\n{token}\r\n'.encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode(),
        b"Content-Type: text/csv\r\n\r\n" + content + b"\r\n",
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="text"\r\n\r\n\r\n--{BOUNDARY}--\r\n'.encode(),
    ]
    # As a form without scripts, whose token stands in the body only.
    headers = {name: value for name, value in client.headers.items() if name != "X-XSRFToken"}
    plain = Client(client.base_url, headers).sending(Accept="text/html")
    return await plain.send(IMPORT, b"".join(parts), f"multipart/form-data; boundary={BOUNDARY}")


async def job(client: Client, content: str | bytes) -> str:
    """Upload a file that can be read; return the path of its page."""
    answer = await upload(client, content)
    assert answer.status == 303, answer.text
    path = answer.headers["Location"]
    assert re.fullmatch(r"/admin/users/import/[0-9a-f]{32}", path)
    return path


async def act(client: Client, path: str, action: str, **form: str) -> Answer:
    """Press a button."""
    return await client.sending(Accept="text/html").post(path, action=action, **form)


async def ended(client: Client, path: str) -> str:
    """Wait until an import is over; return its page."""
    async with asyncio.timeout(30):
        while True:
            text = (await client.get(path)).text
            if "mu-import-bar" not in text:
                return text
            await asyncio.sleep(0.05)


def words(text: str) -> str:
    """Return what a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def table(answer: Answer) -> list[dict[str, str]]:
    """Return a CSV answer's rows by column."""
    assert answer.status == 200
    assert answer.type == "text/csv; charset=utf-8"
    assert answer.text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))


@pytest.fixture
def boss(io_loop: Any, box: Box, admin: Client) -> Client:
    """An administrator's browser."""
    client: Client = io_loop.run_sync(lambda: box.browser(BOSS))
    return client


async def test_the_whole_way(box: Box, boss: Client) -> None:
    """A file is uploaded, looked at, imported, and its result says what became of each line."""
    path = await job(
        boss, f"address;password;quota;privilege\r\n{USER};{PASSWORD};5G;\r\nadmin2@example.com;;;admin\r\n"
    )
    preview = words((await boss.get(path)).text)
    assert "2 lines can be imported" in preview
    assert "1 user becomes an administrator" in preview
    assert "1 password is made up" in preview
    assert await box.emails() == [BOSS]
    assert (await act(boss, path, "import")).status == 303
    assert "2 users were added" in words(await ended(boss, path))
    rows = table(await boss.get(f"{path}/result.csv"))
    assert [(row["line"], row["address"], row["result"]) for row in rows] == [
        ("2", USER, "added"),
        ("3", "admin2@example.com", "added"),
    ]
    assert rows[0]["password"] == ""
    made = rows[1]["password"]
    assert re.fullmatch(r"\w{4}(-\w{4}){4}", made)
    account, other = await box.find(USER), await box.find("admin2@example.com")
    assert account is not None
    assert other is not None
    assert (account.quota, other.privileges) == ("5G", (ADMIN,))
    assert (await box.runtime.passwords.verify(PASSWORD, account.password_hash)).matches
    assert (await box.runtime.passwords.verify(made, other.password_hash)).matches
    told = [(e["type"], e["email"], e["actor"], e["via"]) for e in await box.events()][1:]
    # The events of different addresses come in no particular order.
    assert sorted(told) == [
        ("UserAdded", "admin2@example.com", BOSS, "cookie"),
        ("UserAdded", USER, BOSS, "cookie"),
    ]


async def test_pasted_lines(boss: Client) -> None:
    """Lines can be pasted in place of a file, from a form of either type."""
    answer = await boss.sending(Accept="text/html").post(IMPORT, text=f"{USER}\r\n", _xsrf=XSRF)
    assert answer.status == 303
    assert "1 line can be imported" in words((await boss.get(answer.headers["Location"])).text)


async def test_nothing_chosen(boss: Client) -> None:
    """Neither file nor lines: the form says so, and nothing is kept."""
    answer = await boss.sending(Accept="text/html").post(IMPORT, text=" \r\n", _xsrf=XSRF)
    assert answer.status == 400
    assert "Choose a file, or paste its lines." in words(answer.text)
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04\x14\x00", "This is an Excel workbook or a ZIP archive."),
        (b"a@example.com\nb@example.com;\xfc\n", "Line 2 is not valid UTF-8."),
        (b"x" * (MAX_BYTES + 1), "The file is larger than 8 MB."),
        (b"x" * (MAX_BYTES + 200_000), "The file is larger than 8 MB."),
        (b"x" * (3 * MAX_BYTES), "The file is larger than 8 MB."),
    ],
    ids=["zip", "latin-1", "too-large", "form-too-large", "far-too-large"],
)
async def test_files_that_cannot_be_read(boss: Client, content: bytes, said: str) -> None:
    """What is wrong is said on the form, also of a file that was not taken in."""
    answer = await upload(boss, content)
    assert answer.status == 400
    assert said in words(answer.text)
    assert "import_job" not in answer.text


async def test_setting_of_rows(boxes: Boxes) -> None:
    """The setting says how many users a file may hold, and the form shows it."""
    box = await boxes.open(import_rows=2)
    await box.add(BOSS, (ADMIN,))
    boss = await box.browser(BOSS)
    assert "at most 2 users" in words((await boss.get(IMPORT)).text)
    answer = await upload(boss, "a@example.com\nb@example.com\nc@example.com\n")
    assert "The file holds more than 2 users." in words(answer.text)


async def test_who_may(box: Box, boss: Client, user: str) -> None:
    """Only who may write gets in; a file from a stranger is refused before it is taken in, a form needs its token."""
    path = await job(boss, "anna@example.com\n")
    normal = await box.browser(user)
    for client, status in ((normal, 403), (box.nobody, 303)):
        for page in (IMPORT, f"{IMPORT}/example.csv", path, f"{path}/result.csv"):
            assert (await client.sending(Accept="text/html").get(page)).status == status
        assert (await act(client, path, "import")).status == status
        answer = await upload(client, b"x" * (MAX_BYTES // 16))
        assert answer.status == status
    # The way back after logging in is the form.
    assert answer.headers["Location"].endswith("next=%2Fadmin%2Fusers%2Fimport")
    forged = await upload(boss, "anna@example.com\n", token="another")
    assert forged.status == 403
    without = box.cookie(await box.session_key(BOSS, "cookie"), None)
    assert (await act(without, path, "import")).status == 403
    assert await box.emails() == [BOSS, user]


async def test_by_password_and_by_key(box: Box, boss: Client) -> None:
    """A script with a password needs no token; its imports are its own."""
    path = await job(box.basic(BOSS), "anna@example.com\n")
    assert (await act(boss, path, "import")).status == 400
    assert (await act(box.basic(BOSS), path, "import")).status == 303
    await ended(boss, path)
    assert (await boss.get(f"{path}/result.csv")).status == 400
    assert len(table(await box.basic(BOSS).get(f"{path}/result.csv"))) == 1


async def test_preview_of_another(box: Box, boss: Client) -> None:
    """Another administrator sees that there is a file and may cancel it, but does not see its lines."""
    await box.add("second@example.com", (ADMIN,))
    other = await box.browser("second@example.com")
    path = await job(boss, "a-password-in-the-wrong-column,anna@example.com\n")
    assert "a-password-in-the-wrong-column" in (await boss.get(path)).text
    shown = (await other.get(path)).text
    assert "a-password-in-the-wrong-column" not in shown
    assert "Somebody else has uploaded this file." in words(shown)
    assert 'value="import"' not in shown
    assert (await act(other, path, "cancel")).status == 303
    assert "The import was cancelled." in words((await boss.get(path)).text)


async def test_pages_of_the_preview(boss: Client) -> None:
    """Fifty lines a page; errors come first where there are any; odd numbers lead to a page that there is."""
    text = "".join(f"user{n}@example.com\n" for n in range(120)) + "nonsense\n" * 60
    path = await job(boss, text)
    errors = (await boss.get(path)).text
    assert errors.count("Invalid email address.") == 50
    assert "Page 1 of 2" in errors
    assert (await boss.get(path, show="errors", page="2")).text.count("Invalid email address.") == 10
    everything = words((await boss.get(path, show="all", page="2")).text)
    assert "user50@example.com" in everything
    assert "user49@example.com" not in everything
    for page, shown in (
        ("0", "Page 1 of 4"),
        ("99", "Page 4 of 4"),
        ("-1", "Page 1 of 4"),
        ("²", "Page 1 of 4"),
    ):
        assert shown in words((await boss.get(path, show="all", page=page)).text)


async def test_errors_must_be_left_out(box: Box, boss: Client) -> None:
    """The page offers to leave out lines with errors, never to import in spite of them."""
    path = await job(boss, f"{USER},,1 G\nanna@example.com\n")
    shown = (await boss.get(path)).text
    assert "Leave out 1 line with errors and import the rest" in words(shown)
    assert 'value="import"' not in shown
    refused = await act(boss, path, "import")
    assert refused.status == 400
    assert "Mend the file, or leave them out." in words(refused.text)
    await act(boss, path, "leave-out")
    assert "1 line was left out" in words(await ended(boss, path))
    rows = table(await boss.get(f"{path}/result.csv"))
    assert [(row["result"], row["error"]) for row in rows] == [
        ("left out", "Quotas cannot contain spaces, commas, or decimal points."),
        ("added", ""),
    ]


async def test_consent(box: Box, boss: Client) -> None:
    """An archived mailbox is given to the new user only where that was chosen."""
    box.make_mailbox(USER)
    path = await job(boss, f"{USER}\n")
    assert 'name="restore" value="yes" required' in (await boss.get(path)).text
    refused = await act(boss, path, "import")
    assert (refused.status, "has an archived mailbox" in words(refused.text)) == (400, True)
    await act(boss, path, "import", restore="yes")
    assert "of them with the archived mailbox" in words(await ended(boss, path))
    assert (await box.events())[-1]["restored"] is True


async def test_check_again(box: Box, boss: Client) -> None:
    """After somebody has mended the box, the same file is found to be right."""
    await box.add(USER)
    path = await job(boss, f"{USER}\n")
    assert "User already exists." in (await boss.get(path)).text
    box.sql("DELETE FROM users WHERE email = ?", USER)
    assert (await act(boss, path, "check")).status == 303
    assert "User already exists." not in (await boss.get(path)).text


async def test_after_the_result_is_forgotten(box: Box, boss: Client) -> None:
    """Once the memory is empty the page still says what became of the lines, and that the passwords are gone."""
    path = await job(boss, "anna@example.com\na-password-in-the-wrong-column\n")
    await act(boss, path, "leave-out")
    await ended(boss, path)
    box.runtime.imports._memory.forget_all()
    shown = (await boss.get(path, show="all")).text
    assert "anna@example.com" in shown
    assert "a-password-in-the-wrong-column" not in shown
    assert "The result file is not kept any more." in words(shown)
    assert (await boss.get(f"{path}/result.csv")).status == 404


async def test_progress_for_scripts(box: Box, boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets the bar while it runs, and the whole with words for the live region when it is over."""
    may_hash = asyncio.Event()
    hash_one = box.runtime.passwords.hash

    async def wait(password: str) -> str:
        await may_hash.wait()
        return await hash_one(password)

    monkeypatch.setattr(box.runtime.passwords, "hash", wait)
    script = boss.sending(HX_Request="true", Accept="text/html")
    path = await job(boss, "anna@example.com\n")
    await act(boss, path, "import")
    bar = await script.get(path)
    assert bar.text.lstrip().startswith('<div id="mu-import-bar"')
    assert 'hx-trigger="every 1s"' in bar.text
    assert "0 of 1 passwords are ready" in words(bar.text)
    assert "HX-Retarget" not in bar.headers
    # Without a script the page is loaded anew, by itself only if the reader wants that.
    assert "Refresh" not in (await boss.get(path)).headers
    assert (await boss.get(path, watch="1")).headers["Refresh"] == "3"
    may_hash.set()
    await ended(boss, path)
    over = await script.get(path)
    assert (over.headers["HX-Retarget"], over.headers["HX-Reswap"]) == ("#mu-import", "outerHTML")
    assert '<div id="mu-status" hx-swap-oob="innerHTML"><p>1 user was added.</p></div>' in over.text
    assert "hx-trigger" not in over.text
    assert "Refresh" not in (await boss.get(path, watch="1")).headers


async def test_hostile_cells(boss: Client) -> None:
    """Whatever stands in a cell, or in the file's name, is shown as text."""
    evil = "<img src=x onerror=alert(1)>"
    answer = await upload(
        boss, f'address,{evil}\n"{evil}",x\nanna@example.com,{evil}\n', name=f"{evil}\u202e.csv"
    )
    path = answer.headers["Location"]
    shown = (await boss.get(path, show="all")).text
    assert evil not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") >= 3
    assert "\u202e" not in shown
    assert evil not in (await boss.get(IMPORT)).text


async def test_result_starts_no_formula(boss: Client) -> None:
    """A cell of the file that a spreadsheet could run comes back with an apostrophe in front."""
    path = await job(boss, "'=1+1\n\"+cmd|' /C calc'!A0\"\nanna@example.com\n")
    await act(boss, path, "leave-out")
    await ended(boss, path)
    addresses = [row["address"] for row in table(await boss.get(f"{path}/result.csv"))]
    assert addresses == ["'=1+1", "'+cmd|' /C calc'!A0", "anna@example.com"]


async def test_example_can_be_imported(boss: Client) -> None:
    """The example that the page offers is a file without errors."""
    example = await boss.get(f"{IMPORT}/example.csv")
    assert 'filename="mail-users-example.csv"' in example.headers["Content-Disposition"]
    path = await job(boss, example.body)
    shown = words((await boss.get(path)).text)
    assert "3 lines can be imported" in shown
    assert "errors" not in shown


@pytest.mark.parametrize("path", [f"{IMPORT}/999", f"{IMPORT}/{'0' * 32}", f"{IMPORT}/{'0' * 32}/result.csv"])
async def test_unknown_import(boss: Client, path: str) -> None:
    """An import that there is not, or not any more, is not found."""
    answer = await boss.sending(Accept="text/html").get(path)
    assert answer.status == 404
    assert "There is no such page." in answer.text


async def test_recent_imports(boss: Client) -> None:
    """The form lists what was imported in the last days, by whom, and what came of it."""
    path = await job(boss, "anna@example.com\n")
    await act(boss, path, "cancel")
    shown = (await boss.get(IMPORT)).text
    assert f'href="{path}"' in shown
    assert "cancelled, nothing was imported" in words(shown)


async def test_reader_who_leaves(box: Box, boss: Client) -> None:
    """A file whose sender goes away in the middle leaves nothing behind that the server would wait for."""
    host, _, port = boss.base_url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nCookie: {boss.headers['Cookie']}\r\nContent-Length: 1000\r\n"
    )
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()
    assert await box.handle.finish_requests(5)


async def test_too_many_files(box: Box, boss: Client) -> None:
    """Where no more files are kept the form says so, and when to try again."""
    for number in range(MAX_HELD):
        await box.runtime.imports.upload(Actor(f"admin{number}@example.com", "cookie"), "x", b"x@example.com")
    answer = await boss.post("/admin/users/import", text="anna@example.com")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "Too many files wait to be imported." in answer.text

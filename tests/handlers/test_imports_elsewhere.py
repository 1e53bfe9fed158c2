"""An import when a load balancer sends the next request to another process than the one that has the file."""

from __future__ import annotations

from dataclasses import replace

from mailusers_plugin.models import ADMIN
from tests.handlers.test_imports import act, ended, job, table, words
from tests.support import BOSS, PASSWORD, USER, Box, Boxes, Client

FILE = f"{USER}\n"


async def two_processes(boxes: Boxes) -> tuple[Box, Client, Client]:
    """Return a box, and the same administrator's browser at each of two processes of it."""
    box = await boxes.open()
    other = await boxes.open(box.storage)
    await box.add(BOSS, (ADMIN,))
    here = await box.browser(BOSS)
    return box, here, replace(here, base_url=other.base_url)


async def test_the_file_is_in_another_process(boxes: Boxes) -> None:
    """Whoever comes to another process is told so and loses nothing; there nothing is imported by mistake."""
    box, here, there = await two_processes(boxes)
    path = await job(here, FILE)
    page = await there.get(path)
    assert "Another process of this server has the file in its memory." in words(page.text)
    for action in ("import", "check"):
        refused = await act(there, path, action)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert "Another process of this server has the file in its memory." in words(refused.text)
    assert await box.find(USER) is None
    assert (await act(here, path, "import")).status == 303
    await ended(here, path)
    assert await box.find(USER) is not None


async def test_the_result_is_in_another_process(boxes: Boxes) -> None:
    """What became of an import is shown by every process; the made-up passwords come from the one that has them."""
    box, here, there = await two_processes(boxes)
    path = await job(here, FILE)
    await act(here, path, "import")
    await ended(here, path)
    page = words(await ended(there, path))
    assert "1 user was added" in page
    assert "Another process of this server has the result file in its memory" in page
    assert "forgotten" not in page
    refused = await there.sending(Accept="text/html").get(f"{path}/result.csv")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    (line,) = table(await here.get(f"{path}/result.csv"))
    assert (line["address"], bool(line["password"])) == (USER, True)
    # Nobody else is told to look there.
    await box.add("second@example.com", (ADMIN,))
    second = replace(await box.browser("second@example.com"), base_url=there.base_url)
    assert "Only who has imported the file can download" in words((await second.get(path)).text)


async def test_another_process_cancels(boxes: Boxes) -> None:
    """A file that waits can be cancelled at any process; then the one that has it imports it no more."""
    box, here, there = await two_processes(boxes)
    path = await job(here, FILE)
    assert (await act(there, path, "cancel")).status == 303
    refused = await act(here, path, "import")
    assert refused.status == 400
    assert await box.find(USER) is None
    assert "cancelled" in words((await here.get(path)).text)


async def test_the_process_that_had_it_is_gone(boxes: Boxes) -> None:
    """Where the other process has ended nobody is sent to look for it."""
    box = await boxes.open()
    other = await boxes.open(box.storage)
    await box.add(BOSS, (ADMIN,))
    there = replace(await box.browser(BOSS), base_url=other.base_url)
    path = await job(there, FILE)
    here = replace(there, base_url=box.base_url)
    await other.handle.stop()
    refused = await act(here, path, "import")
    assert refused.status == 400
    assert "Upload it again." in words(refused.text)
    assert PASSWORD not in refused.text

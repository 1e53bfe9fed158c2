"""Small calls of the event loop in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store.errands import Errands


async def test_results_and_errors_come_back() -> None:
    """What a function returns or raises arrives at the one who asked, and in another thread it ran."""
    errands = Errands(2, "test")
    assert await errands.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await errands.run(divmod, 7, 0)
    assert await errands.run(threading.get_ident) != threading.get_ident()
    answers = await asyncio.gather(*(errands.run(pow, number, 2) for number in range(2000)))
    assert answers == [number**2 for number in range(2000)]
    errands.close()


async def test_only_so_many_at_once() -> None:
    """There are no more threads than asked for, and none before they are needed."""
    errands = Errands(3, "test-errand")

    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-errand")]

    assert names() == []
    gate = threading.Event()
    inside: list[int] = []

    def wait() -> int:
        inside.append(1)
        gate.wait(10)
        return len(inside)

    waiting = [errands.run(wait) for _ in range(9)]
    async with asyncio.timeout(10):
        while len(inside) < 3:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert (len(inside), len(names())) == (3, 3)
    gate.set()
    await asyncio.gather(*waiting)
    errands.close()
    assert names() == []


async def test_nobody_waits_any_more() -> None:
    """A caller who went away is passed over, and those behind get their answers."""
    errands = Errands(1, "test")
    gate = threading.Event()
    held, gone, next_one = errands.run(gate.wait, 10), errands.run(int), errands.run(divmod, 7, 2)
    gone.cancel()
    gate.set()
    assert await held
    assert await next_one == (3, 1)
    errands.close()


async def test_closing() -> None:
    """What was asked for before is still done; who comes later is told why not."""
    errands = Errands(1, "test")
    asked = [errands.run(pow, 2, number) for number in range(5)]
    await asyncio.to_thread(errands.close)
    assert await asyncio.gather(*asked) == [1, 2, 4, 8, 16]
    with pytest.raises(UnavailableError, match="stopping"):
        errands.run(int)


def test_one_loop_after_the_other() -> None:
    """Each event loop gets its own answers; one that ended in between hinders nobody."""
    errands = Errands(1, "test")
    gate = threading.Event()

    async def leave_one_behind() -> None:
        errands.run(gate.wait, 10)

    asyncio.run(leave_one_behind())
    gate.set()

    async def ask() -> tuple[int, int]:
        return await errands.run(divmod, 7, 2)

    assert asyncio.run(ask()) == (3, 1)
    assert asyncio.run(ask()) == (3, 1)
    errands.close()

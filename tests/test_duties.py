"""What one of several processes does for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from mailusers_plugin.runtime import Runtime
from tests.support import Boxes


async def test_one_of_two_reads_the_sizes(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """While two servers run on one box one of them reads sizes; when that one stops, the other one does."""
    read: Counter[Runtime] = Counter()
    real = Runtime.refresh_usage

    def counted(runtime: Runtime) -> int:
        read[runtime] += 1
        return real(runtime)

    monkeypatch.setattr(Runtime, "refresh_usage", counted)
    first = await boxes.open(usage_interval_seconds=0.05)
    await _until(lambda: read[first.runtime] > 0)
    second = await boxes.open(first.storage, usage_interval_seconds=0.05)
    before = read[first.runtime]
    await _until(lambda: read[first.runtime] > before + 5)
    assert read[second.runtime] == 0
    await first.handle.stop()
    await _until(lambda: read[second.runtime] > 0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)

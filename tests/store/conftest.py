"""A box without the parts that answer HTTP, on the database that ``--engine`` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.servers.engines import Engine
from tests.support import QUICK


@pytest.fixture
def runtime(engine: Engine, tmp_path: Path) -> Iterator[Runtime]:
    """A box without users."""
    settings = Settings(storage_root=tmp_path / "box", database=engine.fresh(), **QUICK)
    opened = Runtime(settings)
    yield opened
    opened.close()
    if settings.database:
        engine.release(settings.database)

"""What a change and a page cost must not grow with the users: no statement may read a whole table."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from mailusers_plugin.models import ADMIN, Selection
from mailusers_plugin.store.database import Database
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box

_GROWS = re.compile(r"^SCAN (users|mailusers_(archive|directory|tally|usage|session)\b)")
"""Tables with a row for each user or domain; ``SCAN … USING`` an index in the wanted order ends at the page's end."""


def listen(database: Database) -> list[tuple[str, Any]]:
    """Collect what is asked of a database from now on."""
    asked: list[tuple[str, Any]] = []

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", remember)
    return asked


def scans(database: Database, asked: list[tuple[str, Any]], allowed: Callable[[str], bool]) -> list[str]:
    """Return the statements for which SQLite would read a whole table."""
    found = []
    with database.engine.connect() as connection:
        for statement, parameters in asked:
            if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", statement):
                continue
            one = parameters[0] if isinstance(parameters, list) and parameters else parameters
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", one).all()
            steps = [str(row[3]) for row in plan]
            if any(_GROWS.match(step) and not allowed(step) for step in steps):
                found.append(f"{statement}: {steps}")
    return found


async def test_no_change_reads_a_whole_table(box: Box) -> None:
    """Adding, every kind of change, archiving, undoing and purging find what they need by an index."""
    await box.add(BOSS, (ADMIN,))
    runtime = box.runtime
    runtime.directory.compare_now()
    asked = {database: listen(database) for database in (runtime.database, runtime.state)}
    await box.service.add(CONSOLE, USER, PASSWORD, (ADMIN,), "5G")
    await box.service.set_quota(CONSOLE, USER, "6G")
    await box.service.set_password(CONSOLE, USER, PASSWORD + "1")
    await box.service.remove_privileges(CONSOLE, USER, (ADMIN,))
    await box.service.add_privileges(CONSOLE, USER, (ADMIN,))
    await box.service.archive(CONSOLE, USER)
    await box.service.undo_archive(CONSOLE, USER)
    await box.service.archive(CONSOLE, USER)
    await box.service.purge(CONSOLE, USER, USER)
    for database, statements in asked.items():
        assert len(statements) > 20
        # Who has a privilege is in an index of its own, with nobody else.
        assert (
            scans(database, statements, lambda step: step.endswith("INDEX mailusers_users_privileged")) == []
        )


@pytest.mark.parametrize(
    "sort", [sign + name for name in ("email", "size", "used", "quota") for sign in ("", "-")]
)
async def test_no_page_sorts_all_users(box: Box, sort: str) -> None:
    """A page goes through an index in the order that is asked for, whatever the filter."""
    await box.add(BOSS, (ADMIN,))
    runtime = box.runtime
    runtime.directory.compare_now()
    asked = listen(runtime.state)
    selections = (Selection(), Selection(status="active"), Selection(domain="example.com"))
    for selection in selections:
        await runtime.directory.page_of_lines(selection, sort, "", 50)
    assert any("mailusers_directory" in statement for statement, _ in asked)
    assert scans(runtime.state, asked, lambda step: "USING" in step) == []

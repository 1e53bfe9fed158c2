"""No test falls between the databases: each that opens a box is repeated on all of them, or there is a reason."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.engines import ON_SQLITE, REPEATED, TESTS, is_known, is_repeated

FIXTURES = {"admin", "box", "boxes", "database", "runtime", "shell", "user"}
FILES = sorted(TESTS.rglob("test_*.py"))


def opens_a_box(path: Path) -> bool:
    """Tell whether a file has a function that asks for a box, or names what opens one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    arguments = {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in node.args.args
    }
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return bool(arguments & FIXTURES or names & {"Runtime", "Database", "open_box"})


@pytest.mark.parametrize("path", [path for path in FILES if opens_a_box(path)], ids=str)
def test_every_file_is_in_a_list(path: Path) -> None:
    """A file whose tests open a box says whether they are repeated on every database."""
    assert is_known(path), f"add {path.name} to a list in tests/engines.py"


def test_lists_name_what_there_is() -> None:
    """What is listed exists, once, and what is run on SQLite only has a reason."""
    assert {TESTS / name for name in REPEATED} <= set(FILES)
    assert len(set(REPEATED)) == len(REPEATED)
    assert not set(REPEATED) & set(ON_SQLITE)
    for name, reason in ON_SQLITE.items():
        assert (TESTS / name).exists()
        assert reason


def test_marks_have_reasons_and_stand_where_they_count() -> None:
    """A test that is left out elsewhere says why, and is in a file that would be repeated."""
    marked = 0
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.sqlite_only":
                marked += 1
                assert is_repeated(path), path
                (reason,) = node.keywords
                assert reason.arg == "reason"
                assert isinstance(reason.value, ast.Constant)
                assert reason.value.value
    assert marked


def test_no_test_of_the_store_or_the_use_cases_is_left_out() -> None:
    """Of these only what is about SQLite's own locks and files is not repeated."""
    wanted = {
        path
        for path in FILES
        if (path.name.startswith("test_service") or path.parent.name == "store")
        and not path.name.endswith("_engines.py")
    }
    left_out = {path.name for path in wanted if not is_repeated(path)}
    assert left_out == {
        "test_commits.py",
        "test_database.py",
        "test_errands.py",
        "test_file_place.py",
        "test_file_watch.py",
        "test_place.py",
        "test_plans.py",
        "test_quota_clone.py",
        "test_seen_lines.py",
    }


def test_what_goes_through_the_databases_by_itself_is_run() -> None:
    """Each such file is named in the environment that runs them; the others leave them out."""
    commands = (TESTS.parent / "tox.ini").read_text(encoding="utf-8")
    for path in FILES:
        if path.name.endswith("_engines.py"):
            assert path.relative_to(TESTS.parent).as_posix() in commands

"""The documentation says what is true: what can be compared with the code is."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from mailusers_plugin import events, models
from mailusers_plugin.database_place import POSTGRESQL, DatabasePlace
from mailusers_plugin.errors import VetoError
from mailusers_plugin.hook_calls import HookManager
from mailusers_plugin.hooks import adminpanel, specs
from mailusers_plugin.mailserver.dovecot_config import dovecot_fragments
from mailusers_plugin.mailserver.postfix_config import postfix_fragments
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import schema
from tests.servers import fragments
from tests.servers.box import adopted_box

ROOT = Path(__file__).parents[1]
HOOKS = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
HOST = (ROOT / "docs" / "host.md").read_text(encoding="utf-8")
DATABASES = (ROOT / "docs" / "databases.md").read_text(encoding="utf-8")
STORAGE = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
PANEL = ROOT / "tests" / "packages" / "other_panel" / "other_panel"

ALL_HOOKS = [name for name in vars(specs) if name.startswith("mailusers_")]


def code(text: str, language: str) -> Iterator[str]:
    """Yield the code blocks in a language."""
    return iter(re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def section(hook: str) -> str:
    """Return the part of hooks.md about one hook."""
    found = re.search(rf"^### `{hook}\(.*?(?=^##)", HOOKS, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/hooks.md has no section on {hook}"
    return found[0]


def documented_fields(text: str) -> list[str]:
    """Return the first column of the tables in a text."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("hook", ALL_HOOKS)
def test_each_hook_is_documented_with_its_signature(hook: str) -> None:
    """Every hook has a section that is headed by its exact signature."""
    (parameter,) = inspect.signature(getattr(specs, hook)).parameters.values()
    assert section(hook).startswith(f"### `{hook}({parameter.name}: {parameter.annotation})`")


@pytest.mark.parametrize("hook", ALL_HOOKS)
def test_each_field_is_documented(hook: str) -> None:
    """Every field of what a hook gets is explained, and no field is that does not exist."""
    (parameter,) = inspect.signature(getattr(specs, hook)).parameters.values()
    name = str(parameter.annotation)
    given = getattr(events, name, None) or getattr(models, name)
    common = [f.name for f in fields(events.Event)]
    own = [f.name for f in fields(given) if given is models.AddRequest or f.name not in common]
    assert documented_fields(section(hook)) == own
    assert (
        documented_fields(HOOKS.partition("## Fields of every event")[2].partition("## The hooks")[0])
        == common
    )


@pytest.mark.parametrize("hook", ALL_HOOKS)
def test_each_hook_has_a_test_that_bears_its_name(hook: str) -> None:
    """Somewhere in the tests each hook is tried under its own name."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert f"test_{hook}" in tests


def test_each_event_belongs_to_a_documented_hook() -> None:
    """No event exists that no hook receives, but for the one that is only for the audit trail."""
    told = {event.hook for event in events.EVENT_TYPES.values() if event is not events.PurgeBegun}
    assert told == set(ALL_HOOKS) - {"mailusers_validate_add"}
    assert events.PurgeBegun.hook == ""


def test_the_worked_example_of_hooks_works() -> None:
    """The example module registers, refuses what it says, and notes an event once."""
    (text,) = code(HOOKS, "python")
    module = types.ModuleType("billing_module")
    exec(compile(text, "docs/hooks.md", "exec"), vars(module))  # noqa: S102
    manager = HookManager()
    manager.register(module)
    assert set(manager.implementations()["billing_module"]) == {
        "mailusers_post_add",
        "mailusers_quota_change",
    }
    actor = models.Actor("boss@example.com", "basic")
    with pytest.raises(VetoError, match=r"No customer pays for example\.net"):
        vars(module)["mailusers_validate_add"](models.AddRequest("a@example.net", (), "0", actor))
    event = events.UserAdded(
        email="a@example.com",
        privileges=(),
        quota="1G",
        quota_bytes=2**30,
        restored=False,
        **events.by(actor),
    )
    for _ in range(2):
        vars(module)["mailusers_post_add"](event)
    assert list(vars(module)["INVOICE"].values()) == [["a@example.com with 1073741824 bytes"]]


def test_the_panel_in_the_documentation_is_the_one_that_is_tested() -> None:
    """The whole panel in host.md is, to the letter, the package that tests/e2e/test_other_panel.py runs."""
    assert (PANEL / "panel.py").read_text(encoding="utf-8") in list(code(HOST, "python"))
    assert (PANEL / "base.html").read_text(encoding="utf-8") in list(code(HOST, "html"))


def test_the_hooks_of_panels_are_documented() -> None:
    """Each hook for panels is named in host.md with its arguments."""
    for name, function in vars(adminpanel).items():
        if name.startswith("adminpanel_"):
            assert f"`{name}({', '.join(inspect.signature(function).parameters)})`" in HOST


@pytest.mark.parametrize(
    "path", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_inside_lead_somewhere(path: str) -> None:
    """Each relative link points to a file that exists, and to a heading of it."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"{]+)"', text)
    for link in found:
        name, _, heading = link.partition("#")
        if ":" in name or name.startswith("/"):
            continue
        target = (ROOT / path).parent / name if name else ROOT / path
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings], (
                link
            )


def test_databases_are_set_up_as_the_tests_do() -> None:
    """The statements of databases.md are those with which the tests' servers are made ready for a box."""
    statements = "".join(code(DATABASES, "sql"))
    for engine in fragments.SET_UP.values():
        for statement in engine:
            assert statement.replace("{password}", "A-LONG-PASSWORD") + ";\n" in statements


def test_every_fragment_is_in_the_documentation() -> None:
    """The files that the two commands print are listed in databases.md, with owner and mode."""
    place = DatabasePlace(POSTGRESQL, host="db.example.com", port=5432, name="mail")
    for fragment in (
        *dovecot_fragments(place, Settings(storage_root=Path("/srv/box"))),
        *postfix_fragments(place, Path("/srv/box")),
    ):
        if not fragment.part:
            assert f"| `{fragment.path}` | `{fragment.owner}` {fragment.mode:04o} |" in DATABASES


def test_every_table_is_named_where_it_is_kept() -> None:
    """The table of tables in storage.md has each of ours, and none that does not exist."""
    named = re.findall(r"`(mailusers_\w+)`", STORAGE.partition("| table |")[2].partition("\n\n")[0])
    assert set(named) == {*schema.ours.tables, *schema.state.tables, schema.VERSION_TABLE}


def test_going_back_leaves_a_box_as_it_was() -> None:
    """After the statements of storage.md nothing of us is in the file that was adopted."""
    (statements,) = code(STORAGE, "sql")
    with adopted_box() as box:
        before = box.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name")
        Runtime(Settings(storage_root=box.storage, doveadm=())).close()
        for statement in statements.splitlines():
            box.execute(statement)
        assert box.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name") == before


def test_each_promise_names_a_test_that_there_is() -> None:
    """What docs/security.md names as the test of a promise is one; a name without a file is in the file before it."""
    file, found = "", 0
    for path, name in re.findall(
        r"`(?:(tests/[a-z0-9_/]+\.py)::)?(test_\w+)`", (ROOT / "docs" / "security.md").read_text()
    ):
        file = path or file
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (file, name)
        found += 1
    assert found > 50

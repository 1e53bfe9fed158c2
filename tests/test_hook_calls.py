"""Registration of implementations: what is refused, with which words, and under which names they are kept."""

from __future__ import annotations

import types
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from mailusers_plugin import hook_calls, hookimpl
from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.events import UserAdded
from mailusers_plugin.hook_calls import HookManager
from tests.support import Boxes


class Good:
    """Has one hook."""

    @hookimpl
    def mailusers_post_add(self, event: UserAdded) -> None:
        """Do nothing."""


class WithoutArgument:
    """Leaves out what it does not need."""

    @hookimpl
    def mailusers_post_add(self) -> None:
        """Do nothing."""


class Misspelt:
    """Has a hook that does not exist."""

    @hookimpl
    def mailusers_post_ad(self, event: UserAdded) -> None:
        """Do nothing."""


class WrongArgument:
    """Wants an argument that is not handed over."""

    @hookimpl
    def mailusers_post_add(self, user: UserAdded) -> None:
        """Do nothing."""


def module(name: str, **functions: Any) -> types.ModuleType:
    """Return a module with some functions."""
    made = types.ModuleType(name)
    vars(made).update(functions)
    return made


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Misspelt(), ["Misspelt", "mailusers_post_ad", "unknown hook"]),
        (WrongArgument(), ["WrongArgument", "mailusers_post_add", "user"]),
        (
            module("my_hooks", mailusers_post_ad=hookimpl(lambda event: None)),
            ["my_hooks", "mailusers_post_ad"],
        ),
    ],
)
def test_mistake_is_said_at_once(plugin: object, words: list[str]) -> None:
    """A misspelt hook or a wrong argument is refused by name, and nothing of the module stays."""
    manager = HookManager()
    with pytest.raises(ConfigurationError) as raised:
        manager.register(plugin)
    for word in words:
        assert word in raised.value.message
    assert manager.get_plugins() == set()
    assert manager.register(Good()) is not None


async def test_mistake_keeps_the_plugin_from_starting(boxes: Boxes) -> None:
    """A wrong hook module is an error of mount, not of the first event."""
    with pytest.raises(ConfigurationError, match="mailusers_post_ad"):
        await boxes.open(hooks=[Misspelt()])


def test_names_are_stable() -> None:
    """Objects are kept under their class, modules under their own name, and anything under the name given."""
    manager = HookManager()
    names = [
        manager.register(Good()),
        manager.register(WithoutArgument),
        manager.register(module("a.b", mailusers_post_add=hookimpl(lambda event: None))),
        manager.register(Good(), "given"),
    ]
    assert names == [
        "tests.test_hook_calls.Good",
        "tests.test_hook_calls.WithoutArgument",
        "a.b",
        "given",
    ]


def test_second_of_a_class_needs_a_name() -> None:
    """Two objects of one class would share their deliveries, so the second is refused; the first stays."""
    manager = HookManager()
    first = Good()
    manager.register(first)
    with pytest.raises(ConfigurationError, match=r"tests\.test_hook_calls\.Good"):
        manager.register(Good())
    assert manager.is_registered(first)
    manager.register(Good(), "second")
    assert set(manager.implementations()) == {"tests.test_hook_calls.Good", "second"}


def test_changes_are_told_once() -> None:
    """What came since the last look is told once, with its hooks for events."""
    manager = HookManager()
    manager.register(Good())
    assert manager.changes() == {"tests.test_hook_calls.Good": {"mailusers_post_add"}}
    manager.forget_changes(manager.changes())
    assert manager.changes() == {}


def install(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    """Let packages with some entry points be installed."""
    points = EntryPoints(EntryPoint(name, value, "mailusers") for name, value in entries)
    monkeypatch.setattr(hook_calls, "entry_points", lambda *, group: points.select(group=group))


def test_installed_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of installed packages are found, under the names of their entry points."""
    install(monkeypatch, ("mine", "tests.test_hook_calls:Good"))
    manager = HookManager()
    manager.load_installed()
    assert manager.implementations() == {"mine": ["mailusers_post_add"]}


def test_installed_module_can_be_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was blocked or registered by hand is not loaded."""
    install(monkeypatch, ("mine", "tests.there_is:nothing"))
    manager = HookManager()
    manager.set_blocked("mine")
    manager.load_installed()
    manager = HookManager()
    manager.register(Good(), "mine")
    manager.load_installed()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tests.there_is:nothing", ["broken", "tests.there_is", "ModuleNotFoundError"]),
        ("tests.test_hook_calls:Nothing", ["broken", "AttributeError"]),
        ("tests.test_hook_calls:Misspelt", ["broken", "mailusers_post_ad"]),
    ],
)
def test_broken_installed_module(monkeypatch: pytest.MonkeyPatch, value: str, words: list[str]) -> None:
    """An installed module that cannot be loaded is named, with the reason."""
    install(monkeypatch, ("broken", value))
    with pytest.raises(ConfigurationError) as raised:
        HookManager().load_installed()
    for word in words:
        assert word in raised.value.message

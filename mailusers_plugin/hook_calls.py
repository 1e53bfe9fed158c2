"""The registered implementations of the hooks, and how one of them is called."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import pluggy

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.hooks import PROJECT, specs

_VALIDATE = "mailusers_validate_add"


class HookTimeoutError(Exception):
    """An implementation did not end in time; not to be confused with a :class:`TimeoutError` of its own."""


class HookManager(pluggy.PluginManager):
    """pluggy's manager with stable names, and with errors that say what is wrong.

    Deliveries are kept under an implementation's name across restarts. pluggy names an object by its address in
    memory; here it is named after its class.
    """

    def __init__(self) -> None:
        """Make an empty manager that knows the hooks."""
        super().__init__(PROJECT)
        self.add_hookspecs(specs)
        self._changed: set[str] = set()

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Add an implementation: a module or an object.

        :param plugin: has functions marked with ``hookimpl``
        :param name: under which its deliveries are kept; the module's or class's by default
        :raises ConfigurationError: if it implements a hook that does not exist, or with wrong arguments
        """
        if name is None:
            name = plugin.__name__ if isinstance(plugin, ModuleType) else _class_name(plugin)
        was_there = self.has_plugin(name) or self.is_registered(plugin)
        try:
            registered = super().register(plugin, name)
            self.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if not was_there and self.has_plugin(name):
                self.unregister(name=name)
            raise ConfigurationError(f"The hook module {name} is wrong: {error}") from None
        if registered is not None:
            self._changed.add(registered)
        return registered

    def load_installed(self) -> None:
        """Add the modules of all installed packages that are named in the entry-point group ``mailusers``.

        :raises ConfigurationError: if one cannot be imported, or implements a hook wrongly
        """
        for entry in entry_points(group=PROJECT):
            if self.has_plugin(entry.name) or self.is_blocked(entry.name):
                continue
            try:
                plugin = entry.load()
            except Exception as error:
                raise ConfigurationError(
                    f"The hook module {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
                ) from error
            self.register(plugin, entry.name)

    def changes(self) -> dict[str, set[str]]:
        """Return the hooks of implementations that are new."""
        if not self._changed:
            return {}
        return {name: set(hooks) for name, hooks in self.implementations().items() if name in self._changed}

    def forget_changes(self, names: Iterable[str]) -> None:
        """Take implementations for known from now on."""
        self._changed.difference_update(names)

    def implementations(self) -> dict[str, list[str]]:
        """Return the hooks for events that each implementation has."""
        result: dict[str, list[str]] = {}
        for name, plugin in self.list_name_plugin():
            callers = (self.get_hookcallers(plugin) or []) if plugin is not None else []
            hooks = [caller.name for caller in callers if caller.name != _VALIDATE]
            if hooks:
                result[name] = hooks
        return result

    def implementation(self, name: str, hook: str) -> pluggy.HookImpl | None:
        """Return one implementation of one hook."""
        return next((i for i in getattr(self.hook, hook).get_hookimpls() if i.plugin_name == name), None)

    def validators(self) -> Iterable[tuple[str, pluggy.HookImpl]]:
        """Yield the implementations of ``mailusers_validate_add``, first the last registered, as pluggy does."""
        for implementation in reversed(getattr(self.hook, _VALIDATE).get_hookimpls()):
            yield implementation.plugin_name, implementation


def _class_name(plugin: Any) -> str:
    owner = plugin if isinstance(plugin, type) else type(plugin)
    return f"{owner.__module__}.{owner.__qualname__}"


async def call(
    implementation: pluggy.HookImpl,
    arguments: Mapping[str, Any],
    timeout_seconds: float,
    on_end: Callable[[], None] = lambda: None,
) -> None:
    """Call one implementation: a coroutine function on this loop, a plain one in a thread of its own.

    :param arguments: by name; those that the implementation left out are not handed over
    :param on_end: called on this loop when the implementation has really ended, which for a plain one that hangs
        is after the time limit
    :raises HookTimeoutError: if it takes too long
    :raises Exception: what it raises; an attempt to exit the interpreter is raised as :class:`RuntimeError`
    """
    function = implementation.function
    chosen = {name: arguments[name] for name in implementation.argnames if name in arguments}
    is_coroutine = inspect.iscoroutinefunction(function)
    limit = asyncio.timeout(timeout_seconds)
    try:
        async with limit:
            if is_coroutine:
                await _contained(function(**chosen))
            else:
                # A thread that hangs runs on after the time limit, and keeps its place until it ends.
                result = await asyncio.shield(_in_thread(lambda: function(**chosen), on_end))
                if inspect.isawaitable(result):
                    await _contained(result)
    except TimeoutError:
        if limit.expired():
            raise HookTimeoutError from None
        raise
    finally:
        if is_coroutine:
            on_end()


async def _contained(awaitable: Any) -> None:
    """Keep an implementation from ending the event loop, or the delivery by a cancellation of its own."""
    try:
        await awaitable
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("It raised CancelledError.") from None
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"It raised {type(error).__name__}.") from None


def _in_thread(function: Callable[[], Any], on_end: Callable[[], None]) -> asyncio.Future[Any]:
    """Run a function in a daemon thread, which, unlike a pool's, does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    # After a timeout nobody looks at the outcome any more.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def settle(result: Any, error: BaseException | None) -> None:
        on_end()
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except StopIteration:
            # A future cannot hold it.
            error = RuntimeError("It raised StopIteration.")
        except Exception as raised:
            error = raised
        except BaseException as raised:
            error = RuntimeError(f"It raised {type(raised).__name__}.")
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            # The loop was closed meanwhile: the process is ending, and the event is delivered again.
            return

    threading.Thread(target=run, name="mailusers-hook", daemon=True).start()
    return future

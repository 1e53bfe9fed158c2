"""Mounting into applications, and the hosts that say who calls and what they may."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy
import pytest
from tornado.web import Application, RequestHandler

from mailusers_plugin import Identity, mount, plugin
from mailusers_plugin.errors import ConfigurationError, LoginRefusedError, MailUsersError, UnavailableError
from mailusers_plugin.hooks import HOST_PROJECT, adminpanel
from mailusers_plugin.models import Actor
from tests.recorders import Recorder
from tests.support import BOSS, PASSWORD, QUICK, USER, XSRF, Box, Boxes, Client, HostRoute

USERS = "/admin/mail/users"


class Panel:
    """A host whose answers a test decides."""

    login_url = "/panel/login"

    def __init__(
        self,
        identity: Any = None,
        may: Callable[[Identity, str], bool | Awaitable[bool]] = lambda identity, permission: True,
    ) -> None:
        self._identity = identity
        self._may = may
        self.asked: list[str] = []

    def identify(self, handler: RequestHandler) -> Any:
        """Say who calls."""
        assert handler.request.path
        if isinstance(self._identity, Exception):
            raise self._identity
        return self._identity() if callable(self._identity) else self._identity

    def may(self, identity: Identity, permission: str) -> bool | Awaitable[bool]:
        """Say what they may."""
        self.asked.append(permission)
        return self._may(identity, permission)


SOMEBODY = Identity("somebody", "token")


def later(value: Any) -> Callable[[], Awaitable[Any]]:
    """Return a function whose answer must be awaited."""

    async def answer() -> Any:
        await asyncio.sleep(0)
        return value

    return answer


@pytest.mark.parametrize("identity", [SOMEBODY, later(SOMEBODY), Identity("somebody", "basic")])
async def test_host_knows_the_caller(boxes: Boxes, identity: Any) -> None:
    """Whom the host knows, at once or after a while, may do what it allows."""
    panel = Panel(identity)
    box = await boxes.open(host=panel)
    assert (await box.nobody.post(USERS + "/add", email=USER, password=PASSWORD)).status == 200
    assert (await box.nobody.get(USERS)).text == f"{USER}\n"
    (event,) = await box.events()
    assert event["actor"] == "somebody"
    # Of who changes something it is also asked whether that may be about privileges.
    assert panel.asked == ["users:write", "admin", "users:read"]


@pytest.mark.parametrize("identity", [None, later(None)])
async def test_host_knows_nobody(boxes: Boxes, identity: Any) -> None:
    """Whom the host does not know is refused, whatever our own users' passwords are."""
    box = await boxes.open(host=Panel(identity))
    await box.add(BOSS, ("admin",))
    for client in (box.nobody, box.basic(BOSS)):
        answer = await client.get(USERS)
        assert (answer.status, answer.text) == (401, "Authorization header invalid.\n")


async def test_host_gives_a_reason(boxes: Boxes) -> None:
    """The host's own reason for refusing is passed on."""
    box = await boxes.open(host=Panel(LoginRefusedError("Come back tomorrow.")))
    answer = await box.nobody.get(USERS)
    assert (answer.status, answer.headers["X-Reason"]) == (401, "Come back tomorrow.")


@pytest.mark.parametrize("allowed", [False, None, 0, "", "yes", 1, object()])
async def test_denied_by_default(boxes: Boxes, allowed: Any) -> None:
    """Only a plain True allows; an answer that merely looks like it does not."""
    box = await boxes.open(host=Panel(SOMEBODY, lambda identity, permission: allowed))
    answer = await box.nobody.get(USERS)
    assert (answer.status, answer.text) == (401, "You are not an administrator.\n")


async def test_awaited_permission(boxes: Boxes) -> None:
    """What a caller may can be an awaitable; one that answers False denies."""
    for allowed, status in ((True, 200), (False, 401)):
        answer = later(allowed)

        def may(identity: Identity, permission: str, answer: Any = answer) -> Any:
            return answer()

        box = await boxes.open(host=Panel(SOMEBODY, may))
        assert (await box.nobody.get(USERS)).status == status


PERMISSIONS: list[tuple[str, ...]] = [
    ("GET", "", "users:read"),
    ("POST", "/add", "users:write"),
    ("POST", "/remove", "users:write"),
    ("POST", "/purge", "users:purge"),
    ("POST", "/password", "users:write"),
    ("GET", "/privileges", "users:read"),
    ("POST", "/privileges/add", "admin"),
    ("POST", "/privileges/remove", "admin"),
    ("GET", "/quota", "users:read"),
    ("POST", "/quota", "quota:write", "users:write"),
]


@pytest.mark.parametrize("endpoint", PERMISSIONS, ids="".join)
async def test_permission_of_each_endpoint(boxes: Boxes, endpoint: tuple[str, ...]) -> None:
    """The host is asked for the permission that fits, then for the one that it is a part of, and refuses with them."""
    verb, path, *permissions = endpoint
    panel = Panel(SOMEBODY, lambda identity, wanted: wanted not in permissions)
    box = await boxes.open(host=panel)
    assert (await box.nobody.fetch(verb, USERS + path)).status == 401
    assert panel.asked == permissions


@pytest.mark.parametrize("via", ["cookie", "Cookie", "session", ""])
async def test_forgery_with_a_host(boxes: Boxes, via: str) -> None:
    """Whoever did not come by a credential of his own making needs our page's token."""
    box = await boxes.open(host=Panel(Identity("somebody", via)))
    assert (await box.nobody.get(USERS)).status == 200
    assert (await box.nobody.post(USERS + "/add", email=USER, password=PASSWORD)).status == 403
    browser = box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
    assert (await browser.post(USERS + "/add", email=USER, password=PASSWORD)).status == 200


async def test_host_without_our_login(boxes: Boxes) -> None:
    """A host that logs people in itself keeps our log-in's paths for itself."""
    box = await boxes.open(host=Panel(SOMEBODY))
    for path in ("/admin/login", "/admin/logout", "/admin/mailusers/login", "/admin/mailusers/setup"):
        assert (await box.nobody.post(path)).status == 404


async def test_host_that_breaks(boxes: Boxes) -> None:
    """A host that raises lets nobody in."""
    box = await boxes.open(host=Panel(RuntimeError("broken")))
    assert (await replace(box.nobody, described=False).get(USERS)).status == 500


async def test_not_yourself_with_a_host(boxes: Boxes) -> None:
    """A host's administrator who is a mail user too cannot archive himself."""
    box = await boxes.open(host=Panel(Identity(BOSS, "token")))
    await box.add(BOSS, ("admin",))
    await box.add(USER, ("admin",))
    answer = await box.nobody.post(USERS + "/remove", email=BOSS)
    assert (answer.status, answer.text) == (400, "You cannot archive your own account.")


async def test_mount_after_listening(boxes: Boxes) -> None:
    """An application that listens already gets the plugin, and keeps its own routes."""
    app = Application([("/host", HostRoute)])
    client = Client(boxes.listen(app))
    assert (await client.get(USERS)).status == 404
    boxes.mount(app, storage_root=boxes.storage())
    assert (await client.get(USERS)).status == 401
    assert (await client.get("/host")).status == 200


async def test_mount_before_the_loop(boxes: Boxes) -> None:
    """Without a running loop nothing is started; later start() does it, or the first request."""
    recorders = [Recorder(), Recorder()]
    for recorder, by_request in zip(recorders, (False, True), strict=True):
        app = Application()
        storage = boxes.storage()
        handle = await asyncio.to_thread(boxes.mount, app, storage_root=storage, hooks=[recorder])
        assert not handle.runtime.dispatcher.running
        box = Box(storage, app, handle, boxes.listen(app))
        await box.add(USER)
        assert recorder.events == []
        if by_request:
            await box.api.get(USERS)
        else:
            await handle.start()
            await handle.start()
        await box.delivered()
        assert recorder.types == ["UserAdded"]


async def test_start_while_it_starts(boxes: Boxes) -> None:
    """Whoever calls start() while it is under way goes on when everything runs, not before."""
    handle = boxes.mount(Application(), storage_root=boxes.storage())
    await asyncio.sleep(0)
    await handle.start()
    assert handle.runtime.dispatcher.running


async def test_start_once_more(boxes: Boxes) -> None:
    """A start that failed because the database was locked is made good by the next request."""
    app = Application()
    recorder = Recorder()
    arguments = {"hooks": [recorder], "busy_timeout_seconds": 0.1}
    handle = await asyncio.to_thread(boxes.mount, app, storage_root=boxes.storage(), **arguments)
    box = Box(handle.runtime.settings.storage_root, app, handle, boxes.listen(app))
    with closing(sqlite3.connect(box.storage / "mailusers" / "state.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError):
            await handle.start()
        assert (await box.api.get(USERS)).status == 503
    assert (await box.api.get(USERS)).status == 200
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]


async def test_stop(boxes: Boxes) -> None:
    """Stopping twice is stopping once, and leaves neither tasks nor threads of ours."""
    box = await boxes.open(usage_interval_seconds=3600)
    await box.add(USER)
    await box.api.get(USERS)
    await box.handle.stop()
    await box.handle.stop()
    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("mailusers")]
    assert left == []
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("mailusers")]
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert not any(thread.is_alive() for thread in threads)


async def test_hooks_of_the_handle(boxes: Boxes) -> None:
    """An implementation that is registered through the handle is told."""
    box = await boxes.open()
    recorder = Recorder()
    box.handle.pm.register(recorder)
    await box.add(USER)
    await box.delivered()
    assert recorder.types == ["UserAdded"]


@pytest.mark.parametrize(
    "settings",
    [
        {"prefix": "admin"},
        {"no_such_setting": 1},
        {"password_scheme": "MD5-CRYPT"},
        {"database": "nonsense"},
        {"default_quota": "lots"},
        {"hooks": [Recorder(), Recorder()]},
    ],
)
async def test_wrong_mount_leaves_nothing(boxes: Boxes, settings: dict[str, Any]) -> None:
    """What is wrong is said by mount, and the application stays as it was."""
    app = Application()
    client = Client(boxes.listen(app))
    with pytest.raises(ConfigurationError):
        mount(app, storage_root=boxes.storage(), **{**QUICK, **settings})
    assert (await client.get(USERS)).status == 404
    assert app.settings.get("mailusers_plugin", []) == []
    gc.collect()


async def test_api_key_open_to_others(boxes: Boxes) -> None:
    """A key that others can read keeps the plugin from starting, and nothing stays open."""
    storage = boxes.storage()
    key = storage / "mailusers" / "api.key"
    key.write_text("secret")
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        mount(Application(), storage_root=storage, **QUICK)
    gc.collect()


async def test_unusable_storage(tmp_path: Path) -> None:
    """A storage root that cannot be a folder is an error of ours with its path."""
    (tmp_path / "file").touch()
    with pytest.raises(MailUsersError, match=str(tmp_path)):
        mount(Application(), storage_root=tmp_path / "file" / "box", **QUICK)


async def test_panel_with_pluggy(boxes: Boxes) -> None:
    """A panel that uses pluggy gets the routes and a navigation entry from the installed plugin."""
    panel = pluggy.PluginManager(HOST_PROJECT)
    panel.add_hookspecs(adminpanel)
    panel.register(plugin)
    app = Application()
    (handle,) = panel.hook.adminpanel_register_handlers(
        app=app, host=None, settings={**QUICK, "storage_root": boxes.storage(), "prefix": "/mail"}
    )
    try:
        (entry,) = panel.hook.adminpanel_navigation(app=app)
        assert entry == {"label": "Users", "url": "/mail/users", "permission": "users:read"}
        assert (await Client(boxes.listen(app)).get("/mail/mail/users")).status == 401
    finally:
        await handle.stop()


async def test_navigation_without_the_plugin() -> None:
    """Where the plugin was not mounted the entry leads nowhere."""
    assert plugin.adminpanel_navigation(Application())["url"] == ""


async def test_actor_of_each_credential(boxes: Boxes) -> None:
    """Events say who made a change and how the caller was known."""
    box = await boxes.open()
    await box.add(BOSS, ("admin",))
    key = await box.session_key(BOSS)
    clients = [box.api, box.basic(BOSS), box.basic(BOSS, key), await box.browser(BOSS)]
    for number, client in enumerate(clients):
        await client.post(USERS + "/quota", email=BOSS, quota=f"{number + 1}G")
    events = [event for event in await box.events() if event["type"] == "QuotaChanged"]
    assert [Actor(event["actor"], event["via"]) for event in events] == [
        Actor(None, "token"),
        Actor(BOSS, "basic"),
        Actor(BOSS, "basic"),
        Actor(BOSS, "cookie"),
    ]

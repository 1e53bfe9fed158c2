"""Where the routes are, and what is left to the host."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.handlers.browsing import as_browser
from tests.support import BOSS, PASSWORD, USER, Boxes, Client

PREFIXES = ["", "/admin", "/mail.admin", "/deep/er", "/mailusers"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_prefix(boxes: Boxes, prefix: str) -> None:
    """Everything lies below the prefix, which may be empty."""
    box = await boxes.open(prefix=prefix)
    added = await box.api.post(f"{prefix}/mail/users/add", email=BOSS, password=PASSWORD, privilege="admin")
    assert added.text == "mail user added\n"
    assert (await box.basic(BOSS).get(f"{prefix}/mail/users")).text == f"{BOSS}\n"
    login = (await box.basic(BOSS).post(f"{prefix}/login")).json()
    assert (await box.basic(BOSS, login["api_key"]).post(f"{prefix}/logout")).json() == {"status": "ok"}
    assert (await box.api.get(f"/x{prefix}/mail/users")).status == 404
    assert box.handle.url == f"{prefix}/users"
    refused = await as_browser(box.nobody).get(f"{prefix}/users")
    assert refused.headers["Location"] == f"{prefix}/mailusers/login?next={quote(f'{prefix}/users', safe='')}"


@pytest.mark.parametrize(
    "path",
    [
        "/host",
        "/host/mail/users",
        "/admin/other",
        "/admin/users/more",
    ],
)
async def test_host_keeps_its_routes(admin: Client, path: str) -> None:
    """What is not ours, also below our prefix, reaches the host's own routes."""
    assert (await admin.get(path)).text == f"the host's own {path}"


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/admin/",
        "/admin/mail",
        "/admin/mail/users/",
        "/admin/mail/users/add/",
        "/admin/mail/users/nothing",
        "/admin/mail/usersx",
        "/mail/users",
        "/x/admin/mail/users",
        "/admin/mail/users%0a",
        "/admin//mail/users",
    ],
)
async def test_unknown_path(admin: Client, path: str) -> None:
    """A path that is nobody's is the host's to answer."""
    assert (await admin.get(path)).status == 404


async def test_prefix_is_no_pattern(boxes: Boxes) -> None:
    """A dot in the prefix is a dot."""
    box = await boxes.open(prefix="/mail.admin")
    assert (await box.api.get("/mail.admin/mail/users")).status == 200
    assert (await box.api.get("/mailxadmin/mail/users")).status == 404


async def test_two_applications(boxes: Boxes) -> None:
    """Two applications in one process have their own box, prefix, users and keys."""
    one, two = await boxes.open(), await boxes.open(prefix="/two")
    await one.add(BOSS, ("admin",))
    await two.add(USER, ("admin",))
    assert (await one.basic(BOSS).get("/admin/mail/users")).text == f"{BOSS}\n"
    assert (await two.basic(USER).get("/two/mail/users")).text == f"{USER}\n"
    assert (await two.basic(BOSS).get("/two/mail/users")).status == 401
    assert one.api_key != two.api_key
    assert (await one.basic(two.api_key, "").get("/admin/mail/users")).status == 401


async def test_two_boxes_in_one_application(boxes: Boxes) -> None:
    """One application can have two boxes below two prefixes."""
    one = await boxes.open()
    two = boxes.mount(one.app, storage_root=boxes.storage(), prefix="/two")
    await one.add(BOSS, ("admin",))
    assert (await one.basic(BOSS).get("/two/mail/users")).status == 401
    key = two.runtime.settings.api_key_path.read_text().strip()
    assert (await one.basic(key, "").get("/two/mail/users")).text == ""
    assert (await one.basic(BOSS).get("/admin/mail/users")).text == f"{BOSS}\n"

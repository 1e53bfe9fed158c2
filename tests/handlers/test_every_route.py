"""Who may what: every route with every verb and every kind of caller, against the table in permissions.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from mailusers_plugin.handlers import routes
from mailusers_plugin.handlers.base import BaseHandler, public, requires
from mailusers_plugin.permissions import PUBLIC, READ, SCOPES, TABLE, TOKENS, WRITE
from tests.handlers.callers import Caller, everybody
from tests.handlers.wire import Wire
from tests.support import USER, Answer, Box, Client

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")
"""Headers, and a parameter, by which other frameworks take a request for one with another verb."""
FORM = {
    "email": USER,
    "confirm": USER,
    "password": "a new password",
    "quota": "1G",
    "privilege": "admin",
    "do": "yes",
    "action": "import",
    "text": "new@example.com,a good password",
    "name": "theirs",
    "scope": "admin",
    "days": "never",
}
"""What would change something, wherever it is let in."""
SAFE = ("GET", "HEAD", "OPTIONS")

pytestmark = pytest.mark.gen_test(timeout=120)


def paths() -> list[str]:
    """Return a path of each route; those that end sessions come last."""
    return sorted(TABLE, key=lambda path: PUBLIC in TABLE[path].values())


def real(path: str) -> str:
    """Return what a browser would ask for."""
    for name, value in (("{id}", "0" * 32), ("{version}", "0" * 16), ("{file}", "js/main.js")):
        path = path.replace(name, value)
    return f"/admin{path}"


def snapshot(box: Box) -> list[Any]:
    """Return all that a stranger must not change."""
    return [
        box.sql("SELECT * FROM users ORDER BY id"),
        box.sql("SELECT * FROM mailusers_archive ORDER BY email"),
        box.state_sql("SELECT id, key_hash, scopes, expires_at FROM mailusers_token ORDER BY id"),
        box.state_sql("SELECT id FROM mailusers_import ORDER BY id"),
    ]


def is_refused(answer: Answer) -> bool:
    """Tell whether somebody was sent away, or to the log-in page."""
    to_login = answer.status == 303 and "/admin/mailusers/login?next=" in answer.headers["Location"]
    return to_login or answer.status in (401, 403)


def expected(caller: Caller, verb: str, path: str) -> Callable[[Answer], bool]:
    """Return what must hold for the answer, by the table alone."""
    needed = TABLE[path].get(verb)
    if needed is None:
        return lambda answer: answer.status == 405
    if needed == PUBLIC:
        # The same for everybody: what it does it decides by itself.
        return lambda answer: answer.status < 500 and answer.status != 405
    if needed in caller.permissions and (verb in SAFE or not caller.forged):
        return lambda answer: not is_refused(answer) and answer.status not in (405, 500)
    return is_refused


async def test_every_route_verb_and_caller(
    box: Box, admin: Client, user: str, record_property: Callable[[str, object], None]
) -> None:
    """Every answer is the one that the table gives; whoever is refused has changed nothing."""
    callers = await everybody(box)
    assert len({caller.name for caller in callers}) == len(callers) > 30
    checked = 0
    async with Wire(box.base_url) as wire:
        for caller in callers:
            before = snapshot(box)
            for path in paths():
                for verb in VERBS:
                    is_right = expected(caller, verb, path)
                    # Where it is let in, it has nothing to work with.
                    form = urlencode(FORM) if is_right is is_refused else ""
                    in_query = f"?{form}" if form and verb in SAFE else ""
                    body = form if verb not in SAFE and verb != "TRACE" else ""
                    answer = await wire.send(verb, real(path) + in_query, caller.headers, body)
                    assert is_right(answer), (caller.name, verb, path, answer.status, answer.text[:200])
                    checked += 1
            assert snapshot(box) == before, caller.name
    assert checked == len(callers) * len(TABLE) * len(VERBS)
    record_property("combinations", checked)
    print(f"{len(callers)} callers × {len(TABLE)} routes × {len(VERBS)} verbs: {checked} answers checked")


def overridden(verb: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield what is sent to have a request taken for one with another verb: name, headers and query."""
    for other in ("GET", "POST", "DELETE"):
        if other != verb:
            for way in OVERRIDES:
                if way == "_method":
                    yield f"{way}={other}", {}, f"_method={other}"
                else:
                    yield f"{way}: {other}", {way: other}, ""


async def test_no_verb_is_taken_for_another(
    box: Box, admin: Client, user: str, record_property: Callable[[str, object], None]
) -> None:
    """Headers and parameters that override the verb elsewhere do nothing: the answer is that of the verb."""
    some = ("nobody", "an administrator by password", f"a token with the scope {READ}")
    callers = [caller for caller in await everybody(box) if caller.name in some]
    checked = 0
    async with Wire(box.base_url) as wire:
        for caller in callers:
            before = snapshot(box)
            for path in paths():
                for verb in ("GET", "POST"):
                    is_right = expected(caller, verb, path)
                    for name, headers, query in overridden(verb):
                        body = query if verb == "POST" else ""
                        asked = f"{real(path)}?{query}&email={USER}" if verb == "GET" else real(path)
                        answer = await wire.send(verb, asked, {**caller.headers, **headers}, body)
                        assert is_right(answer), (caller.name, verb, name, path, answer.status)
                        checked += 1
            assert snapshot(box) == before, caller.name
    record_property("combinations", checked)
    print(f"{checked} requests that ask to be taken for another verb")


def test_a_route_needs_a_line() -> None:
    """A route that is not in the table, or a handler that says something else, cannot be served."""

    class Open(BaseHandler):
        @public
        async def get(self) -> None:
            pass

        head = get

    class Reading(BaseHandler):
        @requires(READ)
        async def get(self) -> None:
            pass

        head = get

    class Asking(Reading):
        @requires()
        async def post(self) -> None:
            pass

    with pytest.raises(RuntimeError, match=r"/users/new is not in the table"):
        routes.permit("/users/new", Reading)
    with pytest.raises(RuntimeError, match=r"Open wants 'public' for GET /users"):
        routes.permit("/users", Open)
    with pytest.raises(RuntimeError, match=r"Reading wants 'users:read' for GET /mailusers/static"):
        routes.permit("/mailusers/static/{version}/{file}", Reading)
    with pytest.raises(RuntimeError, match=r"answers \['GET', 'HEAD'\], but the table .* has \['POST'\]"):
        routes.permit("/mail/users/add", Reading)
    with pytest.raises(RuntimeError, match=r"answers \['GET', 'HEAD', 'POST'\]"):
        routes.permit("/users", Asking)
    routes.permit("/users", Reading)
    assert Reading.permissions is TABLE["/users"]
    with pytest.raises(RuntimeError, match=r"serves /users/domains and another route"):
        routes.permit("/users/domains", Reading)


def test_a_verb_must_say_something() -> None:
    """A handler with a verb that says nothing of who may call it cannot be defined."""
    with pytest.raises(TypeError, match=r"Silent\.post says neither"):

        class Silent(BaseHandler):
            async def post(self) -> None:
                pass


async def test_the_table_has_no_route_that_is_not_there(box: Box, boxes: Any) -> None:
    """Each line of the table is a route of the application, and there is no other."""
    found = set()
    for host_rule in box.app.default_router.rules:
        for rule in getattr(host_rule.target, "rules", ()):
            if rule.target.__module__.startswith("mailusers_plugin."):
                found.add(rule.matcher.regex.pattern)
    assert len(found) == len(TABLE)


def test_no_scope_reaches_tokens() -> None:
    """No scope lets a token see, make or revoke tokens, and none but admin holds what others do not name."""
    assert all(TOKENS not in permissions for permissions in SCOPES.values())
    assert set(SCOPES) == {READ, WRITE, "quota:write", "events:read", "admin"}

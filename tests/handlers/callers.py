"""Everybody who may call: with every credential that there is, good, bad, over, and from the wrong place."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailusers_plugin.auth.api_key import rotate_api_key
from mailusers_plugin.auth.authenticator import API, COOKIE
from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from mailusers_plugin.auth.token_keys import new_key
from mailusers_plugin.models import ADMIN
from mailusers_plugin.permissions import PERMISSIONS, SCOPES
from tests.support import BOSS, CONSOLE, PASSWORD, USER, XSRF, Box, basic, stored_time

NOTHING: frozenset[str] = frozenset()
ALL = frozenset(PERMISSIONS)


@dataclass(frozen=True)
class Caller:
    """Somebody who sends requests.

    :ivar permissions: what is allowed
    :ivar forged: whether the page's token is missing, so that nothing is allowed that changes something
    """

    name: str
    headers: Mapping[str, str]
    permissions: frozenset[str] = NOTHING
    forged: bool = False


def bearer(key: str) -> dict[str, str]:
    """Return the header with an API token."""
    return {"Authorization": f"Bearer {key}"}


def by_basic(name: str, password: str) -> dict[str, str]:
    """Return the header with a name and a password."""
    return {"Authorization": basic(name, password)}


def cookie(key: str, *, xsrf: bool = True) -> dict[str, str]:
    """Return the headers of a browser."""
    if not xsrf:
        return {"Cookie": f"{COOKIE_NAME}={key}"}
    return {"Cookie": f"{COOKIE_NAME}={key}; _xsrf={XSRF}", "X-XSRFToken": XSRF}


async def make_token(
    box: Box, *scopes: str, owner: str = BOSS, days: float | None = 1.0, networks: Collection[str] = ()
) -> str:
    """Make an API token."""
    tokens = box.runtime.tokens()
    return (
        await tokens.create(owner, f"{' '.join(scopes)} of {owner}", scopes, days=days, networks=networks)
    )[1]


async def everybody(box: Box) -> list[Caller]:
    """Return all kinds of callers of a box that has none of their accounts yet but BOSS and USER."""
    found = [
        Caller("nobody", {}),
        Caller("a browser that was here before", {"Cookie": f"_xsrf={XSRF}", "X-XSRFToken": XSRF}),
        Caller("a header that says nothing", {"Authorization": "junk"}),
        Caller("a wrong password", by_basic(BOSS, "a wrong password")),
        Caller("a made-up session", cookie(secrets.token_hex(32))),
        Caller("a made-up token", bearer(new_key())),
        Caller("a token with a mistake in it", bearer("mu_" + "0" * 49)),
        *await _of(box, USER, "a plain user", NOTHING),
        *await _of(box, BOSS, "an administrator", ALL),
    ]
    key = await box.session_key(BOSS, COOKIE)
    found.append(
        Caller("an administrator's cookie without the page's token", cookie(key, xsrf=False), ALL, True)
    )
    found += await _expired(box)
    found += await _archived(box)
    found += await _demoted(box)
    found += await _tokens(box)
    old = box.api_key
    rotate_api_key(box.runtime.settings.api_key_path)
    found.append(Caller("the system API key before its rotation", by_basic(old, "")))
    found.append(Caller("the system API key", by_basic(box.api_key, ""), ALL))
    return found


async def _of(box: Box, email: str, who: str, permissions: frozenset[str]) -> list[Caller]:
    key, in_cookie = await box.session_key(email, API), await box.session_key(email, COOKIE)
    return [
        Caller(f"{who} by password", by_basic(email, PASSWORD), permissions),
        Caller(f"{who} by session key", by_basic(email, key), permissions),
        Caller(f"{who} by cookie", cookie(in_cookie), permissions),
        Caller(f"{who} by a session key as cookie", cookie(await box.session_key(email, API))),
    ]


async def _expired(box: Box) -> list[Caller]:
    before = set(box.state_sql("SELECT key_hash FROM mailusers_session"))
    key, in_cookie = await box.session_key(BOSS, API), await box.session_key(BOSS, COOKIE)
    long_ago = stored_time(datetime.now(UTC) - timedelta(days=30))
    for (key_hash,) in set(box.state_sql("SELECT key_hash FROM mailusers_session")) - before:
        box.state_sql("UPDATE mailusers_session SET used_at = ? WHERE key_hash = ?", long_ago, key_hash)
    return [
        Caller("an expired session key", by_basic(BOSS, key)),
        Caller("an expired cookie", cookie(in_cookie)),
    ]


async def _archived(box: Box) -> list[Caller]:
    email = "archived@example.com"
    await box.add(email, (ADMIN,))
    token = await make_token(box, "admin", owner=email)
    found = await _of(box, email, "an archived administrator", NOTHING)
    await box.service.archive(CONSOLE, email)
    return [*found, Caller("an archived administrator by token", bearer(token))]


async def _demoted(box: Box) -> list[Caller]:
    email = "demoted@example.com"
    await box.add(email, (ADMIN,))
    token = await make_token(box, "admin", owner=email)
    found = await _of(box, email, "a demoted administrator", NOTHING)
    await box.service.remove_privileges(CONSOLE, email, (ADMIN,))
    return [*found, Caller("a demoted administrator by token", bearer(token))]


async def _tokens(box: Box) -> list[Caller]:
    every = frozenset(permission for permissions in SCOPES.values() for permission in permissions)
    found = [
        Caller(
            f"a token with the scope {scope}", bearer(await make_token(box, scope)), frozenset(permissions)
        )
        for scope, permissions in SCOPES.items()
    ]
    whole = await make_token(box, *SCOPES)
    found.append(Caller("a token with all scopes", bearer(whole), every))
    found.append(Caller("a token as password", by_basic("anybody", whole), every))
    found.append(Caller("a token as password without a name", by_basic("", whole), every))
    expired = await make_token(box, *SCOPES, "admin", days=1.5)
    box.state_sql(
        "UPDATE mailusers_token SET expires_at = ? WHERE expires_at > ?",
        stored_time(datetime.now(UTC) - timedelta(seconds=1)),
        stored_time(datetime.now(UTC) + timedelta(days=1.2)),
    )
    found.append(Caller("an expired token", bearer(expired)))
    elsewhere = await make_token(box, *SCOPES, networks=["192.0.2.0/24", "2001:db8::/32"])
    found.append(Caller("a token from a wrong network", bearer(elsewhere)))
    here = await make_token(box, *SCOPES, networks=["192.0.2.0/24", "127.0.0.1"])
    found.append(Caller("a token from its network", bearer(here), every))
    revoked = await make_token(box, *SCOPES, days=0.5)
    newest = (await box.runtime.tokens().everything())[0]
    await box.runtime.tokens().revoke(newest.id)
    found.append(Caller("a revoked token", bearer(revoked)))
    return found

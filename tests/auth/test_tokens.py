"""API tokens: for whom one acts, what is stored of it, and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailusers_plugin.auth.tokens import ELSEWHERE, EXPIRED, INVALID, OWNER_GONE, Tokens
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError, UnavailableError
from mailusers_plugin.models import ADMIN, Identity
from mailusers_plugin.permissions import READ, SCOPES
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store.tokens import Token
from tests.support import BOSS, CONSOLE, USER, Box, Boxes, Client, read_time, stored_time

OTHER = "other@example.com"
HERE = "127.0.0.1"


async def make(
    box: Box, *scopes: str, owner: str = BOSS, days: float | None = 1.0, networks: Sequence[str] = ()
) -> tuple[Token, str]:
    """Make a token."""
    return await box.runtime.tokens().create(
        owner, "a script", scopes or (READ,), days=days, networks=networks
    )


async def refusal(tokens: Tokens, key: str, address: str = HERE) -> str:
    """Return why a token is refused."""
    with pytest.raises(LoginRefusedError) as caught:
        await tokens.identify(key, address)
    return caught.value.message


async def test_a_token_acts_for_its_owner(box: Box, admin: Client) -> None:
    """Who has the token is its owner, with the owner's privileges and the token's scopes."""
    made, key = await make(box, "admin", READ)
    identity = await box.runtime.tokens().identify(key, HERE)
    assert identity == Identity(BOSS, "token", (ADMIN,), (READ, "admin"))
    assert made.expires_at is not None
    assert timedelta(hours=23) < made.expires_at - datetime.now(UTC) < timedelta(hours=25)


async def test_only_a_hash_is_stored(box: Box, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the database nor the log holds a token, nor any part of it that would help."""
    with caplog.at_level(logging.DEBUG):
        _, key = await make(box)
        assert (
            await box.nobody.sending(Authorization=f"Bearer {key}").get("/admin/mail/users")
        ).status == 200
    stored = repr(box.state_sql("SELECT * FROM mailusers_token"))
    for secret in (key, key[3:], key[3:46]):
        assert secret not in stored
        assert secret not in caplog.text


async def test_expiry(box: Box, admin: Client) -> None:
    """A token ends at its time, and one without an expiry does not."""
    tokens = box.runtime.tokens()
    _, never = await make(box, days=None)
    made, key = await make(box, days=0.001)
    await tokens.identify(key, HERE)
    box.state_sql(
        "UPDATE mailusers_token SET expires_at = ? WHERE id = ?", stored_time(datetime.now(UTC)), made.id
    )
    assert await refusal(tokens, key) == EXPIRED
    assert (await tokens.identify(never, HERE)).name == BOSS
    assert [token.expires_at for token in await tokens.everything() if token.id != made.id] == [None]


async def test_networks(box: Box, admin: Client) -> None:
    """A token works from its networks only, and an IPv4 address may be written as one of IPv6."""
    tokens = box.runtime.tokens()
    _, key = await make(box, networks=["192.0.2.0/24", "2001:db8::/32"])
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"):
        assert (await tokens.identify(key, address)).name == BOSS
    for address in ("192.0.3.7", "::ffff:192.0.3.7", "2001:db9::7", HERE, "", "nonsense"):
        assert await refusal(tokens, key, address) == ELSEWHERE
    _, everywhere = await make(box)
    assert (await tokens.identify(everywhere, "")).name == BOSS


async def test_revoked(box: Box, admin: Client) -> None:
    """A token that was revoked is refused with the next request; the others are not."""
    tokens = box.runtime.tokens()
    made, key = await make(box)
    _, other = await make(box)
    await tokens.revoke(made.id)
    assert await refusal(tokens, key) == INVALID
    assert (await tokens.identify(other, HERE)).name == BOSS
    with pytest.raises(InvalidInputError, match="no such API token any more"):
        await tokens.revoke(made.id)


async def test_other_processes_know_at_once(box: Box, boxes: Boxes, admin: Client) -> None:
    """What one process makes or revokes holds in another with its next request."""
    other = Runtime(boxes.settings(box.storage))
    try:
        made, key = await make(box)
        assert (await other.tokens().identify(key, HERE)).name == BOSS
        await other.tokens().revoke(made.id)
        assert await refusal(box.runtime.tokens(), key) == INVALID
    finally:
        await other.stop()


@pytest.mark.parametrize(
    "way", ["archived", "demoted", "removed by another program", "demoted by another program"]
)
async def test_owner_gone(box: Box, admin: Client, way: str) -> None:
    """With the owner or the owner's privilege the token is dead at once, whoever took it away."""
    await box.add(OTHER, (ADMIN,))
    _, key = await make(box, owner=OTHER)
    tokens = box.runtime.tokens()
    assert (await tokens.identify(key, HERE)).name == OTHER
    if way == "archived":
        await box.service.archive(CONSOLE, OTHER)
    elif way == "demoted":
        await box.service.remove_privileges(CONSOLE, OTHER, (ADMIN,))
    elif way == "removed by another program":
        box.sql("DELETE FROM users WHERE email = ?", OTHER)
    else:
        box.sql("UPDATE users SET privileges = '' WHERE email = ?", OTHER)
    by_us = way in ("archived", "demoted")
    assert await refusal(tokens, key) == (INVALID if by_us else OWNER_GONE)
    assert [token.owner for token in await tokens.everything()] == ([] if by_us else [OTHER])


@pytest.mark.parametrize(
    "way", ["undo", "restore", "promote", "another program", "promote after another program"]
)
async def test_a_dead_token_stays_dead(box: Box, admin: Client, way: str) -> None:
    """Whoever becomes an administrator again gets no token of the time before back."""
    await box.add(OTHER, (ADMIN,))
    _, key = await make(box, "admin", owner=OTHER)
    tokens = box.runtime.tokens()
    if way in ("undo", "restore"):
        await box.service.archive(CONSOLE, OTHER)
        if way == "undo":
            await box.service.undo_archive(CONSOLE, OTHER)
        else:
            await box.add(OTHER, (ADMIN,))
    elif way == "promote":
        await box.service.remove_privileges(CONSOLE, OTHER, (ADMIN,))
        await box.service.add_privileges(CONSOLE, OTHER, (ADMIN,))
    elif way == "another program":
        box.sql("DELETE FROM users WHERE email = ?", OTHER)
        box.sql("INSERT INTO users (email, password, privileges) VALUES (?, 'x', 'admin')", OTHER)
    else:
        box.sql("UPDATE users SET privileges = '' WHERE email = ?", OTHER)
        await box.service.add_privileges(CONSOLE, OTHER, (ADMIN,))
    assert await refusal(tokens, key) in (INVALID, OWNER_GONE)


async def test_a_living_token_lives_on(box: Box, admin: Client) -> None:
    """A new password of the owner, another privilege, or what happens to others does not end a token."""
    _, key = await make(box)
    await box.add(USER, (ADMIN,))
    await box.service.set_password(CONSOLE, BOSS, "another good password")
    await box.service.add_privileges(CONSOLE, BOSS, (ADMIN,))
    await box.service.archive(CONSOLE, USER)
    assert (await box.runtime.tokens().identify(key, HERE)).name == BOSS


async def test_last_use(box: Box, admin: Client) -> None:
    """Time and address of the last use are noted, once in some minutes and not with each request."""
    tokens = box.runtime.tokens()
    made, key = await make(box)
    await tokens.identify(key, "::ffff:192.0.2.7")
    first = await tokens.find(made.id)
    assert first.used_from == "192.0.2.7"
    assert first.used_at is not None
    assert datetime.now(UTC) - first.used_at < timedelta(minutes=1)
    await tokens.identify(key, "192.0.2.8")
    assert await tokens.find(made.id) == first
    long_ago = stored_time(datetime.now(UTC) - timedelta(minutes=6))
    box.state_sql("UPDATE mailusers_token SET used_at = ? WHERE id = ?", long_ago, made.id)
    await tokens.identify(key, "192.0.2.8")
    [(at, address)] = box.state_sql("SELECT used_at, used_from FROM mailusers_token")
    assert address == "192.0.2.8"
    assert datetime.now(UTC).replace(tzinfo=None) - read_time(at) < timedelta(minutes=1)


async def test_last_use_cannot_be_noted(
    box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A request goes on where only its book-keeping fails."""
    _, key = await make(box)

    async def fail(*arguments: Any) -> None:
        raise UnavailableError("The disk is full.")

    monkeypatch.setattr(box.runtime.state, "write", fail)
    assert (await box.runtime.tokens().identify(key, HERE)).name == BOSS
    assert "could not be noted: The disk is full." in caplog.text


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"owner": USER}, r"user@example\.com is not an administrator\. Only administrators can own"),
    ({"owner": "nobody@example.com"}, r"nobody@example\.com is not an administrator"),
    ({"name": " "}, "Give the token a name"),
    ({"name": "x" * 101}, "of at most 100 characters"),
    ({"name": "a\nb"}, "Give the token a name"),
    ({"scopes": ()}, "Choose at least one of these scopes: users:read, users:write, quota:write"),
    ({"scopes": (READ, "tokens")}, "Choose at least one of these scopes"),
    ({"scopes": ("everything",)}, "Choose at least one of these scopes"),
    ({"days": 0}, "at most 3650 days"),
    ({"days": -1}, "at most 3650 days"),
    ({"days": 3651}, "at most 3650 days"),
    ({"days": float("nan")}, "at most 3650 days"),
    ({"days": float("inf")}, "at most 3650 days"),
    ({"networks": ["192.0.2.0/24", "x"]}, "x is not a network"),
]


async def test_what_is_not_possible(box: Box, user: str) -> None:
    """What cannot be says so, and nothing is made."""
    for changes, text in IMPOSSIBLE:
        given: dict[str, Any] = {"owner": BOSS, "name": "a script", "scopes": (READ,), "days": 1.0, **changes}
        owner, name, scopes = given.pop("owner"), given.pop("name"), given.pop("scopes")
        with pytest.raises(InvalidInputError, match=text):
            await box.runtime.tokens().create(owner, name, scopes, **given)
    assert await box.runtime.tokens().everything() == []


async def test_of_another_kind_of_host(box: Box, admin: Client) -> None:
    """A token of somebody of the host's own is nothing where mail users log in, and the other way round."""
    of_host = box.runtime.tokens(of_host=True)
    _, theirs = await of_host.create(BOSS, "theirs", (READ,), days=1.0)
    _, ours = await make(box)
    assert await of_host.identify(theirs, HERE) == Identity(BOSS, "token", (), (READ,))
    assert await refusal(of_host, ours) == INVALID
    assert await refusal(box.runtime.tokens(), theirs) == INVALID
    await box.add(OTHER, (ADMIN,))
    await box.service.remove_privileges(CONSOLE, BOSS, (ADMIN,))
    # What becomes of the mail user of that name is nothing to the host's own people.
    assert (await of_host.identify(theirs, HERE)).name == BOSS


async def test_all_scopes_are_kept_in_order(box: Box, admin: Client) -> None:
    """Scopes are stored in the order of the table, each once."""
    made, _ = await make(box, *reversed([*SCOPES]), READ)
    assert made.scopes == tuple(SCOPES)
    assert await box.runtime.tokens().find(made.id) == made

"""What there must be: users as their clients know them from the answers that they got, step by step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Step = tuple[str, str]
"""An event as it must be stored and told: its type, and what in it tells it from others of its address."""


@dataclass(frozen=True)
class State:
    """A user, or none.

    :ivar active: whether there is an account; where there is none, the rest is what the archive must remember
    """

    active: bool = False
    archived: bool = False
    password: str = ""
    quota: str = "0"
    privileges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A request and what it makes of a user."""

    action: str
    form: Mapping[str, str]
    step: Step
    after: State


@dataclass
class User:
    """One address, which one client changes, one request after the other.

    :ivar steps: what was acknowledged, oldest first
    :ivar state: what the user is by that
    :ivar unknown: a change whose answer never came: it was made as a whole, or not at all
    :ivar verified: the password whose hash was compared last
    """

    email: str
    state: State = State()
    steps: list[Step] = field(default_factory=list)
    unknown: Change | None = None
    verified: str = ""

    def acknowledge(self, change: Change) -> None:
        """Take a change for made."""
        self.steps.append(change.step)
        self.state = change.after

    def settle(self, made: bool) -> None:
        """Say what became of the change that nobody had answered."""
        change, self.unknown = self.unknown, None
        if made and change is not None:
            self.acknowledge(change)


def next_change(user: User, chance: random.Random) -> Change:
    """Return what a client does next with a user."""
    state = user.state
    if not state.active:
        quota, password = f"{chance.randint(1, 900)}M", f"secret {chance.getrandbits(48):x}"
        after = State(True, False, password, quota, ())
        return Change("/add", {"password": password, "quota": quota}, ("UserAdded", f"{quota} "), after)
    if "admin" in state.privileges and chance.random() < 0.7:
        after = replace(state, privileges=())
        return Change("/privileges/remove", {"privilege": "admin"}, ("PrivilegesChanged", ""), after)
    kinds = ("quota", "quota", "quota", "password", "remove", *(() if state.privileges else ("privileges",)))
    kind = chance.choice(kinds)
    if kind == "quota":
        # Never the one that there is, which would be no change and no event.
        quota = f"{int(state.quota[:-1]) + chance.randint(1, 900)}M"
        mark = f"{state.quota} > {quota}"
        return Change("/quota", {"quota": quota}, ("QuotaChanged", mark), replace(state, quota=quota))
    if kind == "password":
        password = f"secret {chance.getrandbits(48):x}"
        after = replace(state, password=password)
        return Change("/password", {"password": password}, ("PasswordChanged", ""), after)
    if kind == "privileges":
        after = replace(state, privileges=("admin",))
        return Change("/privileges/add", {"privilege": "admin"}, ("PrivilegesChanged", "admin"), after)
    after = replace(state, active=False, archived=True)
    return Change("/remove", {}, ("UserArchived", state.quota), after)


def as_step(type_: str, body: Mapping[str, Any]) -> Step:
    """Return a stored or told event in the form of :data:`Step`."""
    if type_ == "UserAdded":
        return type_, f"{body['quota']} {' '.join(body['privileges'])}"
    if type_ == "QuotaChanged":
        return type_, f"{body['old_quota']} > {body['new_quota']}"
    if type_ == "PrivilegesChanged":
        return type_, " ".join(body["new_privileges"])
    return type_, body["quota"] if type_ == "UserArchived" else ""


def told_steps(entries: list[dict[str, Any]]) -> tuple[dict[str, list[Step]], int]:
    """Return by address what an implementation was told, and how often it was told again.

    What is told again must be so before anything newer of its address is; else it counts as one more step here.
    """
    steps: dict[str, list[Step]] = {}
    newest: dict[str, str] = {}
    again = 0
    for entry in entries:
        email = entry["email"]
        if newest.get(email) == entry["id"]:
            again += 1
            continue
        newest[email] = entry["id"]
        steps.setdefault(email, []).append(as_step(entry["type"], entry))
    return steps, again


def names(seed: int, client: int) -> Iterator[str]:
    """Yield the addresses of a client's users."""
    number = 0
    while True:
        number += 1
        yield f"c{client}u{number}@s{seed}.example.com"

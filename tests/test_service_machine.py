"""The use cases against a simple model: whatever two administrators and a program do, one by one or at once."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tornado.ioloop import IOLoop

from mailusers_plugin.errors import (
    ForbiddenChangeError,
    InvalidInputError,
    MailUsersError,
    NotArchivedError,
    UnknownUserError,
    UserExistsError,
)
from mailusers_plugin.models import ADMIN, Actor, Selection
from tests.support import BOSS, Box, Boxes

CHIEF: Final = "chief@example.com"
PEOPLE: Final = (BOSS, CHIEF, "anna@example.com", "ben@example.org", "c@xn--bcher-kva.example.org")
ACTORS: Final = (Actor(BOSS, "basic"), Actor(CHIEF, "cookie"), Actor(None, "token"))
EXTRA: Final = "billing"

Outcome = type[MailUsersError] | None
Recorded = tuple[str, str | None, Any, Any, Any]


@dataclass(frozen=True)
class Step:
    """One use case with what it is given."""

    what: str
    actor: Actor
    email: str
    value: Any = None

    async def take(self, box: Box) -> Outcome:
        """Do it; return what came of it."""
        service, given = box.service, (self.actor, self.email)
        calls: dict[str, Callable[[], Any]] = {
            "add": lambda: service.add(*given, self.value[0], self.value[1], self.value[2]),
            "archive": lambda: service.archive(*given),
            "undo": lambda: service.undo_archive(*given),
            "purge": lambda: service.purge(*given, self.value),
            "quota": lambda: service.set_quota(*given, self.value),
            "password": lambda: service.set_password(*given, self.value),
            "give": lambda: service.add_privileges(*given, self.value),
            "take": lambda: service.remove_privileges(*given, self.value),
        }
        try:
            await calls[self.what]()
        except MailUsersError as error:
            return type(error)
        return None


@dataclass
class Person:
    """An account as the model knows it."""

    password: str
    privileges: tuple[str, ...]
    quota: str


@dataclass
class Model:
    """What a box is, without databases, hashes, or anything that happens at the same time."""

    active: dict[str, Person] = field(default_factory=dict)
    archived: dict[str, Person] = field(default_factory=dict)
    events: dict[str, list[Recorded]] = field(default_factory=lambda: defaultdict(list))

    def apply(self, step: Step) -> Outcome:
        """Do a step; return what must come of it."""
        outcome: Outcome = getattr(self, f"_{step.what}")(step)
        return outcome

    def administrators(self) -> list[str]:
        """Return who may change others."""
        return [email for email, person in self.active.items() if ADMIN in person.privileges]

    def _tell(self, step: Step, kind: str, *values: Any) -> None:
        first, second, third = (*values, None, None, None)[:3]
        self.events[step.email].append((kind, step.actor.name, first, second, third))

    def _add(self, step: Step) -> Outcome:
        if step.email in self.active:
            return UserExistsError
        password, privileges, quota = step.value
        restored = self.archived.pop(step.email, None) is not None
        self.active[step.email] = Person(password, privileges, quota)
        self._tell(step, "UserAdded", list(privileges), quota, restored)
        return None

    def _archive(self, step: Step) -> Outcome:
        if step.email not in self.active:
            return UnknownUserError
        if step.actor.name == step.email or self.administrators() == [step.email]:
            return ForbiddenChangeError
        person = self.archived[step.email] = self.active.pop(step.email)
        self._tell(step, "UserArchived", list(person.privileges), person.quota)
        return None

    def _undo(self, step: Step) -> Outcome:
        if step.email not in self.archived:
            return NotArchivedError
        person = self.active[step.email] = self.archived.pop(step.email)
        self._tell(step, "UserAdded", list(person.privileges), person.quota, True)
        return None

    def _purge(self, step: Step) -> Outcome:
        if step.value != step.email:
            return InvalidInputError
        if self.archived.pop(step.email, None) is None:
            return NotArchivedError
        self._tell(step, "UserPurged")
        return None

    def _quota(self, step: Step) -> Outcome:
        person = self.active.get(step.email)
        if person is None:
            return UnknownUserError
        if person.quota != step.value:
            self._tell(step, "QuotaChanged", person.quota, step.value)
        person.quota = step.value
        return None

    def _password(self, step: Step) -> Outcome:
        person = self.active.get(step.email)
        if person is None:
            return UnknownUserError
        person.password = step.value
        self._tell(step, "PasswordChanged")
        return None

    def _give(self, step: Step) -> Outcome:
        person = self.active.get(step.email)
        if person is None:
            return UnknownUserError
        return self._set_privileges(step, person, tuple(dict.fromkeys(person.privileges + step.value)))

    def _take(self, step: Step) -> Outcome:
        person = self.active.get(step.email)
        if person is None:
            return UnknownUserError
        needed = step.actor.name == step.email or self.administrators() == [step.email]
        if needed and ADMIN in step.value and ADMIN in person.privileges:
            return ForbiddenChangeError
        return self._set_privileges(step, person, tuple(p for p in person.privileges if p not in step.value))

    def _set_privileges(self, step: Step, person: Person, privileges: tuple[str, ...]) -> Outcome:
        if privileges != person.privileges:
            self._tell(step, "PrivilegesChanged", list(person.privileges), list(privileges))
        person.privileges = privileges
        return None


FIELDS: Final = {
    "UserAdded": ("privileges", "quota", "restored"),
    "UserArchived": ("privileges", "quota"),
    "UserPurged": (),
    "QuotaChanged": ("old_quota", "new_quota"),
    "PasswordChanged": (),
    "PrivilegesChanged": ("old_privileges", "new_privileges"),
}
"""What the model says of each event."""

passwords = st.sampled_from(
    ["correct horse battery", "a third good password", "Pässwort mit Ümlaut", " blanks around "]
)
privileges = st.lists(st.sampled_from([ADMIN, EXTRA]), unique=True).map(tuple)
quotas = st.sampled_from(["0", "500M", "5G", "1", str(2**63 - 1)])
values: Final[dict[str, st.SearchStrategy[Any]]] = {
    "add": st.tuples(passwords, privileges, quotas),
    "archive": st.none(),
    "undo": st.none(),
    "purge": st.sampled_from(PEOPLE),
    "quota": quotas,
    "password": passwords,
    "give": privileges,
    "take": privileges,
}


@st.composite
def steps(draw: st.DrawFn, purges: bool = True) -> Step:
    """Make up a step."""
    what = draw(st.sampled_from([name for name in values if purges or name != "purge"]))
    email = draw(st.sampled_from(PEOPLE))
    value = draw(values[what])
    if what == "purge" and draw(st.booleans()):
        value = email
    return Step(what, draw(st.sampled_from(ACTORS)), email, value)


class Administration(RuleBasedStateMachine):
    """A box and its model side by side."""

    def __init__(self, boxes: Boxes, loop: IOLoop) -> None:
        """Open a box."""
        super().__init__()
        self.boxes, self.loop = boxes, loop
        self.model = Model()
        self.box: Box = self.run(lambda: boxes.open(extra_privileges=(EXTRA,)))

    def run(self, function: Callable[[], Any]) -> Any:
        """Run something in the test's event loop."""
        return self.loop.run_sync(function, timeout=60)

    @initialize()
    def first(self) -> None:
        """Begin with one administrator, of whom there is always one from now on."""
        self.one(Step("add", Actor(None, "setup"), BOSS, ("correct horse battery", (ADMIN,), "0")))

    @rule(step=steps())
    def one(self, step: Step) -> None:
        """Take one step: what comes of it is what the model says."""
        assert self.run(lambda: step.take(self.box)) is self.model.apply(step)

    # A purge has several transactions, between which the address is neither archived nor free.
    @rule(first=steps(purges=False), second=steps(purges=False))
    def two(self, first: Step, second: Step) -> None:
        """Take two steps at once: what comes of them is what comes of one after the other, in either order."""

        async def both() -> tuple[Outcome, Outcome]:
            done = await asyncio.gather(first.take(self.box), second.take(self.box))
            return done[0], done[1]

        outcomes = self.run(both)
        found = self.run(self.recorded)
        possible = []
        for order in ((first, second), (second, first)):
            model = deepcopy(self.model)
            wanted = {id(step): model.apply(step) for step in order}
            if (wanted[id(first)], wanted[id(second)]) == outcomes and model.events == found:
                possible.append(model)
        assert possible, (first, second, outcomes)
        self.model = possible[0]

    async def recorded(self) -> dict[str, list[Recorded]]:
        """Return the events as they were delivered, by address, in order."""
        found: dict[str, list[Recorded]] = defaultdict(list)
        for event in await self.box.events():
            kind = event["type"]
            first, second, third = (*(event[name] for name in FIELDS[kind]), None, None, None)[:3]
            found[event["email"]].append((kind, event["actor"], first, second, third))
        return found

    @invariant()
    def same(self) -> None:
        """The accounts, the list and its counts are the model's, and somebody can change something."""
        self.run(self._compare)

    async def _compare(self) -> None:
        model, directory = self.model, self.box.runtime.directory
        if not model.active:
            return
        assert model.administrators()
        assert sorted(await self.box.emails()) == sorted(model.active)
        page = await directory.page(Selection(), limit=100)
        shown = {entry.email: (entry.active, tuple(entry.privileges), entry.quota) for entry in page.entries}
        assert shown == {
            **{email: (True, person.privileges, person.quota) for email, person in model.active.items()},
            **{email: (False, person.privileges, person.quota) for email, person in model.archived.items()},
        }
        assert len(page.entries) == len(shown)
        assert await directory.administrators() == len(model.administrators())
        for selection, active, archived in self._counts():
            counts = await directory.count(selection)
            assert (counts.active, counts.archived) == (active, archived), selection

    def _counts(self) -> list[tuple[Selection, int, int]]:
        model = self.model

        def within(people: dict[str, Person], domain: str) -> int:
            return sum(email.endswith(f"@{domain}") for email in people)

        found = [(Selection(), len(model.active), len(model.archived))]
        for domain in {email.partition("@")[2] for email in PEOPLE}:
            selection = Selection(domain=domain)
            found.append((selection, within(model.active, domain), within(model.archived, domain)))
        for privilege in (ADMIN, EXTRA):
            has = sum(privilege in person.privileges for person in model.active.values())
            found.append((Selection(privilege=privilege), has, 0))
        return found

    def teardown(self) -> None:
        """At the end all events have come, in order, who archived is known, and the passwords are the model's."""
        try:
            if self.model.active:
                self.run(self._compare_at_the_end)
        finally:
            self.run(self.boxes.close)

    async def _compare_at_the_end(self) -> None:
        assert await self.recorded() == self.model.events
        rows = self.box.sql("SELECT email, archived_by, quota FROM mailusers_archive ORDER BY email")
        by = {
            email: next(told[1] for told in reversed(self.model.events[email]) if told[0] == "UserArchived")
            for email in self.model.archived
        }
        assert rows == [(email, by[email], self.model.archived[email].quota) for email in sorted(by)]
        authenticator = self.box.runtime.authenticator()
        for email, person in self.model.active.items():
            assert (await authenticator.by_password(email, person.password)).email == email


def test_any_steps(boxes: Boxes, io_loop: IOLoop, request: pytest.FixtureRequest) -> None:
    """Whatever is done in whatever order, one by one or two at once, the box does what a simple model of it does."""
    elsewhere = request.config.getoption("--engine") != "sqlite"
    examples = int(os.environ.get("MAILUSERS_TEST_EXAMPLES", 5 if elsewhere else 10))
    # What is made up anew is worth making small; the same again has been looked at.
    phases = [Phase.generate, Phase.shrink] if "MAILUSERS_TEST_EXAMPLES" in os.environ else [Phase.generate]
    run_state_machine_as_test(
        lambda: Administration(boxes, io_loop),  # type: ignore[arg-type]  # whatever makes one will do
        settings=settings(max_examples=examples, stateful_step_count=20, phases=phases),
    )

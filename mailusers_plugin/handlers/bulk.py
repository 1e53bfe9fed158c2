"""Several users at once: what will happen to each, then what did."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from mailusers_plugin import service_guard, validation
from mailusers_plugin.errors import InvalidInputError, MailUsersError
from mailusers_plugin.handlers import subject
from mailusers_plugin.handlers.base import requires
from mailusers_plugin.handlers.dialog_page import DialogPage
from mailusers_plugin.handlers.fields import quota_field, quota_text
from mailusers_plugin.models import ADMIN, Actor, Entry
from mailusers_plugin.permissions import ADMINISTER
from mailusers_plugin.texts import N_
from mailusers_plugin.user_versions import of_active
from mailusers_plugin.validation import quota_bytes

MAX_USERS: Final = 1000
_AT_ONCE: Final = 50
"""Changes that wait together are committed together."""
_SLICE_SECONDS: Final = 1.0
"""After so long a script is told how far it is, and asks for the rest."""
_MAX_QUERY: Final = 2000
_RUN: Final = "form#mu-bulk-run"
"""What a script says of the form that goes on, in ``HX-Target``."""

_NOBODY: Final = N_("Choose users first: mark the boxes in front of them.")
_TOO_MANY: Final = N_("Those are too many. Choose at most %(number)s users at once.")
_GONE: Final = N_("There is no such user any more.")
_FAILED: Final = N_("Something went wrong on the server. Its log says what.")

_log = logging.getLogger("mailusers_plugin.http")


@dataclass(frozen=True, slots=True)
class Line:
    """One user, and what will or did happen to it.

    :ivar text: in the reader's language
    :ivar kind: ``will``, ``done``, ``left-out`` or ``failed``
    :ivar version: at which the user is that the reader sees, for what ``will`` happen
    """

    email: str
    text: str
    kind: str
    version: str = ""


class BulkPage(DialogPage):
    """Base of what can be done to several users. A first request asks, one with ``do`` does."""

    _seen: Mapping[str, str] = {}
    done_text_id: ClassVar[str]
    """What is said of a user to whom it was done."""

    @requires()
    async def get(self) -> None:
        """Ask."""
        await self.ask()

    head = get

    @requires()
    async def post(self) -> None:
        """Ask, or do it."""
        if self.parameters.text("do") == "yes":
            await self.act()
        else:
            await self.ask()

    @property
    def emails(self) -> list[str]:
        """The chosen users.

        :raises InvalidInputError: if there are none, or too many
        """
        emails = self._given()
        if not emails:
            raise InvalidInputError(_NOBODY)
        if len(emails) > MAX_USERS:
            raise InvalidInputError(_TOO_MANY, number=MAX_USERS)
        for email in emails:
            validation.check_known_address(email)
        return emails

    def _given(self) -> list[str]:
        """Return the addresses: the boxes of the list, or all in one field, as the number of fields is limited."""
        given = self.parameters
        # Addresses that other programs have stored may hold spaces, and a browser sends CR LF.
        several = [email for email in given.text("emails").replace("\r\n", "\n").split("\n") if email]
        return list(dict.fromkeys([*given.every("email"), *several]))

    def _given_versions(self) -> dict[str, str]:
        """Return the version of each user that the preview has shown, as far as it says so."""
        emails, versions = (
            self.parameters.text(name).replace("\r\n", "\n").split("\n") for name in ("emails", "versions")
        )
        return dict(zip(emails, versions, strict=True)) if len(emails) == len(versions) else {}

    def _actor_of(self, email: str) -> Actor:
        """Return the caller, who wants a user to be changed only as it was seen."""
        actor, seen = self.actor, self._seen.get(email)
        return replace(actor, terms=replace(actor.terms, versions=(seen,) if seen else None))

    def here(self) -> str:
        """Return the address of this form with the users, as long as there are few; else of the list."""
        if self.request.method in ("GET", "HEAD"):
            return super().here()
        try:
            given = self.parameters
            typed = [(name, given.text(name)) for name in (*self.fields, "back")]
            pairs = [*(("email", email) for email in self._given()), *typed]
        except InvalidInputError:
            # The page that says so asks for its own address, too.
            return self.users_url()
        query = urlencode([(name, value) for name, value in pairs if value])
        return f"{self.request.path}?{query}" if len(query) <= _MAX_QUERY else self.back_url()

    async def ask(self) -> None:
        """Show what will happen to each."""
        lines = await self.plan(self.emails)
        will = [line for line in lines if line.kind == "will"]
        emails, versions = [line.email for line in will], [line.version for line in will]
        self.show("preview", lines, emails=emails, versions=versions)

    def show(self, step: str, lines: Sequence[Line], **values: Any) -> None:
        """Show a step."""
        self.render_form(
            "bulk.html",
            **{
                "step": step,
                "lines": lines,
                "action": self.request.path,
                "faults": {},
                "versions": (),
                "fields": {name: self.parameters.text(name) for name in self.fields},
                **self.words(),
                **values,
            },
        )

    async def plan(self, emails: Sequence[str]) -> list[Line]:
        """Return what will happen to each."""
        entries = await self.dependencies.directory.entries(emails)
        reasons = await self.reasons([entries[email] for email in emails if email in entries])
        lines = []
        for email in emails:
            reason = _GONE if email not in entries else reasons.get(email, "")
            text = self.gettext(reason) if reason else self.prospect(entries[email])
            lines.append(
                Line(email, text, "left-out")
                if reason
                else Line(email, text, "will", _version(entries[email]))
            )
        return lines

    async def act(self) -> None:
        """Do it: all of it, or for a script what can be done in a second, so that it can show how far it is."""
        emails = self.emails
        self._seen = self._given_versions()
        lines: list[Line] = []
        until = time.monotonic() + _SLICE_SECONDS
        while emails and (not lines or not self.is_partial or time.monotonic() < until):
            some, emails = emails[:_AT_ONCE], emails[_AT_ONCE:]
            lines += await asyncio.gather(*(self._one(email) for email in some))
        given = self.parameters
        before = _number(given.text("finished"))
        finished = before + len(lines)
        failed = _number(given.text("failed")) + sum(line.kind == "failed" for line in lines)
        versions = [self._seen.get(email, "") for email in emails]
        values = {
            "emails": emails,
            "versions": versions,
            "finished": finished,
            "total": finished + len(emails),
            "failed": failed,
        }
        if not emails:
            self.tell_page(refresh={})
        if self.is_partial and self.request.headers.get("HX-Target") == _RUN:
            self.aim("#mu-bulk-run", "outerHTML")
            words = {"fields": {name: given.text(name) for name in self.fields}, **self.words()}
            self.render_page(
                "_bulk_run.html",
                lines=lines,
                action=self.request.path,
                back=self.back,
                more=True,
                **words,
                **values,
            )
            return
        self.show("result", lines, more=False, **values)

    async def _one(self, email: str) -> Line:
        try:
            await self.perform(self._actor_of(email), email)
        except MailUsersError as error:
            return Line(email, self.error_text(error), "failed")
        except Exception:
            # The others must not suffer from it.
            _log.exception("%s %s: %s", self.request.method, self.request.path, email)
            return Line(email, self.gettext(_FAILED), "failed")
        return Line(email, self.gettext(self.done_text_id), "done")

    @abstractmethod
    def words(self) -> dict[str, str]:
        """Return the title of the form and the label of its button, in the reader's language."""

    @abstractmethod
    async def reasons(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Return why some users are left out, by address, in English."""

    @abstractmethod
    def prospect(self, entry: Entry) -> str:
        """Return what will happen to a user, in the reader's language."""

    @abstractmethod
    async def perform(self, actor: Actor, email: str) -> None:
        """Do it to one."""


class BulkArchivePage(BulkPage):
    """Archive several users."""

    done_text_id = N_("Archived. The mailbox is kept.")

    def words(self) -> dict[str, str]:
        """Return title and button."""
        return {
            "title": self.gettext("Archive users"),
            "label": self.gettext("Archive"),
            "style": "mu-destructive",
        }

    async def reasons(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Leave out who is archived, the reader, and the last administrator that would be left."""
        found = {}
        left = await self.dependencies.directory.administrators()
        may_administer = await self.may(ADMINISTER)
        for entry in entries:
            if not entry.active:
                found[entry.email] = N_("Is archived already.")
            elif entry.email == self.caller.name:
                found[entry.email] = subject.OWN_ACCOUNT
            elif entry.privileges and not may_administer:
                found[entry.email] = service_guard.CHANGING
            elif ADMIN in entry.privileges:
                # Each one alone could go, but not all of them together.
                if left <= 1:
                    found[entry.email] = subject.LAST_ADMINISTRATOR
                else:
                    left -= 1
        return found

    def prospect(self, entry: Entry) -> str:
        """Say what becomes of the mailbox."""
        return self.gettext("Will be archived. The mailbox is kept.")

    async def perform(self, actor: Actor, email: str) -> None:
        """Archive."""
        await self.service.archive(actor, email)


class BulkQuotaPage(BulkPage):
    """Set one quota for several users: first which, then what will happen, then it is done."""

    fields = ("quota", "quota_number", "quota_unit")
    done_text_id = N_("The quota was set.")

    async def ask(self) -> None:
        """Ask for the quota, then show what will happen to each."""
        emails = self.emails
        given = self.parameters
        faults = {}
        if any(given.get(name) is not None for name in self.fields):
            try:
                self._quota = validation.check_quota(quota_text(given))
            except InvalidInputError as error:
                faults["quota"] = self.error_text(error)
                self.set_status(400)
            else:
                await super().ask()
                return
        quota = quota_field(given, self.service.default_quota)
        self.show("ask", [], emails=emails, quota=quota, faults=faults)

    def words(self) -> dict[str, str]:
        """Return title and button."""
        return {"title": self.gettext("Set quota"), "label": self.gettext("Set quota"), "style": "mu-primary"}

    async def reasons(self, entries: Sequence[Entry]) -> dict[str, str]:
        """Leave out who is archived or has this quota."""
        found = {}
        for entry in entries:
            if not entry.active:
                found[entry.email] = N_("Is archived, and gets a quota when it is restored.")
            elif entry.quota == self._quota:
                found[entry.email] = N_("Has this quota already.")
        return found

    def prospect(self, entry: Entry) -> str:
        """Say what it is now and what it will be, and that a mailbox will be over it."""
        old, new = (self._shown(quota) for quota in (entry.quota or "", self._quota))
        limit = quota_bytes(self._quota) or 0
        if entry.usage is not None and 0 < limit < entry.usage.box_bytes:
            size = self.language.filesize(entry.usage.box_bytes)
            return self.gettext(
                "%(old)s → %(new)s. The mailbox holds %(size)s and will get no more mail.",
                old=old,
                new=new,
                size=size,
            )
        return self.gettext("%(old)s → %(new)s", old=old, new=new)

    def _shown(self, quota: str) -> str:
        return self.gettext("unlimited") if quota_bytes(quota) == 0 else quota or "?"

    async def perform(self, actor: Actor, email: str) -> None:
        """Set it."""
        await self.service.set_quota(actor, email, quota_text(self.parameters))


def _version(entry: Entry) -> str:
    return of_active(entry.email, entry.privileges, entry.quota or "0")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


ROUTES = [("/users/bulk/quota", BulkQuotaPage), ("/users/bulk/archive", BulkArchivePage)]

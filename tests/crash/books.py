"""What is in the databases of a box, read by another program than the server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from passlib.hash import sha512_crypt
from sqlalchemy import Connection, create_engine, select
from sqlalchemy.pool import NullPool

from mailusers_plugin.events import EVENT_TYPES
from mailusers_plugin.store import schema
from mailusers_plugin.store.audit_schema import entries
from tests.crash.model import Step, User, as_step
from tests.support import BOSS

_SCHEME = "{SHA512-CRYPT}"


class Books:
    """Reads a box's databases."""

    def __init__(self, storage: Path, url: str) -> None:
        """Take where they are.

        :param url: empty for the box's own files
        """
        self._files = (
            [] if url else [storage / "mail" / "users.sqlite", storage / "mailusers" / "state.sqlite"]
        )
        urls = [f"sqlite:///{file}" for file in self._files] or [url, url]
        self._accounts, self._state = (create_engine(url, poolclass=NullPool) for url in urls)

    def check_integrity(self) -> None:
        """Ask SQLite whether the files are whole; a server looks after its own by itself."""
        for file in self._files:
            with closing(sqlite3.connect(file, timeout=20)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], file
                assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], file

    def steps(self, email: str) -> list[Step]:
        """Return the events of an address that are stored, oldest first, whether or not they were handed on."""
        return self._stored(email).get(email, [])

    def all_steps(self) -> dict[str, list[Step]]:
        """Return the same of every address but the first administrator's."""
        steps = self._stored(None)
        steps.pop(BOSS)
        return steps

    def _stored(self, email: str | None) -> dict[str, list[Step]]:
        entries: dict[str, tuple[str, ...]] = {}
        # An event is in the outbox until it is where deliveries are. So it is looked for there first: one that goes
        # from the one to the other meanwhile is found twice, not never.
        with self._accounts.connect() as connection:
            waiting = list(_events(connection, schema.outbox, email))
        with self._state.connect() as connection:
            handed_on = list(_events(connection, schema.event, email))
        for id_, *entry in (*handed_on, *waiting):
            entries.setdefault(id_, tuple(entry))
        steps: dict[str, list[Step]] = {}
        for found, type_, body in entries.values():
            steps.setdefault(found, []).append(as_step(type_, json.loads(body)))
        return steps

    def check_state(self, user: User) -> None:
        """Compare what is stored of a user with what it must be."""
        users, archive, state = schema.users.c, schema.archive.c, user.state
        with self._accounts.connect() as connection:
            account = connection.execute(
                select(users.password, users.quota, users.privileges).where(users.email == user.email)
            ).all()
            kept = connection.execute(
                select(archive.quota, archive.privileges).where(archive.email == user.email)
            ).all()
        there = (state.quota, "\n".join(state.privileges))
        assert [(quota, privileges) for _, quota, privileges in account] == [there][: state.active], user
        assert [tuple(row) for row in kept] == [there][: state.archived], user
        if state.active and user.verified != state.password:
            assert sha512_crypt.verify(state.password, account[0].password.removeprefix(_SCHEME)), user
            user.verified = state.password

    def audited(self) -> tuple[dict[str, list[Step]], int]:
        """Return what is in the audit trail by address, and how many entries are there twice."""
        steps: dict[str, list[Step]] = {}
        seen: set[str] = set()
        again = 0
        audit = entries.c
        query = select(audit.event_id, audit.email, audit.type, audit.detail).order_by(audit.seq)
        with self._state.connect() as connection:
            for event_id, email, type_, detail in connection.execute(query):
                if type_ not in EVENT_TYPES:
                    # Log-ins, of which nobody is told.
                    continue
                again += event_id in seen
                seen.add(event_id)
                steps.setdefault(email, []).append(as_step(type_, json.loads(detail)))
        steps.pop(BOSS)
        return steps, again


def _events(connection: Connection, table: Any, email: str | None) -> Iterator[tuple[str, str, str, str]]:
    query = select(table.c.id, table.c.email, table.c.type, table.c.body).order_by(table.c.seq)
    if email is not None:
        query = query.where(table.c.email == email)
    for row in connection.execute(query).all():
        yield row[0], row[1], row[2], row[3]

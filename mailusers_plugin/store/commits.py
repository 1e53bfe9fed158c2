"""Commits on SQLite: one writer, several changes in one commit, and never beside a read of our own.

Postfix looks users up in the same file and has no patience: on a rollback journal a look-up that falls into a commit
fails, and the daemon that made it may stay away for a minute. So there are as few commits as possible, each as short
as possible: changes that wait are committed together, commits keep a distance, and none has to wait for a read of
this process while it already keeps others out (https://www.sqlite.org/lockingv3.html, section 4).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from mailusers_plugin.store.file_place import FilePlace
from mailusers_plugin.store.file_watch import FileWatch

_BATCH: Final = 500
"""Changes in one commit; the file is locked while they are written out, which takes 5 ms for 10 000 rows."""


class Turns:
    """Reads go on together; a commit waits for those that began and lets none begin.

    A look-up of some µs is let in until the commit really begins: it holds no commit up, and must not wait with the
    commit for a read of a second.
    """

    def __init__(self) -> None:
        """Begin with nobody inside."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._reading = 0
        self._committing = False
        self._begun = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read."""
        with self._changed:
            self._changed.wait_for(lambda: not self._committing)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    def begin_glance(self) -> None:
        """Begin to look one row up; :meth:`end_glance` must follow."""
        with self._lock:
            while self._begun:
                self._changed.wait()
            self._reading += 1

    def end_glance(self) -> None:
        """Say that it is done."""
        with self._lock:
            self._reading -= 1
            if self._committing:
                self._changed.notify_all()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Commit."""
        with self._changed:
            self._changed.wait_for(lambda: not self._committing)
            self._committing = True
            self._changed.wait_for(lambda: self._reading == 0)
            self._begun = True
        try:
            yield
        finally:
            with self._changed:
                self._committing = self._begun = False
                self._changed.notify_all()


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[[Connection], Any]
    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        if error is not None or self.error is not None:
            self.future.set_exception(error or self.error)
        else:
            self.future.set_result(self.result)


def _changes(connection: Connection) -> int:
    """Return how many rows were written through a connection so far."""
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    return driver.total_changes


class _BrokenError(Exception):
    """The database failed inside one of several changes; what the others did is lost with it."""


class Committer:
    """Carries out changes in one thread, in the order in which they come."""

    def __init__(
        self,
        engine: Engine,
        turns: Turns | None,
        pause_seconds: float,
        watch: FileWatch | None = None,
        place: FilePlace | None = None,
    ) -> None:
        """Take what it works with.

        :param engine: begins its transactions with ``BEGIN IMMEDIATE``
        :param turns: those of the reads; ``None`` where a commit keeps nobody out (a write-ahead log)
        :param pause_seconds: least distance between two commits
        :param watch: tells our changes from those of other programs
        :param place: tells whether the file is still the one that has the name
        """
        self._watch = watch
        self._place = place
        self._engine = engine
        self._turns = turns
        self._pause_seconds = pause_seconds
        self._committed_at = float("-inf")
        self._jobs: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mailusers-write")

    def submit(self, function: Callable[[Connection], Any]) -> Future[Any]:
        """Queue a change.

        :param function: runs inside the transaction; what it raises undoes what it did and nothing else. It may run
            twice, with what it did first undone, where the database failed in a change beside it
        :returns: done when the change is committed
        :raises RuntimeError: after :meth:`close`
        """
        job = _Job(function)
        self._jobs.append(job)
        try:
            self._thread.submit(self._work)
        except RuntimeError:
            # The thread ends. It may have taken this on all the same, with what came before.
            with suppress(ValueError):
                self._jobs.remove(job)
                raise
        return job.future

    def close(self) -> None:
        """Carry out what waits, and end."""
        self._thread.shutdown()

    def _work(self) -> None:
        if not self._jobs:
            # An earlier call has done this one's job too.
            return
        pause = self._committed_at + self._pause_seconds - time.monotonic()
        if pause > 0:
            # A system that refuses to sleep costs a distance; what waits must not be left behind, with nobody told.
            with suppress(OSError):
                time.sleep(pause)
        jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), _BATCH))]
        try:
            self._commit(jobs)
        except _BrokenError:
            for job in jobs:
                self._alone(job)
        except BaseException as error:
            for job in jobs:
                job.settle(error)
        else:
            for job in jobs:
                job.settle()

    def _alone(self, job: _Job) -> None:
        job.result, job.error = None, None
        try:
            self._commit([job])
        except BaseException as error:
            job.settle(error)
        else:
            job.settle()

    def _commit(self, jobs: list[_Job]) -> None:
        place = self._place
        if place is not None:
            place.check()
        with self._engine.connect() as connection, connection.begin() as transaction:
            before = _changes(connection)
            for job in jobs:
                self._run(connection, job, alone=len(jobs) == 1)
            if _changes(connection) == before:
                # Nothing is written out, and nobody is kept from anything.
                return
            turn = self._turns.committing() if self._turns else nullcontext()
            with turn, self._watch.own_change() if self._watch else nullcontext():
                if place is not None:
                    place.check_connection(connection)
                transaction.commit()
            if place is not None:
                # What went into a file that had lost its name meanwhile is nowhere: it must not be acknowledged.
                place.check_connection(connection)
                place.remember_log()
        self._committed_at = time.monotonic()

    def _run(self, connection: Connection, job: _Job, *, alone: bool) -> None:
        if alone:
            job.result = job.function(connection)
            return
        savepoint = connection.begin_nested()
        try:
            job.result = job.function(connection)
            savepoint.commit()
        except DBAPIError as error:
            if not isinstance(error, IntegrityError):
                # Where a disk is full SQLite may have undone the whole transaction already.
                raise _BrokenError from error
            savepoint.rollback()
            job.error = error
        except Exception as error:
            savepoint.rollback()
            job.error = error

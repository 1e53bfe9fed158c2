"""HTTP clients that cost little: sockets, ready-made requests, and processes of their own.

Each function here is run by :func:`elsewhere` in another process, so that it neither waits for the one that measures
nor makes the server wait.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from tests.support import basic


@dataclass(frozen=True)
class Asked:
    """One kind of request.

    :ivar path: with its query
    :ivar authorization: the header, empty for none
    """

    port: int
    path: str
    authorization: str = ""
    method: str = "GET"
    form: str = ""

    def encoded(self) -> bytes:
        """Return what is sent."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        if self.authorization:
            lines.append(f"Authorization: {self.authorization}")
        if self.method == "POST":
            lines.append("Content-Type: application/x-www-form-urlencoded")
            lines.append(f"Content-Length: {len(self.form)}")
        return "\r\n".join([*lines, "", self.form]).encode()


class Connection:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self.socket.sendall(request)

    def answered(self) -> int:
        """Read a short answer, and return its status."""
        text = b""
        while True:
            text += self.socket.recv(65536)
            head, end, body = text.partition(b"\r\n\r\n")
            if not end:
                continue
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            if len(body) >= length:
                return int(head.split(b" ", 2)[1])


def rate(asked: Asked, connections: int, seconds: float, core: int | None) -> float:
    """Return how many requests a second are answered, with several connections that never pause.

    :param core: on which the client runs, ``None`` for any
    """
    if core is not None:
        os.sched_setaffinity(0, {core})
    request = asked.encoded()
    opened = {}
    poll = select.epoll()
    for _ in range(connections):
        connection = Connection(asked.port)
        opened[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
        connection.send(request)
    answered = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for number, _ in poll.poll(1):
            status = opened[number].answered()
            assert status == 200, f"{asked.path}: {status}"
            answered += 1
            opened[number].send(request)
    took = time.perf_counter() - start
    for connection in opened.values():
        connection.socket.close()
    return answered / took


def latencies(asked: Sequence[Asked], seconds: float, pause_seconds: float) -> list[list[float]]:
    """Ask for several things in turns, one at a time; return how long each answer took, in seconds."""
    found: list[list[float]] = [[] for _ in asked]
    requests = [one.encoded() for one in asked]
    connection = Connection(asked[0].port)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for number, request in enumerate(requests):
            start = time.perf_counter()
            connection.send(request)
            status = connection.answered()
            found[number].append(time.perf_counter() - start)
            assert status == 200, f"{asked[number].path}: {status}"
            time.sleep(pause_seconds)
    return found


def _keep_busy(port: int, connections: int, seconds: float, requests: Iterator[bytes]) -> dict[int, int]:
    """Send requests through several connections, each the next when it is answered; return the statuses."""
    statuses: Counter[int] = Counter()
    opened = {}
    poll = select.epoll()
    for _ in range(connections):
        connection = Connection(port)
        opened[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
        connection.send(next(requests))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(0.1):
            status = opened[number].answered()
            statuses[status] += 1
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                # As Retry-After asks for, though not as long.
                time.sleep(0.01)
            opened[number].send(next(requests))
    return dict(statuses)


def flood(port: int, path: str, email: str, connections: int, seconds: float) -> dict[int, int]:
    """Guess a password, each time another; return how often which status was answered."""
    guesses = (
        Asked(port, path, basic(email, f"wrong-{number}"), "POST").encoded() for number in itertools.count()
    )
    return _keep_busy(port, connections, seconds, guesses)


def adds(asked: Asked, connections: int, seconds: float) -> int:
    """Add users; return how many were."""
    forms = (f"email=added{number}@example.org&password=correct-horse" for number in itertools.count())
    requests = (replace(asked, method="POST", form=form).encoded() for form in forms)
    return _keep_busy(asked.port, connections, seconds, requests)[200]


def stream(asked: Asked, seconds: float) -> int:
    """Ask for something large again and again, and read all of it; return how many bytes came."""
    found = 0
    request = asked.encoded()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        with Connection(asked.port).socket as connection:
            connection.sendall(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
            while piece := connection.recv(1 << 20):
                found += len(piece)
    return found


@contextmanager
def elsewhere() -> Iterator[Callable[..., Future[Any]]]:
    """Give a way to run functions in processes of their own, each in another."""
    context = multiprocessing.get_context("spawn")
    pools: list[ProcessPoolExecutor] = []

    def run(function: Callable[..., Any], *args: Any) -> Future[Any]:
        pool = ProcessPoolExecutor(1, mp_context=context)
        pools.append(pool)
        return pool.submit(function, *args)

    try:
        yield run
    finally:
        for pool in pools:
            pool.shutdown()

"""Sizes over doveadm's HTTP API: what a server may do wrong, and what is said then."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.mailserver.doveadm_http import DoveadmHTTP, DoveadmHTTPError, DoveadmSizes, read_key
from mailusers_plugin.mailserver.usage import Pace
from mailusers_plugin.models import SizeBatch
from tests.servers.certificates import make_certificate

Talk = Callable[[socket.socket], object]
KEY = "a key of ours"


@contextlib.contextmanager
def server(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Let every connection be answered in its own way; give the port."""
    stopped = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if context is None:
                        talk(connection)
                    else:
                        with context.wrap_socket(connection, server_side=True) as secured:
                            talk(secured)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            stopped.set()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                pass
            thread.join(10)
    assert not thread.is_alive()


def some_of(connection: socket.socket) -> bytes:
    """Read something; the other side having gone is an error."""
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def request_of(connection: socket.socket) -> bytes:
    """Read a request to its end."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += some_of(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1]
    )
    while len(body) < length:
        body += some_of(connection)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, status: str = "200 OK") -> Talk:
    """Answer each request alike."""

    def talk(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)
        )

    return talk


def client(port: int, *, timeout_seconds: float = 5.0, scheme: str = "http", **more: Any) -> DoveadmHTTP:
    """Return a client of a server here."""
    return DoveadmHTTP(f"{scheme}://localhost:{port}", KEY, timeout_seconds=timeout_seconds, **more)


def sizes(port: int, *emails: str) -> dict[str, tuple[int, int]]:
    """Ask for some users."""
    found = DoveadmSizes(client(port), lambda after, limit: []).sizes(emails)
    return {email: (size.usage.box_bytes, size.usage.messages) for email, size in found.items()}


def storage(value: object, kind: str = "STORAGE") -> dict[str, object]:
    """Return one line of an answer."""
    return {"root": "", "type": kind, "value": value, "limit": "-", "percent": "0"}


def test_what_is_asked() -> None:
    """The key and one command for each user are sent, and the answers belong to their questions in any order."""
    requests: list[bytes] = []
    body = json.dumps(
        [
            ["error", {"type": "exitCode", "exitCode": 67}, "1"],
            ["doveadmResponse", [storage("7"), storage("3", "MESSAGE"), storage("99")], "2"],
            ["doveadmResponse", [storage("5")], "0"],
        ]
    ).encode()

    def talk(connection: socket.socket) -> None:
        requests.append(request_of(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with server(talk) as port:
        assert sizes(port, "a@example.com", "b@example.com", "c@example.com") == {
            "a@example.com": (5 * 1024, 0),
            "c@example.com": (7 * 1024, 3),
        }
    head, _, sent = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /doveadm/v1 HTTP/1.1\r\n")
    assert b"Authorization: X-Dovecot-API YSBrZXkgb2Ygb3Vycw==" in head
    assert json.loads(sent)[1] == ["quotaGet", {"user": "b@example.com"}, "1"]


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (answer(b"", "401 Unauthorized"), "doveadm_http_key_file"),
        (answer(b"Path Not Found\r\n", "404 Not Found"), "status 404"),
        (answer(b"<html>hello</html>"), "not answer as doveadm"),
        (answer(b"[" * 100_000), "not answer as doveadm"),
        (answer(b'{"a": 1}'), "not answer as doveadm"),
        (answer(b"\xff\xfe"), "not answer as doveadm"),
        (answer(b"[]" + b" " * 3_000_000), "more than it was asked for"),
        (answer(b'[["error",{"type":"unknownMethod","exitCode":0},"0"]]'), "unknownMethod"),
        (answer(b'[["error",{"type":"exitCode","exitCode":75},"0"]]'), "its log"),
        (lambda connection: connection.sendall(b"220 mail.example.com ESMTP\r\n"), "cannot be reached"),
        (lambda connection: None, "cannot be reached"),
    ],
)
def test_what_is_no_answer(talk: Talk, says: str) -> None:
    """A wrong key, another server, garbage, and too much of it are told apart, and never show the key."""
    with server(talk) as port, pytest.raises(DoveadmHTTPError) as error:
        sizes(port, "a@example.com")
    assert says.lower() in str(error.value).lower()
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        ["text", 5, None],
        [storage("-5")],
        [storage(5)],
        [storage("٥")],
        [storage("9" * 5000)],
        [storage(["5"])],
        [{"type": "MESSAGE", "value": "5"}],
    ],
)
def test_what_is_no_size(content: object) -> None:
    """An answer without a possible size leaves the user out, as do one of the wrong shape and one to no question."""
    body = json.dumps(
        [
            ["doveadmResponse", content, "0"],
            ["doveadmResponse", [storage("5")], "7"],
            ["doveadmResponse", [storage("5")], 1],
            ["doveadmResponse", [storage("5")]],
            "text",
        ]
    ).encode()
    with server(answer(body)) as port:
        assert sizes(port, "a@example.com", "b@example.com") == {}


def trickle(connection: socket.socket) -> None:
    """Answer a byte now and then, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X")
        time.sleep(0.05)


def silence(connection: socket.socket) -> None:
    """Take the request and wait until the other one goes."""
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("talk", [trickle, silence])
def test_the_time_limit_is_one_of_the_whole(talk: Talk) -> None:
    """Neither silence nor a byte now and then holds the thread longer than the time limit."""
    with server(talk) as port:
        began = time.monotonic()
        with pytest.raises(DoveadmHTTPError, match=r"did not answer within 0\.5 seconds"):
            client(port, timeout_seconds=0.5).call([])
        assert time.monotonic() - began < 3


def test_stop_ends_a_request() -> None:
    """When the server stops, nobody waits for an answer any more."""
    with server(silence) as port:
        doveadm = client(port, timeout_seconds=30)
        threading.Timer(0.3, doveadm.stop).start()
        began = time.monotonic()
        with pytest.raises(DoveadmHTTPError):
            doveadm.call([])
        with pytest.raises(DoveadmHTTPError, match="stops"):
            doveadm.call([])
        assert time.monotonic() - began < 10


def test_nobody_there() -> None:
    """A port on which nobody listens is said to be out of reach."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DoveadmHTTPError, match="cannot be reached"):
        client(port).call([])


def test_tls(tmp_path: Path) -> None:
    """A certificate must be signed by one that is trusted, and for the host that was named."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = make_certificate(tmp_path)
    context.load_cert_chain(certificate, key)
    trusted = str(certificate)
    with server(answer(b"[]"), context) as port:
        assert client(port, scheme="https", ca_file=trusted).call([]) == []
        with pytest.raises(DoveadmHTTPError, match="doveadm_http_ca_file"):
            client(port, scheme="https").call([])
        with pytest.raises(DoveadmHTTPError, match="doveadm_http_ca_file"):
            DoveadmHTTP(f"https://127.0.0.1:{port}", KEY, ca_file=trusted).call([])
    with server(silence) as port, pytest.raises(DoveadmHTTPError, match="did not answer"):
        client(port, scheme="https", ca_file=trusted, timeout_seconds=0.5).call([])


@pytest.mark.parametrize(
    "url",
    ["", "localhost:80", "ftp://localhost:80", "https://:1", "http://a:b@localhost:80", "http://localhost"],
)
def test_url(url: str) -> None:
    """Only the URL of a web server is taken, and none with a password in it."""
    with pytest.raises(ConfigurationError, match="doveadm_http_url"):
        DoveadmHTTP(url, KEY)


def test_certificates_must_be_there(tmp_path: Path) -> None:
    """Certificates that cannot be read are named before anything is sent."""
    with pytest.raises(ConfigurationError, match="doveadm_http_ca_file"):
        DoveadmHTTP("https://localhost:1", KEY, ca_file=str(tmp_path / "none"))


def test_key_file(tmp_path: Path) -> None:
    """The key is read from a file that is not empty and that nobody else may read."""
    path = tmp_path / "key"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key(path)
    path.write_text(f"{KEY}\n")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == KEY
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        read_key(path)


def test_all_users_are_asked_for_in_batches() -> None:
    """Every active user is asked for, a hundred at a time, from the position on."""
    users = [f"user{number:03}@example.com" for number in range(250)]

    def some(after: str, limit: int) -> list[str]:
        return [user for user in users if user > after][:limit]

    def talk(connection: socket.socket) -> None:
        commands = json.loads(request_of(connection).partition(b"\r\n\r\n")[2])
        body = json.dumps([["doveadmResponse", [storage("5")], tag] for _, _, tag in commands]).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with server(talk) as port:
        source = DoveadmSizes(client(port), some)

        def read(position: str) -> list[SizeBatch]:
            return list(source.read(position, None, Pace()))  # type: ignore[arg-type]  # it asks nobody else

        whole = read("")
        assert [len(batch.found) for batch in whole] == [100, 100, 50]
        assert [email for batch in whole for email in batch.found] == users
        assert [len(batch.found) for batch in read(whole[0].position)] == [100, 50]

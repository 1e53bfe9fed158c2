"""Sizes from doveadm's HTTP API, for mailboxes on another machine (https://doc.dovecot.org/2.3/admin_manual/doveadm_http_api/).

It costs Dovecot some milliseconds for each user and pass, whatever has changed, and its sizes are whole KiB.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mailusers_plugin.errors import ConfigurationError, MailUsersError
from mailusers_plugin.mailserver.usage import Known, Pace
from mailusers_plugin.models import Measured, SizeBatch, Usage

PATH: Final = "/doveadm/v1"
_USERS: Final = 100
"""Users in one request; Dovecot answers for all of them at once, after 1.5 to 5 ms for each."""
_ANSWER_BYTES: Final = 1_000_000
"""An answer for so many users has some 20 KB."""
_NO_USER: Final = 67
_LIMIT: Final = 2**63 - 1


class DoveadmHTTPError(MailUsersError):
    """doveadm cannot be reached, refuses the key, or does not answer as it should."""

    code = "unavailable"


class DoveadmHTTP:
    """Sends commands to one doveadm, in the calling thread."""

    def __init__(self, url: str, key: str, *, ca_file: str = "", timeout_seconds: float = 15.0) -> None:
        """Take where it is; nothing is sent yet.

        :param url: ``https://HOST:PORT``, or ``http://`` for one that is reached over a safe net
        :param key: its ``doveadm_api_key``
        :param ca_file: certificates by which its own is verified; empty for those of the system
        :param timeout_seconds: how long one request may take as a whole
        :raises ConfigurationError: if the URL or the certificates cannot be used
        """
        self.url = url
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port or parts.username:
            raise ConfigurationError(
                f"doveadm_http_url {url!r} must be https://HOST:PORT or http://HOST:PORT."
            )
        self._host, self._port = parts.hostname, port
        self._path = parts.path.rstrip("/") or PATH
        self._tls = _tls(ca_file) if parts.scheme == "https" else None
        self._authorization = "X-Dovecot-API " + base64.b64encode(key.encode()).decode("ascii")
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None
        self._stopped = False

    def call(self, commands: Sequence[tuple[str, dict[str, str], str]]) -> list[Any]:
        """Send commands, and return the answers as they came: a list of type, content and tag each.

        :param commands: name, parameters and tag of each
        :raises DoveadmHTTPError: if it cannot be reached, refuses the key, or does not answer as doveadm does
        """
        status, body = self._exchange(json.dumps(commands).encode())
        if status in (401, 403):
            raise self._error(
                "refuses the key. Put the value of doveadm_api_key in its configuration into doveadm_http_key_file"
            )
        if status != 200:
            raise self._error(f"answers with HTTP status {status}. Name the listener of 'service doveadm'")
        try:
            answers = json.loads(body)
        except (ValueError, RecursionError):
            answers = None
        if not isinstance(answers, list):
            raise self._error("does not answer as doveadm does. Name the listener of 'service doveadm'")
        return answers

    def stop(self) -> None:
        """End the request that is under way, and let none begin. May be called in another thread."""
        self._stopped = True
        self._hang_up()

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout_seconds
        # A time limit on the socket alone would begin anew with each byte.
        too_late = threading.Timer(self._timeout_seconds, self._hang_up)
        too_late.daemon = True
        connection = http.client.HTTPConnection(self._host, self._port)
        try:
            self._socket = connection.sock = self._connect(deadline)
            too_late.start()
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            if self._stopped:
                raise self._error("was not asked, for the server stops")
            headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            answer = response.read(_ANSWER_BYTES + 1)
        except ssl.SSLCertVerificationError as error:
            raise self._error(
                f"has a certificate that cannot be verified ({error.verify_message}). Name the right host, or the "
                "certificates of its authority in doveadm_http_ca_file"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline or isinstance(error, TimeoutError):
                raise self._late() from None
            raise self._error(f"cannot be reached ({str(error) or type(error).__name__})") from None
        finally:
            too_late.cancel()
            self._socket = None
            connection.close()
        if time.monotonic() >= deadline:
            raise self._late()
        if len(answer) > _ANSWER_BYTES:
            raise self._error("answers with more than it was asked for")
        return response.status, answer

    def _connect(self, deadline: float) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), self._timeout_seconds)
        try:
            # It has tried each of the host's addresses for so long.
            plain.settimeout(max(deadline - time.monotonic(), 0.001))
            if self._tls is None:
                return plain
            return self._tls.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise

    def _hang_up(self) -> None:
        if (open_socket := self._socket) is not None:
            with suppress(OSError):
                # Not as TLS would: the other thread is inside of it.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def _late(self) -> DoveadmHTTPError:
        return self._error(f"did not answer within {self._timeout_seconds:g} seconds")

    def _error(self, text: str) -> DoveadmHTTPError:
        return DoveadmHTTPError(f"doveadm at {self.url} {text}.")


def _tls(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"doveadm_http_ca_file {ca_file} cannot be used: {error}.") from None


def read_key(path: Path) -> str:
    """Return the key in a file.

    :raises ConfigurationError: if it cannot be read, is empty, or others may read it
    """
    try:
        mode = path.stat().st_mode
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"doveadm_http_key_file {path} cannot be read: {error}.") from None
    if mode & 0o077:
        raise ConfigurationError(f"doveadm_http_key_file {path} can be read by others. Run: chmod 600 {path}")
    if not key:
        raise ConfigurationError(
            f"doveadm_http_key_file {path} is empty. Put doveadm's doveadm_api_key into it."
        )
    return key


class DoveadmSizes:
    """Asks doveadm for the size of each active user. What is known of archived ones stays."""

    name = "doveadm_http"

    def __init__(self, doveadm: DoveadmHTTP, users: Callable[[str, int], Sequence[str]]) -> None:
        """Take whom to ask.

        :param users: returns the next active addresses behind one, at most so many; blocks
        """
        self.doveadm = doveadm
        self._users = users

    def read(self, position: str, known: Known, pace: Pace) -> Iterator[SizeBatch]:
        """Yield what it says; see :class:`mailusers_plugin.mailserver.usage.UsageSource`.

        :raises DoveadmHTTPError: if it does not answer, with what to do
        """
        while emails := self._users(position, _USERS):
            position = emails[-1]
            yield SizeBatch(self.sizes(emails), (), position)
            pace.rest()

    def sizes(self, emails: Sequence[str]) -> dict[str, Measured]:
        """Return the sizes of some users; those whom it does not know, or has no quota for, are left out.

        :raises DoveadmHTTPError: if it does not answer as it should
        """
        answers = self.doveadm.call([("quotaGet", {"user": email}, str(n)) for n, email in enumerate(emails)])
        now = datetime.now(UTC)
        found: dict[str, Measured] = {}
        failed: set[str] = set()
        for answer in answers:
            kind, content, email = _answer(answer, emails)
            if kind == "doveadmResponse" and email and (usage := _usage(content, now)):
                found[email] = Measured(usage)
            elif kind == "error" and not _is_no_user(content):
                failed.add(str(content.get("type") if isinstance(content, dict) else content)[:100])
        if failed and not found:
            raise DoveadmHTTPError(
                f"doveadm at {self.doveadm.url} gives no sizes ({', '.join(sorted(failed))}). Its log says why; it "
                "needs the quota plugin."
            )
        return found

    def look(self, emails: Sequence[str]) -> SizeBatch:
        """Ask for some users; see :class:`mailusers_plugin.mailserver.usage.UsageSource`.

        :raises DoveadmHTTPError: if it does not answer, with what to do
        """
        return SizeBatch(self.sizes(emails), (), "")

    def stop(self) -> None:
        """End the request that is under way."""
        self.doveadm.stop()

    def forget(self, email: str) -> None:
        """Do nothing: Dovecot forgets by itself."""


def _answer(answer: object, emails: Sequence[str]) -> tuple[object, Any, str]:
    """Take an answer apart; the address is empty where it belongs to no question of ours."""
    if not isinstance(answer, list) or len(answer) != 3:
        return None, None, ""
    kind, content, tag = answer
    number = int(tag) if isinstance(tag, str) and tag.isascii() and tag.isdigit() and len(tag) < 6 else -1
    return kind, content, emails[number] if 0 <= number < len(emails) else ""


def _is_no_user(content: object) -> bool:
    return isinstance(content, dict) and content.get("exitCode") == _NO_USER


def _usage(content: object, now: datetime) -> Usage | None:
    """Read an answer's lines, of which the first of each kind counts: the user's own quota, by all conventions."""
    values: dict[str, tuple[int, int]] = {}
    for line in content if isinstance(content, list) else ():
        if isinstance(line, dict):
            value, limit = _number(line.get("value")), _number(line.get("limit"))
            if value is not None:
                values.setdefault(str(line.get("type")), (value, limit or 0))
    if "STORAGE" not in values:
        return None
    kib, limit_kib = values["STORAGE"]
    messages = values.get("MESSAGE", (0, 0))[0]
    return Usage(min(kib * 1024, _LIMIT), messages, min(limit_kib * 1024, _LIMIT), now)


def _number(text: object) -> int | None:
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return None

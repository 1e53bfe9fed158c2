"""A panel as a process of its own, to be ended in any way, and a client that needs no event loop."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests import openapi
from tests.servers.clients import wait_until
from tests.servers.ports import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]


def install_package(source: Path, target: Path) -> None:
    """Install a little package from its own setup.cfg: build its wheel and unpack it, as an installer does."""
    built = target / "wheels"
    # From a copy: a build leaves folders behind.
    copy = target / "source" / source.name
    shutil.copytree(source, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    subprocess.run([*command, "--outdir", str(built), str(copy)], check=True, capture_output=True)
    for wheel in built.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target / "site")


@dataclass(frozen=True)
class Reply:
    """What the panel answered."""

    status: int
    headers: Message[str, str]
    text: str

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for an answer."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


class PanelProcess:
    """``mailusers serve``, or another program that serves a panel, on a free port."""

    def __init__(
        self,
        storage: Path,
        *,
        python_path: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] | None = None,
        prefix: str = "/admin",
    ) -> None:
        """Remember how to start it.

        :param python_path: folders with installed packages
        :param environment: more variables
        :param program: behind ``python -m``; ``{port}`` is replaced
        """
        self.storage = storage
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.prefix = prefix
        self.log = storage.parent / "panel.log"
        self._has_login = program is None
        # A proxy in front adds and takes away headers of its own.
        self.described = True
        self._program = program or (
            "mailusers_plugin",
            "serve",
            "--listen",
            f"{LOOPBACK}:{{port}}",
            "--storage-root",
            str(storage),
        )
        paths = os.pathsep.join(map(str, (ROOT, *python_path)))
        self._environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, timeout_seconds: float = 30) -> None:
        """Start it.

        :param wait: until it answers
        :param timeout_seconds: how long
        """
        command = [part.format(port=self.port) for part in self._program]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command], env=self._environment, stdout=log, stderr=log
            )
        if not wait:
            return
        try:
            wait_until(self._answers, timeout_seconds=timeout_seconds, message="the panel")
        except TimeoutError:
            self.stop()
            raise RuntimeError(f"The panel did not start:\n{self.log.read_text()[-3000:]}") from None

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"The panel ended:\n{self.log.read_text()[-3000:]}")
        with suppress(OSError):
            self.request("GET", f"{self.prefix}/mail/users")
            return True
        return False

    def set_up_link(self) -> str:
        """Return the path and query of the one-time link on the console."""
        found: list[str] = []

        def look() -> list[str]:
            found[:] = re.findall(r"http://[^/\s]+(/\S*setup\?token=\S+)", self.log.read_text())
            return found

        wait_until(look, message="the set-up link")
        return found[-1]

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)

    def __enter__(self) -> PanelProcess:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def request(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        user: str | None = None,
        password: str = "",
        headers: Mapping[str, str] | None = None,
        redirects: bool = True,
    ) -> Reply:
        """Send a request; errors are replies too.

        :param redirects: whether to follow them
        """
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        request = urllib.request.Request(self.url + path, body, dict(headers or {}), method=method)  # noqa: S310
        if user is not None:
            credentials = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            request.add_header("Authorization", f"Basic {credentials}")
        try:
            opener = urllib.request.build_opener(*([] if redirects else [_NoRedirects]))
            with opener.open(request, timeout=60) as response:
                return self._reply(request, response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return self._reply(request, error.code, error)

    def _reply(self, request: urllib.request.Request, status: int, response: Any) -> Reply:
        """Read an answer, which must be as the API is described."""
        headers: Message[str, str] = response.headers
        body: bytes = response.read()
        # Behind a redirect it is another path's.
        if self.described and response.url == request.full_url:
            verb, sent = request.get_method(), dict(request.header_items())
            has_login = self._has_login
            openapi.check(
                response.url.removeprefix(self.url),
                self.prefix,
                verb,
                sent,
                status,
                headers.items(),
                body,
                has_login=has_login,
            )
        return Reply(status, headers, body.decode())

    def command(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``mailusers`` on the same box, in a process of its own."""
        environment = {**self._environment, "MAILUSERS_STORAGE_ROOT": str(self.storage)}
        command = [sys.executable, "-m", "mailusers_plugin", *arguments]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=120
        )

    def api(self, action: str, wait_seconds: int = 10, **form: str) -> Reply:
        """Call the API with the box's own key and wait for the hooks; without parameters it is a GET."""
        key = (self.storage / "mailusers" / "api.key").read_text(encoding="ascii").strip()
        path = f"{self.prefix}/mail/users{action}"
        headers = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
        return self.request("POST" if form else "GET", path, form or None, user=key, headers=headers)

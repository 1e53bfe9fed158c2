"""Our own static files, kept in memory: few, small, and never read while somebody waits.

Their path holds the version of them all, so that a new release's are taken at once, by modules that import one
another too.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tornado.web import HTTPError

from mailusers_plugin.handlers.headers import PlainHandler

STATIC: Final = Path(__file__).parent.parent / "static"
STYLES: Final = "mailusers.css"
"""Made of the framework's style sheet and of all in ``css/``, by name, so that a page waits for one file only."""
_RESET: Final = "css/00-reset.css"
_FRAMEWORK: Final = "vendor/pico-2.1.1.scoped.css"
_REM: Final = re.compile(r"(?<![\w.#-])(-?(?:\d+\.?\d*|\.\d+))rem\b")
"""A length in ``rem``. It is measured by the host's root element, which Bootstrap 3 sets to 10 pixels."""


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str


@cache
def _files() -> dict[str, _File]:
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            found[path.relative_to(STATIC).as_posix()] = _File(path.read_bytes(), _type(path.name))
    ours = [name for name in found if name.startswith("css/") and name != _RESET]
    text = "\n".join(found[name].content.decode() for name in (_RESET, _FRAMEWORK, *ours))
    found[STYLES] = _File(_REM.sub(r"calc(var(--mu-rem) * \1)", text).encode(), _type(STYLES))
    return found


def _type(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


@cache
def _version() -> str:
    seen = hashlib.sha256()
    for name, file in _files().items():
        seen.update(name.encode() + b"\0" + file.content)
    return seen.hexdigest()[:16]


def static_path(name: str) -> str:
    """Return a file's path behind the prefix, with the version.

    :param name: relative to the package's ``static`` folder, with ``/``; or :data:`STYLES`
    :raises KeyError: if there is none of that name
    """
    if name not in _files():
        raise KeyError(name)
    return f"/mailusers/static/{_version()}/{name}"


class StaticFiles(PlainHandler):
    """Serves the package's ``static`` folder to anybody; the files hold nothing private."""

    def get(self, version: str, name: str) -> None:
        """Answer with a file; with ``304`` where the browser has it."""
        file = _files().get(name)
        if file is None:
            raise HTTPError(404)
        kept = "31536000, immutable" if version == _version() else "3600"
        self.set_header("Content-Type", file.type)
        self.set_header("Cache-Control", f"public, max-age={kept}")
        self.finish(file.content)

    head = get

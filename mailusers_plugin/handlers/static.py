"""Our own static files, kept in memory: few, small, and never read while somebody waits."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tornado.web import HTTPError, RequestHandler

STATIC: Final = Path(__file__).parent.parent / "static"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    version: str


@cache
def _files() -> dict[str, _File]:
    found = {}
    for path in STATIC.iterdir():
        content = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        found[path.name] = _File(content, kind, hashlib.sha256(content).hexdigest()[:16])
    return found


def static_path(name: str) -> str:
    """Return a file's path behind the prefix, with its version, so that a new release's is taken at once.

    :param name: of a file in the package's ``static`` folder
    :raises KeyError: if there is none of that name
    """
    return f"/mailusers/static/{name}?v={_files()[name].version}"


class StaticFiles(RequestHandler):
    """Serves the package's ``static`` folder to anybody; the files hold nothing private."""

    def get(self, name: str) -> None:
        """Answer with a file; with ``304`` where the browser has it."""
        file = _files().get(name)
        if file is None:
            raise HTTPError(404)
        kept = "31536000, immutable" if self.get_query_argument("v", "") == file.version else "3600"
        self.set_header("Content-Type", file.type)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", f"public, max-age={kept}")
        self.finish(file.content)

    head = get

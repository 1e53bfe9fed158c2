"""Our own static files. A host's ``static_path`` is its own."""

from __future__ import annotations

from pathlib import Path

from tornado.web import StaticFileHandler

STATIC = Path(__file__).parent.parent / "static"


class StaticFiles(StaticFileHandler):
    """Serves the package's ``static`` folder; the files hold nothing private."""

    def set_extra_headers(self, path: str) -> None:
        """Let browsers keep them for an hour, and not guess their type."""
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "public, max-age=3600")

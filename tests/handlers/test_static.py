"""The static files: served from memory, with a version, to anybody."""

from __future__ import annotations

import re

from tests.support import Box


async def test_the_page_names_files_by_their_version(box: Box) -> None:
    """What the page names is there, with its type, and may be kept for long; by an old version for an hour."""
    page = await box.nobody.get("/admin/mailusers/login")
    (path,) = set(re.findall(r'href="([^"]+/[0-9a-f]{16}/mailusers\.css)"', page.text))
    answer = await box.nobody.fetch("GET", path)
    assert (answer.status, answer.type) == (200, "text/css; charset=utf-8")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    plain = await box.nobody.fetch("GET", re.sub("[0-9a-f]{16}", "0" * 16, path))
    assert plain.body == answer.body
    assert plain.headers["Cache-Control"] == "public, max-age=3600"
    again = await box.nobody.sending(If_None_Match=answer.headers["Etag"]).fetch("GET", path)
    assert (again.status, again.body) == (304, b"")


async def test_nothing_else_is_served(box: Box) -> None:
    """A name that is none of ours is not found, whatever it tries."""
    for name in ("none.css", "..", "..%2fplugin.py", "mailusers.css%00", ".", ""):
        assert (await box.nobody.fetch("GET", f"/admin/mailusers/static/{'0' * 16}/{name}")).status == 404

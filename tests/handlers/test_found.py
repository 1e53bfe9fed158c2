"""Requests that fuzzing has found to be answered wrongly, each with what was wrong then; the clients check the rest."""

from __future__ import annotations

import pytest
import tornado

from tests.support import Box

MULTIPART = "multipart/form-data"
UNBOUNDED = 400 if tornado.version_info >= (6, 5) else 200
JSON = "application/json"

REMOVE_NOTHING = b'{"email": "user@example.com", "privilege": [null]}'

FOUND: list[tuple[str, str, str, bytes, int]] = [
    # Tornado refuses a multipart body without a boundary before any of ours runs; that was not described. Before 6.5 it
    # went on without the body.
    ("POST", "/login", MULTIPART, b"", UNBOUNDED),
    ("POST", "/logout", MULTIPART, b"", UNBOUNDED),
    ("GET", "/mail/users/openapi.json", MULTIPART, b"", UNBOUNDED),
    ("HEAD", "/mail/users/openapi.json", MULTIPART, b"", UNBOUNDED),
    # A list of nothing was taken for no privilege at all, and that means admin.
    ("POST", "/mail/users/privileges/remove", JSON, REMOVE_NOTHING, 400),
    # Null is as good as nothing, which was not described for what may be left out.
    ("POST", "/mfa/status", JSON, b'{"user": "user@example.com", "mfa-id": null}', 200),
]


@pytest.mark.parametrize(("verb", "path", "content_type", "body", "status"), FOUND)
async def test_found(
    box: Box, user: str, verb: str, path: str, content_type: str, body: bytes, status: int
) -> None:
    """What was answered wrongly once is answered as the API is described."""
    answer = await box.api.send(f"/admin{path}", body, content_type, verb)
    assert answer.status == status

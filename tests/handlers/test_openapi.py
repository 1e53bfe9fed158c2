"""The description of the API: valid, complete, and true of the server that it is asked of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tornado.web import RequestHandler

from mailusers_plugin import Identity, __version__
from mailusers_plugin.api_document import api_document
from mailusers_plugin.handlers.base import BaseHandler
from mailusers_plugin.handlers.export import UsersExport
from mailusers_plugin.handlers.page_base import PageHandler
from tests.openapi import check, contract
from tests.support import PASSWORD, USER, Box, Boxes, Client

PATH = "/admin/mail/users/openapi.json"


class Stranger:
    """A host of its own, to whom everybody is a reader."""

    login_url = "/elsewhere"

    def identify(self, handler: RequestHandler) -> Identity:
        """Know everybody."""
        return Identity("staff@example.net", "token", ())

    def may(self, identity: Identity, permission: str) -> bool:
        """Permit everything."""
        return True


def routes_of_programs(box: Box) -> Iterator[tuple[str, str]]:
    """Yield verb and path of all routes but those that answer with pages."""
    prefix = box.runtime.settings.prefix
    for host_rule in box.app.default_router.rules:
        for rule in getattr(host_rule.target, "rules", ()):
            handler = rule.target
            if not (isinstance(handler, type) and issubclass(handler, BaseHandler)):
                continue
            if issubclass(handler, PageHandler) and handler is not UsersExport:
                continue
            path = rule.matcher.regex.pattern.removesuffix("$").replace("\\", "").removeprefix(prefix)
            for verb in handler.allowed_verbs():
                yield verb, path


@pytest.mark.parametrize("has_login", [True, False])
def test_document_is_valid(has_login: bool) -> None:
    """It is OpenAPI 3.1, and nothing in it points to something that is not there."""
    document = api_document("https://box.example.com/admin", has_login=has_login)
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["version"] == __version__


@pytest.mark.parametrize("host", [None, Stranger()])
async def test_routes_and_document_agree(boxes: Boxes, host: Any) -> None:
    """Each path and verb that programs may ask is described, and nothing is described that is not there."""
    box = await boxes.open(host=host)
    described = contract(has_login=host is None).operations()
    assert sorted(described) == sorted(routes_of_programs(box))


@pytest.mark.parametrize("prefix", ["", "/deep/er"])
async def test_served_for_the_reader(boxes: Boxes, prefix: str) -> None:
    """It names the server and the prefix under which it was asked for, and has no secret in it."""
    box = await boxes.open(prefix=prefix)
    answer = await box.api.get(f"{prefix}/mail/users/openapi.json")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json()["servers"] == [{"url": f"{box.base_url}{prefix}"}]
    assert box.api_key not in answer.text
    assert str(box.storage) not in answer.text


async def test_not_told_to_strangers(box: Box, user: str) -> None:
    """Who may not call the API is not told what runs here, and in which version."""
    for client in (box.nobody, box.basic(USER)):
        answer = await client.get(PATH)
        assert answer.status == 401
        assert "openapi" not in answer.text


async def test_panel_with_a_login_of_its_own(boxes: Boxes) -> None:
    """Where the panel knows its callers itself, nothing is said of how they log in."""
    box = await boxes.open(host=Stranger())
    document = (await box.nobody.get(PATH)).json()
    assert not {"/login", "/logout"} & set(document["paths"])
    assert "security" not in document
    assert "securitySchemes" not in document["components"]


async def test_page_links_to_it(box: Box, browser: Client) -> None:
    """The page's section on the API leads there."""
    page = (await browser.get("/admin/users")).text
    assert f'href="{PATH}"' in page
    assert (await browser.get(PATH)).status == 200


def examples(part: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield every schema that has examples, with each of them."""
    if isinstance(part, dict):
        found = part.get("examples")
        if isinstance(found, list):
            yield from ((part, example) for example in found)
        for inner in part.values():
            yield from examples(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from examples(inner)


def test_examples_are_true() -> None:
    """Each example is allowed by the schema that it explains."""
    document = contract().document
    found = list(examples(document))
    assert len(found) > 25
    for schema, example in found:
        whole = {"allOf": [schema], "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


GOOD = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}
QUOTA_JSON = {**GOOD, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("verb", "path", "status", "headers", "body"),
    [
        ("POST", "/mail/users/add", 500, GOOD, b"Internal Server Error."),
        ("POST", "/mail/users/add", 201, GOOD, b"mail user added\n"),
        ("POST", "/mail/users/add", 200, GOOD, b"mail user added"),
        ("POST", "/mail/users/add", 200, {**GOOD, "Content-Type": "text/html"}, b"mail user added\n"),
        ("POST", "/mail/users/add", 200, {**GOOD, "X-Surprise": "1"}, b"mail user added\n"),
        ("POST", "/mail/users/add", 200, {**GOOD, "Cache-Control": "public"}, b"mail user added\n"),
        ("POST", "/mail/users/add", 200, {**GOOD, "Preference-Applied": "wait=61"}, b"mail user added\n"),
        ("POST", "/mail/users/add", 400, GOOD, b"User already exists.\n"),
        ("POST", "/mail/users/add", 401, GOOD, b"Enter a password.\n"),
        ("POST", "/mail/users/add", 503, GOOD, b"The database is locked."),
        ("GET", "/mail/users/add", 200, GOOD, b""),
        ("GET", "/mail/users/add", 405, {**GOOD, "Allow": "GET"}, b"Method Not Allowed."),
        ("GET", "/mail/users/quota", 200, QUOTA_JSON, b'{"email":"a@example.com"}'),
        ("GET", "/mail/users/quota", 200, QUOTA_JSON, b'{"email":"a@example.com","quota":"0","more":1}'),
        ("GET", "/mail/users/quota", 200, QUOTA_JSON, b"{"),
        ("GET", "/mail/users", 200, GOOD, b"boss@example.com"),
    ],
)
def test_what_is_not_described_is_noticed(
    verb: str, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    """An answer with another status, header, content type or body than is described fails the test that met it."""
    with pytest.raises(AssertionError, match=r"openapi\.yaml"):
        check(f"/admin{path}", "/admin", verb, {}, status, headers.items(), body)


async def test_examples_of_bodies_are_taken(box: Box, admin: Client) -> None:
    """The bodies that the document shows do what they say, as a form and as JSON, one after the other."""
    schemas = contract().document["components"]["schemas"]
    steps = [
        ("/add", "Add", "mail user added\n"),
        ("/quota", "SetQuota", "OK"),
        ("/password", "SetPassword", "OK"),
        ("/privileges/add", "AddPrivileges", "OK"),
        ("/privileges/remove", "RemovePrivileges", "OK"),
        ("/remove", "OfUser", "mail user removed\n"),
        ("/purge", "Purge", "mail user purged\n"),
    ]
    for send in (admin.post, admin.post_json):
        for path, name, wanted in steps:
            (example,) = schemas[name]["examples"]
            answer = await (
                send(f"/admin/mail/users{path}", **example)
                if send == admin.post
                else admin.post_json(f"/admin/mail/users{path}", example)
            )
            assert answer.text == wanted, path
    assert PASSWORD not in str(schemas)

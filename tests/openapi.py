"""Compares what the API answered with its description: status, headers, content type and body.

The tests' clients call :func:`check` with each answer. What is not described fails the test that met it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import jsonschema_rs
from tornado.httputil import HTTPHeaders
from tornado.web import Application

from mailusers_plugin import MailUsers
from mailusers_plugin.api_document import api_document
from mailusers_plugin.handlers.session import LoginAPI

Headers = Mapping[str, str]

GENERIC: Final = frozenset(
    ("connection", "content-length", "content-type", "date", "server", "transfer-encoding", "vary")
)
"""Headers that HTTP itself or a host may add to any answer."""
UNDESCRIBED: Final = ("400", "503")
"""Where a verb does not exist: a body that cannot be read, and a box that does not answer yet, are said first."""


class Contract:
    """The description of the API, and validators of what it describes."""

    def __init__(self, *, has_login: bool) -> None:
        """Read the description.

        :param has_login: see :func:`mailusers_plugin.api_document.api_document`
        """
        self.document = api_document("http://127.0.0.1", has_login=has_login)
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        # Clients must expect more keys. Here each of them must be described.
        _close(self.document)

    def operations(self) -> Iterator[tuple[str, str]]:
        """Yield every verb and path."""
        for path, operations in self.document["paths"].items():
            for verb in operations:
                yield verb.upper(), path

    def problems(
        self, verb: str, path: str, asked: Headers, status: int, headers: Headers, body: bytes | None
    ) -> Iterator[str]:
        """Yield what is wrong with an answer.

        :param path: behind the prefix; what is not described is none of ours
        :param asked: the request's headers
        :param body: ``None`` where it was not read
        """
        operations = self.document["paths"].get(path)
        if operations is None or _is_page(path, asked):
            return
        operation = operations.get(verb.lower())
        if operation is None:
            yield from self._problems_of_missing_verb(operations, status, headers)
            return
        response = operation["responses"].get(str(status))
        if response is None:
            yield f"status {status} is not described"
            return
        response = self._resolved(response)
        yield from self._problems_of_headers(response.get("headers", {}), headers)
        if verb == "HEAD" or not (body or "content" in response):
            return
        if body is None:
            if headers.get("Content-Type") not in response["content"]:
                yield f"the content type {headers.get('Content-Type')!r} is not described"
            return
        yield from self._problems_of_body(response.get("content", {}), headers, body)

    def _problems_of_missing_verb(
        self, operations: Mapping[str, Any], status: int, headers: Headers
    ) -> Iterator[str]:
        if str(status) in UNDESCRIBED:
            return
        if status != 405:
            yield f"status {status} in place of 405"
        elif set(headers.get("Allow", "").split(", ")) != {verb.upper() for verb in operations}:
            yield f"Allow is {headers.get('Allow')!r}"

    def _problems_of_headers(self, described: Mapping[str, Any], headers: Headers) -> Iterator[str]:
        known = {*GENERIC, *map(str.lower, described)}
        for name in headers:
            if name.lower() not in known:
                yield f"the header {name}: {headers[name]} is not described"
        for name, given in described.items():
            header = self._resolved(given)
            value = headers.get(name)
            if value is None:
                if header.get("required"):
                    yield f"the header {name} is missing"
                continue
            wanted = header["schema"]
            content: Any = int(value) if wanted.get("type") == "integer" and value.isdecimal() else value
            yield from (f"{name}: {problem}" for problem in self._faults(wanted, content))

    def _problems_of_body(self, described: Mapping[str, Any], headers: Headers, body: bytes) -> Iterator[str]:
        content_type = headers.get("Content-Type", "")
        if not described and not body:
            return
        if content_type not in described:
            yield f"the content type {content_type!r} is not described"
            return
        try:
            content = json.loads(body) if content_type == "application/json" else body.decode()
        except ValueError as error:
            yield f"the body is not {content_type}: {error}"
            return
        yield from self._faults(described[content_type]["schema"], content)

    def _faults(self, schema: Mapping[str, Any], content: Any) -> Iterator[str]:
        key = json.dumps(schema, sort_keys=True)
        validator = self._validators.get(key)
        if validator is None:
            whole = {"allOf": [schema], "components": self.document["components"]}
            validator = self._validators[key] = jsonschema_rs.Draft202012Validator(
                whole, validate_formats=True
            )
        for error in validator.iter_errors(content):
            place = "/".join(map(str, error.instance_path))
            yield f"{place}: {error.message[:500]}"

    def _resolved(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = given
        while "$ref" in found:
            reference: str = found["$ref"]
            found = self.document
            for name in reference.removeprefix("#/").split("/"):
                found = found[name]
        return found


@cache
def contract(*, has_login: bool = True) -> Contract:
    """Return the description of an API with or without ``/login``."""
    return Contract(has_login=has_login)


def check(
    url_path: str,
    prefix: str,
    verb: str,
    asked: Headers,
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
    *,
    has_login: bool = True,
) -> None:
    """Raise AssertionError where an answer is not as the API is described.

    :param url_path: path and query of the request
    :param asked: the request's headers
    :param headers: the answer's
    """
    path = urlsplit(url_path).path
    if not path.startswith(f"{prefix}/"):
        return
    # Names are compared without regard to case.
    answered, sent = HTTPHeaders(), HTTPHeaders()
    for name, value in headers:
        answered.add(name, value)
    sent.update(asked)
    found = contract(has_login=has_login).problems(
        verb, path.removeprefix(prefix), sent, status, answered, body
    )
    problems, beginning = "; ".join(found), (body or b"")[:500]
    assert not problems, (
        f"{verb} {url_path} answered {status}, other than openapi.yaml says: {problems}\n{beginning!r}"
    )


def check_application(
    app: Application,
    url_path: str,
    verb: str,
    asked: Headers,
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
) -> None:
    """Do the same for an application into which the plugin is mounted, wherever that is."""
    handles: list[MailUsers] = app.settings.get("mailusers_plugin", [])
    has_login = any(
        getattr(rule, "target", None) is LoginAPI
        for host_rule in app.default_router.rules
        for rule in getattr(host_rule.target, "rules", ())
    )
    answered = list(headers)
    for prefix in {handle.runtime.settings.prefix for handle in handles}:
        check(url_path, prefix, verb, asked, status, answered, body, has_login=has_login)


def _is_page(path: str, asked: Headers) -> bool:
    """Tell whether a page in a browser asks, which is told what is wrong in HTML. The API is what programs speak."""
    return path == "/users/export" and ("HX-Request" in asked or "text/html" in asked.get("Accept", ""))


def _close(schema: Any) -> None:
    """Allow no keys but those that are described, in every object below."""
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _close(part)

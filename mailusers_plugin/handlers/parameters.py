"""The parameters of a request, from a form, multipart or JSON body and, on GET, the query string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from tornado.httputil import HTTPServerRequest

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.texts import N_

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Parameters:
    """Parameters by name. Unlike Tornado's own, values are not stripped: a password may begin with a space."""

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        """Take the values.

        :param values: all values of each name, in order
        """
        self._values = values

    @classmethod
    def of(cls, request: HTTPServerRequest) -> Parameters:
        """Read a request.

        :raises InvalidInputError: if the body is not what its content type says, or not UTF-8
        """
        values: dict[str, list[str]] = {}
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            # Some kilobytes can be made of some gigabytes.
            raise InvalidInputError(N_("Compressed bodies are not taken. Send the parameters as they are."))
        if request.method in ("GET", "HEAD"):
            _add_bytes(values, request.query_arguments)
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type == "application/json":
            _add_json(values, request.body)
        elif content_type in _FORMS:
            _add_bytes(values, request.body_arguments)
            if request.files:
                raise InvalidInputError(
                    N_("Files are not expected here. Send the parameters as plain fields.")
                )
        elif request.body and request.method not in ("GET", "HEAD"):
            raise InvalidInputError(
                N_("Send the parameters as %(types)s or application/json."), types=", ".join(_FORMS)
            )
        return cls(values)

    def names(self) -> frozenset[str]:
        """Return the names of all parameters."""
        return frozenset(self._values)

    def get(self, name: str) -> str | None:
        """Return a parameter, ``None`` where it is missing.

        :raises InvalidInputError: if it was given more than once with different values
        """
        values = self._values.get(name)
        if not values:
            return None
        if len(set(values)) > 1:
            raise InvalidInputError(N_("The parameter %(name)s was given more than once."), name=name)
        return values[0]

    def every(self, name: str) -> list[str]:
        """Return all values of a parameter, in order and each once."""
        return list(dict.fromkeys(self._values.get(name, ())))

    def text(self, name: str) -> str:
        """Return a parameter, empty where it is missing."""
        return self.get(name) or ""

    def email(self, name: str = "email") -> str:
        """Return an address. A plus sign that a client did not encode arrives as a space, which none can have."""
        return self.text(name).replace(" ", "+")

    def privileges(self) -> list[str] | None:
        """Return the privileges under either of their names, one or several, ``None`` where there are none."""
        given = [*self._values.get("privileges", ()), *self._values.get("privilege", ())]
        found = [line.strip() for value in given for line in value.split("\n") if line.strip()]
        return found or None


def _add_bytes(values: dict[str, list[str]], arguments: Mapping[str, list[bytes]]) -> None:
    for name, items in arguments.items():
        try:
            values.setdefault(name, []).extend(item.decode() for item in items)
        except UnicodeDecodeError:
            raise InvalidInputError(
                N_("The parameter %(name)s is not valid UTF-8."), name=ascii(name)
            ) from None


def _add_json(values: dict[str, list[str]], body: bytes) -> None:
    try:
        content = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise InvalidInputError(N_("The body is not valid JSON.")) from None
    if not isinstance(content, dict):
        raise InvalidInputError(N_("The body must be a JSON object whose keys are the parameters."))
    for name, value in content.items():
        # Null is a parameter that is left out. In a list it is a mistake, and what it stands for nobody knows.
        items = value if isinstance(value, list) else [] if value is None else [value]
        values.setdefault(name, []).extend(_text(name, item) for item in items)


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidInputError(N_("The parameter %(name)s must be text."), name=ascii(name))

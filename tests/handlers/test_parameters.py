"""How parameters may be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import BOSS, PASSWORD, USER, Box, Client

FORM = "application/x-www-form-urlencoded"
ADD = "/admin/mail/users/add"
QUOTA = "/admin/mail/users/quota"
PRIVILEGES = "/admin/mail/users/privileges"
NEW = "new@example.com"


def multipart(**fields: str) -> tuple[str, str]:
    """Return a body and its type."""
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return "".join(parts) + "--limit--\r\n", "multipart/form-data; boundary=limit"


BODIES: list[tuple[str, str]] = [
    (f"email={NEW}&password=correct+horse+battery&quota=5G&privileges=admin", FORM),
    ("email=new%40example.com&password=correct%20horse%20battery&quota=5G&privilege=admin", FORM),
    (f"email={NEW}&password=correct horse battery&quota=5G&privilege=admin", FORM + "; charset=UTF-8"),
    multipart(email=NEW, password=PASSWORD, quota="5G", privileges="admin"),
    (
        json.dumps({"email": NEW, "password": PASSWORD, "quota": "5G", "privileges": ["admin"]}),
        "application/json",
    ),
    (
        json.dumps({"email": NEW, "password": PASSWORD, "quota": 5 * 2**30, "privilege": "admin", "x": None}),
        "application/json; charset=utf-8",
    ),
]


@pytest.mark.parametrize(("body", "content_type"), BODIES)
async def test_body(box: Box, body: str, content_type: str) -> None:
    """Forms, multipart and JSON mean the same."""
    answer = await box.api.send(ADD, body, content_type)
    assert (answer.status, answer.text) == (200, "mail user added\n")
    account = await box.find(NEW)
    assert account is not None
    assert account.privileges == ("admin",)
    assert account.quota in ("5G", str(5 * 2**30))
    assert (await box.basic(NEW).get("/admin/mail/users")).status == 200


BAD_BODIES: list[tuple[str | bytes, str, str]] = [
    (b"email=\xff%40example.com", FORM, "The parameter 'email' is not valid UTF-8."),
    (b"email=%ff", FORM, "The parameter 'email' is not valid UTF-8."),
    ("email=a&email=b", FORM, "The parameter email was given more than once."),
    ("{", "application/json", "The body is not valid JSON."),
    ("[]", "application/json", "The body must be a JSON object whose keys are the parameters."),
    ("null", "application/json", "The body must be a JSON object whose keys are the parameters."),
    ('{"email": {}}', "application/json", "The parameter 'email' must be text."),
    ('{"email": true}', "application/json", "The parameter 'email' must be text."),
    ('{"email": ["a", "b"]}', "application/json", "The parameter email was given more than once."),
    (
        "email=a",
        "text/plain",
        "Send the parameters as application/x-www-form-urlencoded, multipart/form-data or application/json.",
    ),
    (
        '--l\r\nContent-Disposition: form-data; name="email"; filename="x"\r\n\r\na\r\n--l--\r\n',
        "multipart/form-data; boundary=l",
        "Files are not expected here. Send the parameters as plain fields.",
    ),
]


@pytest.mark.parametrize(("body", "content_type", "text"), BAD_BODIES)
async def test_bad_body(box: Box, body: str | bytes, content_type: str, text: str) -> None:
    """A body that is not what it says is refused with a text that says how to send it."""
    answer = await box.api.send(ADD, body, content_type)
    assert (answer.status, answer.text) == (400, text)


@pytest.mark.parametrize("body", ['{"email": "a', "\x00", '{"email": NaN}', '{"a":' * 2000])
async def test_hostile_json(box: Box, body: str) -> None:
    """Broken or deeply nested JSON is the caller's mistake, never ours."""
    assert (await box.api.send(ADD, body, "application/json")).status == 400


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=other"])
async def test_broken_multipart(box: Box, content_type: str) -> None:
    """Multipart without its boundary is the caller's mistake."""
    assert (await box.api.send(ADD, multipart(email=NEW)[0], content_type)).status == 400


async def test_query_string_of_a_post_is_not_read(box: Box, admin: Client, user: str) -> None:
    """What a POST carries in its address, where proxies log it, is not taken."""
    answer = await admin.post(f"{QUOTA}?email={USER}&quota=5G")
    assert (answer.status, answer.text) == (400, "No email address provided.")


@pytest.mark.parametrize("content_type", [FORM, "application/json"])
async def test_body_of_a_get(admin: Client, user: str, content_type: str) -> None:
    """``curl -X GET -d email=…`` works, as the page documents it."""
    body = f"email={USER}" if content_type == FORM else json.dumps({"email": USER})
    answer = await admin.send(QUOTA, body, content_type, method="GET")
    assert answer.json() == {"email": USER, "quota": "0"}


async def test_get_with_both(admin: Client, user: str) -> None:
    """Query string and body of a GET may each hold a part, and must not contradict each other."""
    answer = await admin.send(f"{QUOTA}?text=1", f"email={USER}", FORM, method="GET")
    assert answer.text == "0"
    answer = await admin.send(f"{QUOTA}?email={USER}", f"email={USER}", FORM, method="GET")
    assert answer.status == 200
    answer = await admin.send(f"{QUOTA}?email={USER}", f"email={BOSS}", FORM, method="GET")
    assert answer.text == "The parameter email was given more than once."


async def test_unencoded_plus(box: Box, admin: Client) -> None:
    """A plus sign that the client did not encode belongs to the address."""
    box.sql("INSERT INTO users (email, password) VALUES ('me+tag@example.com', 'x')")
    for encoded in ("me+tag@example.com", "me%2Btag%40example.com"):
        answer = await admin.get(f"{QUOTA}?email={encoded}")
        assert answer.json()["email"] == "me+tag@example.com"
        assert (await admin.send(QUOTA, f"email={encoded}&quota=1G", FORM)).text == "OK"
    assert (await admin.send("/admin/mail/users/remove", "email=me+tag@example.com", FORM)).status == 200
    body = "email=me+tag@example.com&confirm=me+tag@example.com"
    assert (await admin.send("/admin/mail/users/purge", body, FORM)).status == 200


@pytest.mark.parametrize("password", ["  spaces around  ", "plus+plus+plus", "per%cent%41", "a&b=c&d=e"])
async def test_password_arrives_unchanged(box: Box, admin: Client, password: str) -> None:
    """Nothing is stripped from a password or decoded twice."""
    assert (await admin.post(ADD, email=NEW, password=password)).status == 200
    assert (await box.basic(NEW, password).post("/admin/login")).json()["status"] == "ok"
    assert (await box.basic(NEW, password.strip() + "x").post("/admin/login")).json()["status"] == "invalid"


@pytest.mark.parametrize(
    "content",
    [
        {"privilege": "admin"},
        {"privileges": "admin"},
        {"privileges": ["admin"]},
        {"privileges": " admin \n"},
        {"privilege": "admin", "privileges": "admin\n\n"},
    ],
)
async def test_names_of_the_privileges(box: Box, admin: Client, user: str, content: dict[str, Any]) -> None:
    """Privileges are taken under both names, one or several, one a line or as a list."""
    assert (await admin.post_json(PRIVILEGES + "/add", {"email": USER, **content})).text == "OK"
    assert (await admin.get(PRIVILEGES, email=USER)).text == "admin"

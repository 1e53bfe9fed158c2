"""The errors of the contract: every text, every endpoint that answers it."""

from __future__ import annotations

import pytest

from tests.support import BOSS, PASSWORD, USER, Box, Client

PLAIN = "text/plain; charset=utf-8"
ADD = "/admin/mail/users/add"
REMOVE = "/admin/mail/users/remove"
PURGE = "/admin/mail/users/purge"
SET_PASSWORD = "/admin/mail/users/password"
PRIVILEGES = "/admin/mail/users/privileges"
QUOTA = "/admin/mail/users/quota"
NEW = "new@example.com"

NO_EMAIL = "No email address provided."
INVALID_EMAIL = "Invalid email address."
CHARACTERS = (
    "User account email addresses may only use the lowercase ASCII letters a-z, the digits 0-9, "
    "underscore (_), hyphen (-), and period (.)."
)
RESERVED = (
    "You may not make a user account for that address because it is frequently used for domain control "
    "validation. Use an alias instead if necessary."
)
NO_PASSWORD = "No password provided."
SHORT = "Passwords must be at least eight characters."
NO_QUOTA = "No quota provided."
SPACES = "Quotas cannot contain spaces, commas, or decimal points."
INVALID_QUOTA = "Invalid quota."

NO_USER = "That's not a user (nobody@example.com)."
NOT_ARCHIVED = "That account is not archived."

Form = dict[str, str]

ADD_ERRORS: list[tuple[Form, str]] = [
    ({"password": PASSWORD}, NO_EMAIL),
    ({"email": "", "password": PASSWORD}, NO_EMAIL),
    ({"email": "not an address", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "a@b@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "nodomain", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "dot.@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "x" * 65 + "@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "../../etc@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "a@example.com\nb@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "müller@example.com", "password": PASSWORD}, INVALID_EMAIL),
    ({"email": "A@example.com", "password": PASSWORD}, CHARACTERS),
    ({"email": "a@Example.com", "password": PASSWORD}, CHARACTERS),
    ({"email": "a+b@example.com", "password": PASSWORD}, CHARACTERS),
    ({"email": "o'neill@example.com", "password": PASSWORD}, CHARACTERS),
    ({"email": "a/b@example.com", "password": PASSWORD}, CHARACTERS),
    *(
        ({"email": f"{name}@example.com", "password": PASSWORD}, RESERVED)
        for name in ("admin", "administrator", "postmaster", "hostmaster", "webmaster", "abuse")
    ),
    ({"email": BOSS, "password": PASSWORD}, "User already exists."),
    ({"email": NEW}, NO_PASSWORD),
    ({"email": NEW, "password": "   "}, NO_PASSWORD),
    ({"email": NEW, "password": "sevenyy"}, SHORT),
    ({"email": NEW, "password": "with\nline break"}, "Passwords must not contain control characters."),
    ({"email": NEW, "password": "with\0nought"}, "Passwords must not contain control characters."),
    ({"email": NEW, "password": PASSWORD, "privilege": "root"}, "That's not a valid privilege (root)."),
    (
        {"email": NEW, "password": PASSWORD, "privileges": "admin\nroot"},
        "That's not a valid privilege (root).",
    ),
    ({"email": NEW, "password": PASSWORD, "quota": ""}, NO_QUOTA),
    ({"email": NEW, "password": PASSWORD, "quota": "1.5G"}, SPACES),
    ({"email": NEW, "password": PASSWORD, "quota": "lots"}, INVALID_QUOTA),
]

OTHER_ERRORS: list[tuple[str, Form, str]] = [
    (REMOVE, {}, NO_EMAIL),
    (REMOVE, {"email": "nobody@example.com"}, NO_USER),
    (REMOVE, {"email": "<b>"}, "That's not a user (<b>)."),
    (REMOVE, {"email": BOSS}, "You cannot archive your own account."),
    (PURGE, {}, NO_EMAIL),
    (PURGE, {"email": USER, "confirm": USER}, NOT_ARCHIVED),
    (PURGE, {"email": "nobody@example.com", "confirm": "nobody@example.com"}, NOT_ARCHIVED),
    (PURGE, {"email": "../example.com", "confirm": "../example.com"}, NOT_ARCHIVED),
    (PURGE, {"email": USER}, "To delete a mailbox for good, send its address again as confirm."),
    (
        PURGE,
        {"email": USER, "confirm": BOSS},
        "To delete a mailbox for good, send its address again as confirm.",
    ),
    (SET_PASSWORD, {"password": PASSWORD}, NO_EMAIL),
    (SET_PASSWORD, {"email": USER}, NO_PASSWORD),
    (SET_PASSWORD, {"email": USER, "password": "sevenyy"}, SHORT),
    (SET_PASSWORD, {"email": "nobody@example.com", "password": PASSWORD}, NO_USER),
    (PRIVILEGES + "/add", {"privilege": "admin"}, NO_EMAIL),
    (PRIVILEGES + "/add", {"email": USER, "privilege": "root"}, "That's not a valid privilege (root)."),
    (PRIVILEGES + "/add", {"email": USER}, "That's not a valid privilege ()."),
    (PRIVILEGES + "/add", {"email": "nobody@example.com", "privilege": "admin"}, NO_USER),
    (PRIVILEGES + "/remove", {}, NO_EMAIL),
    (PRIVILEGES + "/remove", {"email": USER, "privilege": "root"}, "That's not a valid privilege (root)."),
    (PRIVILEGES + "/remove", {"email": "nobody@example.com"}, NO_USER),
    (PRIVILEGES + "/remove", {"email": BOSS}, "You cannot remove the admin privilege from yourself."),
    (QUOTA, {"quota": "1G"}, NO_EMAIL),
    (QUOTA, {"email": USER}, NO_QUOTA),
    (QUOTA, {"email": USER, "quota": "  "}, NO_QUOTA),
    (QUOTA, {"email": USER, "quota": "1 G"}, SPACES),
    (QUOTA, {"email": USER, "quota": "1,5G"}, SPACES),
    (QUOTA, {"email": USER, "quota": "1.5G"}, SPACES),
    (QUOTA, {"email": USER, "quota": "-1"}, INVALID_QUOTA),
    (QUOTA, {"email": USER, "quota": "5T"}, INVALID_QUOTA),
    (QUOTA, {"email": USER, "quota": "G"}, INVALID_QUOTA),
    (QUOTA, {"email": USER, "quota": "٥G"}, INVALID_QUOTA),
    (QUOTA, {"email": USER, "quota": "9223372036854775808"}, INVALID_QUOTA),
    (QUOTA, {"email": USER, "quota": "9" * 20 + "M"}, INVALID_QUOTA),
    (QUOTA, {"email": "nobody@example.com", "quota": "1G"}, NO_USER),
]


@pytest.mark.parametrize(("form", "text"), ADD_ERRORS)
async def test_add_error(box: Box, admin: Client, form: Form, text: str) -> None:
    """What is wrong with a new user is said in the contract's words, and nothing is added."""
    answer = await admin.post(ADD, **form)
    assert (answer.status, answer.type, answer.text) == (400, PLAIN, text)
    assert await box.emails() == [BOSS]


@pytest.mark.parametrize(("path", "form", "text"), OTHER_ERRORS)
async def test_error(box: Box, admin: Client, user: str, path: str, form: Form, text: str) -> None:
    """What is wrong with a change is said in the contract's words, and nothing is changed."""
    before = box.sql("SELECT * FROM users ORDER BY id")
    answer = await admin.post(path, **form)
    assert (answer.status, answer.type, answer.text) == (400, PLAIN, text)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert box.sql("SELECT * FROM users ORDER BY id") == before


@pytest.mark.parametrize("path", [PRIVILEGES, QUOTA])
@pytest.mark.parametrize(("email", "text"), [("", NO_EMAIL), ("nobody@example.com", NO_USER)])
async def test_reading_error(admin: Client, path: str, email: str, text: str) -> None:
    """Asking after an unknown user is answered with 400, not with an error inside an answer."""
    answer = await admin.get(path, email=email)
    assert (answer.status, answer.type, answer.text) == (400, PLAIN, text)


async def test_error_as_json(admin: Client) -> None:
    """A client that asks for JSON gets its errors as JSON."""
    answer = await admin.sending(Accept="application/json").post(REMOVE, email="nobody@example.com")
    assert (answer.status, answer.type) == (400, "application/json")
    assert answer.json() == {"status": "error", "reason": NO_USER}


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/html,*/*;q=0.8"])
async def test_error_as_text(admin: Client, accept: str) -> None:
    """All others get them as text, which no browser takes for a page."""
    answer = await admin.sending(Accept=accept).post(REMOVE, email="<script>alert(1)</script>")
    assert (answer.status, answer.type) == (400, PLAIN)
    assert answer.text == "That's not a user (<script>alert(1)</script>)."


@pytest.mark.parametrize("email", ["admin@example.com", "postmaster@example.com"])
async def test_very_first_account_may_have_any_name(box: Box, email: str) -> None:
    """An address that proves control over its domain may be the first user's, and nobody's afterwards."""
    assert (await box.api.post(ADD, email=email, password=PASSWORD)).status == 200
    assert (await box.api.post(ADD, email="abuse@example.com", password=PASSWORD)).text == RESERVED


async def test_tagged_control_address_is_refused(admin: Client) -> None:
    """A ``+tag`` does not get around the rule for addresses that prove control over a domain."""
    answer = await admin.post(ADD, email="admin+me@example.com", password=PASSWORD)
    assert (answer.status, answer.text) == (400, CHARACTERS)


async def test_last_administrator(box: Box, admin: Client) -> None:
    """The last administrator can be neither archived nor demoted, not even by one who acts for no user."""
    for path in (REMOVE, PRIVILEGES + "/remove"):
        answer = await box.api.post(path, email=BOSS)
        assert (answer.status, answer.text) == (400, "That is the last administrator.")
    await box.add("second@example.com", ("admin",))
    assert (await box.api.post(REMOVE, email=BOSS)).text == "mail user removed\n"


async def test_error_never_echoes_a_password(box: Box, admin: Client) -> None:
    """A password that is refused does not come back in the answer."""
    secret = "se\tcret"
    for form in ({"email": NEW, "password": secret}, {"email": "bad", "password": secret}):
        assert "cret" not in (await admin.post(ADD, **form)).text


async def test_locked_database(box: Box, admin: Client, user: str) -> None:
    """Storage that is away answers 503 with the time to wait, and says nothing of statements or passwords."""
    box.sql("ALTER TABLE users RENAME TO hidden")
    answer = await box.api.post(ADD, email=NEW, password="a very secret password")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.type == PLAIN
    assert "secret" not in answer.text and "SELECT" not in answer.text.upper()

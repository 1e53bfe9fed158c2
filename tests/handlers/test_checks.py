"""What the server says of a field while somebody types: the same words as afterwards, and never the password."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mailusers_plugin import password_strength
from tests.handlers.browsing import as_script, field, words
from tests.support import CONSOLE, USER, Box, Client

CHECK = "/admin/users/check"
SECRET = "Tr0ub4dor&3-never-logged"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("email", "", "No email address provided."),
        ("email", "Ä@example.com", "Invalid email address."),
        ("email", "Upper@example.com", "may only use the lowercase ASCII letters"),
        ("email", USER, "User already exists."),
        ("email", "postmaster@example.com", "frequently used for domain control validation"),
        ("password", "", "No password provided."),
        ("password", "short", "Passwords must be at least eight characters."),
        ("password", "password1", "This is one of the most common passwords"),
        ("password", "abcdefghi", "This password is too easy to guess."),
        ("quota_number", "1.5", "Quotas cannot contain spaces, commas, or decimal points."),
        ("quota_number", "lots", "Invalid quota."),
    ],
)
async def test_faults(browser: Client, name: str, text: str, said: str) -> None:
    """A field that is left says what is wrong with it, in the server's words."""
    checked = name.partition("_")[0]
    script = as_script(browser, f"div#mu-{checked}-note")
    answer = await script.post(CHECK, field=checked, quota_unit="G", **{name: text})
    assert answer.status == 200
    assert said in words(answer)
    assert f'id="mu-{checked}-fault"' in answer.text


@pytest.mark.parametrize(
    ("name", "text"),
    [("email", "new@example.com"), ("quota_number", "5"), ("quota_number", "")],
)
async def test_nothing_wrong(script: Client, name: str, text: str) -> None:
    """What is right needs no words."""
    answer = await script.post(CHECK, field=name.partition("_")[0], quota_unit="G", **{name: text})
    assert words(answer) == ""


@pytest.mark.parametrize(
    ("name", "text", "is_said"),
    [
        ("email", "new@exam", False),
        ("email", "new@exam ple.com", True),
        ("email", USER, True),
        ("password", "short", False),
        ("password", "longer\x07ones", True),
    ],
)
async def test_what_is_not_finished_is_not_wrong_yet(
    script: Client, name: str, text: str, is_said: bool
) -> None:
    """While somebody types only that is said which will stay wrong."""
    answer = await script.post(CHECK, field=name, typing="1", **{name: text})
    assert ("mu-fault" in answer.text) == is_said


async def test_an_archived_address(box: Box, script: Client) -> None:
    """The question for consent comes as soon as the address is there, and keeps an answer that was given."""
    await box.service.archive(CONSOLE, USER)
    answer = await script.post(CHECK, field="email", email=USER)
    assert "This address was archived on" in words(answer)
    assert " checked" not in field(answer, "restore")
    assert " checked" in field(await script.post(CHECK, field="email", email=USER, restore=USER), "restore")


async def test_the_address_is_easy_to_guess(script: Client) -> None:
    """A password made of the address is weaker than it looks."""
    form = {"field": "password", "password": "wolframite-quarry"}
    other = await script.post(CHECK, email="new@example.com", **form)
    own = await script.post(CHECK, email="wolframite.quarry@example.com", **form)
    assert "Very good" in words(other)
    assert words(own) == "Strength: Good"


async def test_in_a_dialog(browser: Client) -> None:
    """The ids are those of the form that asks; nobody else's are taken over."""
    dialog = await as_script(browser, "div#mu-d-quota-note").post(
        CHECK, field="quota", quota_number="x", quota_unit="G"
    )
    assert 'id="mu-d-quota-fault"' in dialog.text
    odd = await as_script(browser, 'div#"><b>-quota-note').post(
        CHECK, field="quota", quota_number="x", quota_unit="G"
    )
    assert "<b>" not in odd.text


async def test_a_password_stays_where_it_is(
    box: Box, script: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither sent back nor logged nor written anywhere."""
    with caplog.at_level(logging.DEBUG):
        answer = await script.post(CHECK, field="password", password=SECRET)
    assert SECRET not in answer.text
    assert SECRET not in caplog.text
    assert answer.headers["Cache-Control"] == "no-store"
    for path in box.storage.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


async def test_a_very_long_password(script: Client) -> None:
    """Beyond what the estimate looks at, nothing takes longer."""
    answer = await script.post(CHECK, field="password", password="correct horse " * 30)
    assert "Very good" in words(answer)


async def test_an_unknown_field(script: Client) -> None:
    """Only our own fields are checked."""
    assert (await script.post(CHECK, field="privilege", privilege="admin")).status == 400


async def test_many_who_ask(script: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many wait for an estimate, the form does without it."""
    monkeypatch.setattr(password_strength, "_MAX_WAITING", 0)
    monkeypatch.setattr(password_strength, "_MAX_QUEUED", 0)
    answer = await script.post(CHECK, field="password", password="correct horse battery")
    assert answer.status == 200
    assert words(answer) == ""


async def test_the_loop_does_not_wait(box: Box) -> None:
    """Estimates run beside the event loop, and all that ask get one."""
    passwords = [f"correct horse {number}" for number in range(5)]
    found = await asyncio.gather(*(box.runtime.strength.estimate(text) for text in passwords))
    assert [strength.score for strength in found if strength] == [4] * 5


def test_all_advice_is_known() -> None:
    """Nothing that the library says is left out because its words changed."""
    samples = (
        *("password", "passwor1d", "qwertyuiop", "qaz1qaz2", "aaaaaaaa", "abcabcabc", "abcdefgh", "87654321"),
        *(
            "1987",
            "20.11.1987",
            "monica",
            "Monica17",
            "MONICAX",
            "p4ssw0rd",
            "drowssap",
            "dinosaur",
            "wiliam smith",
        ),
    )
    from zxcvbn import zxcvbn

    said = set()
    for sample in samples:
        feedback = zxcvbn(sample)["feedback"]
        said |= {feedback["warning"], *feedback["suggestions"]} - {""}
    assert len(said) > 15
    assert said <= password_strength.ADVICE

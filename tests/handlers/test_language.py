"""Pages in the reader's language, over HTTP."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from typing import Any

import jinja2
import pytest
import tornado.locale
from tornado.web import RequestHandler

from mailusers_plugin.errors import ConfigurationError, VetoError
from mailusers_plugin.hooks import hookimpl
from mailusers_plugin.models import ADMIN, Identity
from tests.support import BOSS, PASSWORD, XSRF, Box, Boxes, Client

LOGIN = "/admin/mailusers/login"
LANGUAGE = "/admin/mailusers/language"
GERMAN = "de-DE,de;q=0.9,en;q=0.5"


def language_of(page: str) -> str | None:
    """Return what the page says of its language, everywhere the same."""
    found = set(re.findall(r'<(?:html|div class="mailusers[^"]*" id="mu") lang="([^"]+)" dir="ltr"', page))
    return found.pop() if len(found) == 1 else None


def reader(box: Box) -> Client:
    """A browser in which nobody is logged in."""
    return box.nobody.sending(Accept="text/html", Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)


async def test_the_browsers_language(box: Box) -> None:
    """A German browser gets German, one that wants what there is not gets English, and both are told."""
    await box.add(BOSS, (ADMIN,))
    german = await reader(box).sending(Accept_Language=GERMAN).get(LOGIN)
    assert language_of(german.text) == german.headers["Content-Language"] == "de"
    assert "Anmelden" in german.text
    assert "Log in" not in german.text
    for header in ({}, {"Accept_Language": "x-klingon"}, {"Accept_Language": "\xff;;q=,"}):
        english = await reader(box).sending(**header).get(LOGIN)
        assert language_of(english.text) == english.headers["Content-Language"] == "en"
        assert "Log in" in english.text
    varies = ",".join(german.headers.get_list("Vary"))
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in varies.split(",")}


async def test_the_readers_choice(box: Box) -> None:
    """What was chosen wins over the browser, leads back to where one was, and lasts."""
    await box.add(BOSS, (ADMIN,))
    here = f"{LOGIN}?next=%2Fadmin%2Fusers%3Fq%3Dx"
    client = reader(box).sending(Accept_Language=GERMAN)
    page = (await client.get(here)).text
    menu = re.search(r'<form class="mu-languages" method="post" action="([^"]+)">(.*?)</form>', page, re.S)
    assert menu is not None
    assert menu[1] == LANGUAGE
    assert re.findall(r'value="(\w\w)" lang="\w\w" dir="ltr"( aria-current="true")?>([^<]+)<', menu[2]) == [
        ("en", "", "English"),
        ("de", ' aria-current="true"', "Deutsch"),
        ("fr", "", "Français"),
    ]
    assert f'name="next" value="{here}"' in menu[2].replace("&amp;", "&")
    answer = await client.post(LANGUAGE, language="fr", next=here)
    assert (answer.status, answer.headers["Location"]) == (303, here)
    kept = SimpleCookie(answer.headers["Set-Cookie"])["mailusers_language"]
    assert (kept.value, kept["path"], kept["samesite"], kept["httponly"]) == ("fr", "/admin", "Lax", True)
    french = await client.sending(Cookie="mailusers_language=fr").get(LOGIN)
    assert language_of(french.text) == "fr"


@pytest.mark.parametrize("value", ["", "xx", "../de", "\xff", "fr; Path=/"])
async def test_a_choice_that_is_none(box: Box, value: str) -> None:
    """An unknown language in the form changes nothing; in the cookie it is as if there were none."""
    await box.add(BOSS, (ADMIN,))
    client = reader(box).sending(Accept_Language="de")
    answer = await client.post(LANGUAGE, language=value, next="//evil.example")
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/users")
    assert "Set-Cookie" not in answer.headers
    page = await client.sending(Cookie=f'mailusers_language="{value}"').get(LOGIN)
    assert language_of(page.text) == "de"


async def test_nobody_else_chooses(box: Box) -> None:
    """Another site cannot set the language: the form carries the page's token."""
    await box.add(BOSS, (ADMIN,))
    answer = await box.nobody.post(LANGUAGE, language="de")
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


async def test_errors_are_read_by_people_too(box: Box) -> None:
    """An error in a form, an error page and a refusal are in the reader's language; the values stay."""
    await box.add(BOSS, (ADMIN,))
    client = (await box.browser(BOSS)).sending(Accept="text/html", Accept_Language=GERMAN)
    wrong = await client.post("/admin/users/password", email=BOSS, password="short")
    assert (wrong.status, language_of(wrong.text)) == (400, "de")
    assert "Passwords must be" not in wrong.text
    assert "mindestens acht Zeichen" in wrong.text
    unknown = await client.get("/admin/users/quota?email=nobody@example.com")
    assert "nobody@example.com" in unknown.text
    assert "not a user" not in unknown.text
    refused = await reader(box).sending(Accept_Language=GERMAN).post(LOGIN, email=BOSS, password="wrong")
    assert (refused.status, language_of(refused.text)) == (400, "de")
    assert "Incorrect" not in refused.text
    verb = await client.fetch("DELETE", "/admin/users")
    assert (verb.status, language_of(verb.text)) == (405, "de")
    assert "Method Not Allowed" not in verb.text


async def test_programs_get_english(box: Box) -> None:
    """Whatever the language, the API answers with the contract's texts, and a page's error as text is English."""
    await box.add(BOSS, (ADMIN,))
    client = box.basic(BOSS).sending(Accept_Language=GERMAN, Cookie="mailusers_language=de")
    for path, form, text in (
        ("add", {"email": "a@example.com", "password": PASSWORD}, "mail user added\n"),
        ("add", {"email": "a@example.com", "password": PASSWORD}, "User already exists."),
        (
            "add",
            {"email": "b@example.com", "password": "short"},
            "Passwords must be at least eight characters.",
        ),
        ("quota", {"email": "x@example.com", "quota": "1G"}, "That's not a user (x@example.com)."),
        ("privileges/add", {"email": BOSS, "privilege": "x"}, "That's not a valid privilege (x)."),
        ("remove", {"email": BOSS}, "You cannot archive your own account."),
    ):
        answer = await client.post(f"/admin/mail/users/{path}", **form)
        assert answer.text == text
        assert "Content-Language" not in answer.headers
    refused = await box.basic(BOSS, "wrong").sending(Accept_Language=GERMAN).get("/admin/mail/users")
    assert refused.text == "Incorrect email address or password.\n"
    assert (await client.get("/admin/users/quota?email=x")).text == "That's not a user (x)."


async def test_what_a_module_refuses(box: Box) -> None:
    """Another module's words are shown as they come, escaped, in a page of any language."""

    class Rule:
        @hookimpl
        def mailusers_validate_add(self, request: Any) -> None:
            raise VetoError("100 % <b>full</b> of %(email)s")

    await box.add(BOSS, (ADMIN,))
    box.handle.pm.register(Rule())
    key = box.api.sending(Accept="text/html", Accept_Language=GERMAN)
    answer = await key.post("/admin/users/add", email="a@example.com", password=PASSWORD, quota="0")
    assert answer.status == 400
    assert language_of(answer.text) == "de"
    assert "100 % &lt;b&gt;full&lt;/b&gt; of %(email)s" in answer.text


class PanelHost:
    """A host whose own cookie says the language."""

    login_url = "/sign-in"

    def identify(self, handler: RequestHandler) -> Identity:
        """Know everybody."""
        return Identity("staff", "cookie")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow it."""
        return True

    async def locale(self, handler: RequestHandler) -> str | None:
        """Read the cookie."""
        return handler.get_cookie("panel_language")


async def test_the_hosts_language(boxes: Boxes) -> None:
    """What the host says wins and leaves nothing to choose; where it says nothing, the reader does."""
    box = await boxes.open(host=PanelHost())
    client = box.nobody.sending(Accept="text/html", Accept_Language="fr")
    said = await client.sending(Cookie="panel_language=de_AT; mailusers_language=en").get("/admin/users")
    assert language_of(said.text) == "de"
    assert "mu-languages" not in said.text
    for cookie, language in (("panel_language=it", "fr"), ("a=b", "fr"), ("mailusers_language=en", "en")):
        page = (await client.sending(Cookie=cookie).get("/admin/users")).text
        assert language_of(page) == language
        assert "mu-languages" in page


async def test_the_settings_languages(boxes: Boxes) -> None:
    """Only allowed languages are given, the first one to everybody else; one alone is no choice."""
    box = await boxes.open(languages=("fr", "de"))
    await box.add(BOSS, (ADMIN,))
    assert language_of((await reader(box).sending(Accept_Language="en").get(LOGIN)).text) == "fr"
    assert language_of((await reader(box).sending(Accept_Language=GERMAN).get(LOGIN)).text) == "de"
    alone = await boxes.open(languages="de")
    await alone.add(BOSS, (ADMIN,))
    page = (await reader(alone).sending(Accept_Language="en").get(LOGIN)).text
    assert language_of(page) == "de"
    assert "mu-languages" not in page
    with pytest.raises(ConfigurationError, match="there is no 'xx'"):
        await boxes.open(languages=("xx",))


class LocaleHandler(RequestHandler):
    """A page of the host's own that uses its own translations."""

    def get(self) -> None:
        """Answer with one."""
        self.finish(self.locale.translate("Log in"))


async def test_the_hosts_translations_stay(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tornado's table of languages, which is the whole process's, is the host's before and after."""
    monkeypatch.setattr(tornado.locale, "_translations", {"de": {"unknown": {"Log in": "Rein hier"}}})
    monkeypatch.setattr(tornado.locale, "_supported_locales", frozenset(("de", "en_US")))
    monkeypatch.setattr(tornado.locale, "_use_gettext", False)
    monkeypatch.setattr(tornado.locale.Locale, "_cache", {})
    await box.add(BOSS, (ADMIN,))
    box.app.add_handlers(".*", [("/own", LocaleHandler)])
    client = reader(box).sending(Accept_Language=GERMAN)
    assert (await client.get("/own")).text == "Rein hier"
    assert "Anmelden" in (await client.get(LOGIN)).text
    assert (await client.get("/own")).text == "Rein hier"
    assert tornado.locale.get_supported_locales() == {"de", "en_US"}


async def test_a_hosts_base_template(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a host's base template ``handler.locale`` is the host's own, in the reader's language."""
    monkeypatch.setattr(tornado.locale, "_translations", {"de_DE": {"unknown": {"Sites": "Seiten"}}})
    monkeypatch.setattr(tornado.locale, "_supported_locales", frozenset(("de_DE", "en_US")))
    monkeypatch.setattr(tornado.locale, "_use_gettext", False)
    monkeypatch.setattr(tornado.locale.Locale, "_cache", {})
    base = '<nav>{{ handler.locale.translate("Sites") }}</nav>{% block content %}{% endblock %}'
    loader = jinja2.DictLoader({"panel.html": base})
    box = await boxes.open(base_template="panel.html", template_loader=loader)
    await box.add(BOSS, (ADMIN,))
    page = (await reader(box).sending(Accept_Language="de").get(LOGIN)).text
    assert page.startswith("<nav>Seiten</nav>")
    assert "Anmelden" in page

"""What an API token without the scope ``admin``, and staff without that permission, cannot come to in any way."""

from __future__ import annotations

import re

from tornado.web import RequestHandler

from mailusers_plugin import Identity
from mailusers_plugin.models import ADMIN
from mailusers_plugin.permissions import ADMINISTER, PURGE, QUOTA, READ, SCOPES, WRITE
from mailusers_plugin.service_guard import CHANGING, GIVING, RESTORING
from tests.handlers.callers import bearer, make_token
from tests.handlers.test_every_route import snapshot
from tests.support import BOSS, CONSOLE, PASSWORD, USER, XSRF, Box, Boxes, Client

OTHER = "other@example.com"
WAS = "was@example.com"
NEW = "new@example.com"
API = "/admin/mail/users"
PAGES = "/admin/users"
WEAKER = [scope for scope in SCOPES if scope != ADMINISTER]


async def prepare(box: Box) -> None:
    """Add another administrator, and one who is archived."""
    await box.add(OTHER, (ADMIN,))
    await box.add(WAS, (ADMIN,))
    await box.service.archive(CONSOLE, WAS)


async def with_token(box: Box, *scopes: str) -> Client:
    """Return a client with an API token of the administrator."""
    return box.nobody.sending(**bearer(await make_token(box, *scopes)))


def attempts() -> list[tuple[str, dict[str, str], str]]:
    """Return what would make somebody an administrator, or a token an administrator's: path, form and reason."""
    return [
        (f"{API}/add", {"email": NEW, "password": PASSWORD, "privileges": ADMIN}, GIVING),
        (f"{API}/add", {"email": NEW, "password": PASSWORD, "privilege": ADMIN}, GIVING),
        (f"{API}/add", {"email": NEW, "password": PASSWORD, "privileges": f"\n {ADMIN} \n"}, GIVING),
        (f"{API}/add", {"email": WAS, "password": PASSWORD}, RESTORING),
        (f"{API}/privileges/add", {"email": USER, "privilege": ADMIN}, "needs admin"),
        (f"{API}/privileges/remove", {"email": OTHER}, "needs admin"),
        (f"{API}/privileges/remove", {"email": OTHER, "privilege": ADMIN}, "needs admin"),
        (f"{API}/password", {"email": BOSS, "password": "a new password"}, CHANGING),
        (f"{API}/password", {"email": OTHER, "password": "a new password"}, CHANGING),
        (f"{API}/remove", {"email": OTHER}, CHANGING),
        (f"{API}/remove", {"email": BOSS}, "You cannot archive your own account."),
        (f"{API}/purge", {"email": WAS, "confirm": WAS}, "needs users:purge"),
        (f"{PAGES}/add", {"email": NEW, "password": PASSWORD, "privilege": ADMIN}, GIVING),
        (f"{PAGES}/add", {"email": WAS, "password": PASSWORD, "restore": "yes"}, RESTORING),
        (f"{PAGES}/restore", {"email": WAS, "password": PASSWORD}, RESTORING),
        (f"{PAGES}/restore", {"email": WAS, "password": PASSWORD, "privilege": ADMIN}, GIVING),
        (f"{PAGES}/undo", {"email": WAS}, RESTORING),
        (f"{PAGES}/password", {"email": OTHER, "password": "a new password"}, CHANGING),
        (f"{PAGES}/make-admin", {"email": USER}, "needs admin"),
        (f"{PAGES}/remove-admin", {"email": OTHER}, "needs admin"),
        (f"{PAGES}/archive", {"email": OTHER}, CHANGING),
        (f"{PAGES}/bulk/archive", {"email": OTHER, "do": "yes"}, CHANGING),
        (f"{PAGES}/purge", {"email": WAS, "confirm": WAS}, "needs users:purge"),
        ("/admin/mailusers/tokens", {"name": "mine", "scope": ADMINISTER}, "needs tokens"),
        ("/admin/mailusers/tokens", {"name": "mine", "scope": READ}, "needs tokens"),
        ("/admin/mailusers/tokens/revoke", {"id": "0" * 16}, "needs tokens"),
    ]


async def test_tokens(box: Box, admin: Client, user: str) -> None:
    """A token with all scopes but admin is refused with a clear text, and nothing has changed."""
    await prepare(box)
    client = await with_token(box, *WEAKER)
    before = snapshot(box)
    for path, form, reason in attempts():
        answer = await client.post(path, **form)
        # Several users at once are answered one by one; the rules about oneself come first.
        status = 200 if "bulk" in path else 400 if form.get("email") == BOSS and "remove" in path else 403
        assert (answer.status, reason in answer.text) == (status, True), (path, form, answer.text)
        assert "WWW-Authenticate" not in answer.headers
        assert snapshot(box) == before, (path, form)


async def test_a_token_with_admin(box: Box, admin: Client, user: str) -> None:
    """The scope admin allows all of it, but nothing that concerns tokens."""
    await prepare(box)
    client = await with_token(box, ADMINISTER)
    assert (await client.post(f"{API}/add", email=NEW, password=PASSWORD, privileges=ADMIN)).status == 200
    assert (await client.post(f"{API}/privileges/add", email=USER, privilege=ADMIN)).status == 200
    assert (await client.post(f"{API}/password", email=OTHER, password="a new password")).status == 200
    assert (await client.post(f"{API}/remove", email=OTHER)).status == 200
    assert (await client.post(f"{API}/add", email=WAS, password=PASSWORD)).status == 200
    assert (await client.post(f"{API}/purge", email=OTHER, confirm=OTHER)).status in (200, 400)
    for verb, path in (("GET", "tokens"), ("HEAD", "tokens"), ("POST", "tokens"), ("GET", "tokens/revoke")):
        assert (await client.fetch(verb, f"/admin/mailusers/{path}")).status == 403
    assert len(await box.runtime.tokens().everything()) == 1


async def test_a_token_has_the_rules_of_its_owner(box: Box, admin: Client, user: str) -> None:
    """A token cannot archive or demote its owner, nor the last administrator."""
    client = await with_token(box, ADMINISTER)
    assert (await client.post(f"{API}/remove", email=BOSS)).text == "You cannot archive your own account."
    answer = await client.post(f"{API}/privileges/remove", email=BOSS)
    assert answer.text == "You cannot remove the admin privilege from yourself."


async def test_what_a_weaker_token_may(box: Box, admin: Client, user: str) -> None:
    """Plain users may be changed with users:write: the refusals are about privileges and not about everything."""
    await prepare(box)
    client = await with_token(box, WRITE)
    assert (await client.post(f"{API}/add", email=NEW, password=PASSWORD)).status == 200
    assert (await client.post(f"{API}/password", email=USER, password="a new password")).status == 200
    assert (await client.post(f"{API}/remove", email=NEW)).status == 200
    assert (await client.post(f"{API}/add", email=NEW, password=PASSWORD)).status == 200
    # A quota opens no door.
    assert (await client.post(f"{API}/quota", email=OTHER, quota="1G")).status == 200
    assert (await client.get(API)).status == 403


async def test_no_session_for_a_token(box: Box, admin: Client) -> None:
    """A token cannot be exchanged for a session, by the API's log-in or the page's."""
    key = await make_token(box, *SCOPES)
    answer = await box.basic(BOSS, key).post("/admin/login")
    assert answer.json()["status"] == "invalid"
    browser = box.nobody.sending(Cookie=f"_xsrf={XSRF}", X_XSRFToken=XSRF)
    answer = await browser.post("/admin/mailusers/login", email=BOSS, password=key)
    assert answer.status == 400
    assert box.state_sql("SELECT * FROM mailusers_session") == []
    assert (await box.nobody.sending(**bearer(key)).post("/admin/logout")).status == 200
    assert (await box.nobody.sending(**bearer(key)).get(API)).status == 200


async def test_a_token_is_not_taken_from_an_address(box: Box, admin: Client) -> None:
    """A token in a query, a form or a cookie is nothing: addresses are logged, and cookies are sent by others."""
    key = await make_token(box, ADMINISTER)
    for name in ("token", "access_token", "api_key", "key"):
        assert (await box.nobody.get(API, **{name: key})).status == 401
        assert (await box.nobody.post(f"{API}/remove", email=BOSS, **{name: key})).status == 401
        assert (await box.nobody.sending(Cookie=f"{name}={key}").get(API)).status == 401
    assert (await box.cookie(key).get(API)).status == 401


async def test_a_token_needs_no_form_token_but_another_site_cannot_use_it(
    box: Box, admin: Client, user: str
) -> None:
    """A script sends no XSRF token; a form of another site is refused whatever the browser adds to it."""
    client = await with_token(box, WRITE)
    forged = client.sending(Sec_Fetch_Site="cross-site")
    assert (await forged.post(f"{API}/remove", email=USER)).status == 403
    # A cookie beside the token changes neither who it is nor what is asked for.
    both = client.sending(Cookie=f"mailusers_session={await box.session_key(BOSS, 'cookie')}")
    assert (await both.post(f"{API}/privileges/add", email=USER, privilege=ADMIN)).status == 403
    assert (await both.post(f"{API}/remove", email=USER)).status == 200


IMPORTED = f"{NEW},{PASSWORD},1G,{{privilege}}\r\nplain@example.com,{PASSWORD},1G,\r\n"


async def import_job(client: Client, text: str) -> str:
    """Upload lines; return the path of the import."""
    answer = await client.post(f"{PAGES}/import", text=text)
    assert answer.status == 303, answer.text
    return answer.headers["Location"]


async def test_import_with_privileges(box: Box, admin: Client) -> None:
    """A file that gives privileges says at which line that is not allowed, and only the others can be imported."""
    await prepare(box)
    client = await with_token(box, WRITE)
    path = await import_job(client, IMPORTED.format(privilege=ADMIN) + f"{WAS},{PASSWORD},,\r\n")
    shown = (await client.sending(Accept="text/html").get(path)).text
    assert GIVING in shown
    assert RESTORING in shown
    assert (await client.post(path, action="import", restore="yes")).status == 400
    assert NEW not in await box.emails()
    await client.post(path, action="leave-out", restore="yes")
    await finish(box, path)
    assert await box.emails() == [BOSS, OTHER, "plain@example.com"]


async def finish(box: Box, path: str) -> None:
    """Wait until an import has ended."""
    held = box.runtime.imports._memory.peek(path.rpartition("/")[2])
    assert held is not None
    assert held.task is not None
    await held.task


async def test_import_that_somebody_else_checked(box: Box, admin: Client) -> None:
    """An administrator's file cannot be begun by a weaker token, and what a token may not is asked when it adds."""
    strong, weak = await with_token(box, ADMINISTER), await with_token(box, WRITE)
    path = await import_job(weak, f"{NEW},{PASSWORD},,\r\n")
    # It became one between the preview and the import.
    await box.add(NEW, (ADMIN,))
    await box.service.archive(CONSOLE, NEW)
    # The same person, by a stronger token: the file stays the weaker one's.
    assert (await strong.post(path, action="import", restore="yes")).status == 303
    await finish(box, path)
    assert NEW not in await box.emails()


class Roles:
    """A host with people of several kinds, known by a header."""

    login_url = "/sign-in"

    def __init__(self) -> None:
        """Employ some."""
        self.roles = {
            "reader": {READ},
            "helper": {READ, QUOTA},
            "clerk": {READ, WRITE},
            "cleaner": {READ, PURGE},
            "chief": {READ, WRITE, PURGE, ADMINISTER},
        }

    def identify(self, handler: RequestHandler) -> Identity | None:
        """Believe the header."""
        name = handler.request.headers.get("Who")
        return Identity(name, "token") if name else None

    def may(self, identity: Identity, permission: str) -> bool:
        """Look it up."""
        return permission in self.roles.get(identity.name or "", ())


async def test_staff(boxes: Boxes) -> None:
    """Staff of a host who may change users, but not administrate, cannot come to more by what they may."""
    box = await boxes.open(host=Roles())
    for email, privileges in ((BOSS, (ADMIN,)), (USER, ())):
        await box.add(email, privileges)
    await prepare(box)
    before = snapshot(box)
    for path, form, _ in attempts():
        for who in ("reader", "helper", "clerk", "nobody"):
            answer = await box.nobody.sending(Who=who).post(path, **form)
            is_refused = answer.status in (401, 403) or (answer.status == 200 and "bulk" in path)
            assert is_refused, (who, path, form, answer.status)
            assert snapshot(box) == before, (who, path, form)


async def test_roles(boxes: Boxes) -> None:
    """Each role does just what it may: a helper sets quotas, a clerk changes users, a cleaner purges, a chief all."""
    box = await boxes.open(host=Roles())
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    await box.add("gone@example.com")
    await box.service.archive(CONSOLE, "gone@example.com")
    wanted = {
        ("GET", API): {"reader", "helper", "clerk", "cleaner", "chief"},
        ("POST", f"{API}/quota?email={USER}&quota=1G"): {"helper", "clerk", "chief"},
        ("POST", f"{API}/password?email={USER}"): {"clerk", "chief"},
        ("POST", f"{API}/purge?email=none@example.com&confirm=none@example.com"): {"cleaner", "chief"},
        ("POST", f"{API}/privileges/add?email=none@example.com&privilege=admin"): {"chief"},
        ("GET", "/admin/mailusers/tokens"): set(),
    }
    for (verb, target), allowed in wanted.items():
        path, _, query = target.partition("?")
        for who in Roles().roles:
            client = box.nobody.sending(Who=who)
            form = dict(pair.split("=") for pair in query.split("&")) if query else {}
            answer = await (client.post(path, **form) if verb == "POST" else client.get(path))
            assert (answer.status in (200, 400)) == (who in allowed), (verb, target, who, answer.status)


async def test_tokens_of_a_host(boxes: Boxes) -> None:
    """In a panel with a log-in of its own a token does what its owner may there, as the host says at that moment."""
    host = Roles()
    host.roles = {"ada": {READ, WRITE, "tokens"}, "bob": {READ}}
    box = await boxes.open(host=host)
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    ada = box.nobody.sending(Who="ada")
    made = await ada.post("/admin/mailusers/tokens", name="a script", scope=WRITE)
    assert made.status == 200
    found = re.search(r"mu_[0-9A-Za-z]{49}", made.text)
    assert found is not None
    client = box.nobody.sending(**bearer(found[0]))
    assert (await client.post(f"{API}/quota", email=USER, quota="2G")).status == 200
    assert (await client.get(API)).status == 403
    refused = await ada.post("/admin/mailusers/tokens", name="more", scope=ADMINISTER)
    assert (refused.status, "You may not give the scope admin" in refused.text) == (400, True)
    assert (await box.nobody.sending(Who="bob").get("/admin/mailusers/tokens")).status == 401
    host.roles = {"ada": {READ}}
    assert (await client.post(f"{API}/quota", email=USER, quota="3G")).status == 401
    host.roles = {}
    assert (await client.get(API)).status == 403
    account = await box.find(USER)
    assert account is not None
    assert account.quota == "2G"

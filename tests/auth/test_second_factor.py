"""The second factor over each database: codes that are used once, recovery codes, what ends with it."""

from __future__ import annotations

import asyncio

import pytest
from passlib.hash import sha512_crypt

from mailusers_plugin.auth.authenticator import API, COOKIE
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError, UnknownUserError
from mailusers_plugin.models import ADMIN, Account
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import second_factors
from mailusers_plugin.store.database import Database
from tests.factor_support import OTHER_SECRET, SECRET, WRONG, code, rows, set_up
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes, Client, basic

MISSING = "^missing-totp-token$"
INVALID = "^invalid-totp-token$"


async def log_in(box: Box, given: str = "", email: str = BOSS, password: str = PASSWORD) -> Account:
    """Log in with a password and a code."""
    return await box.runtime.authenticator().by_password(email, password, given)


async def test_set_up_in_mail_in_a_box(box: Box, admin: Client) -> None:
    """What Mail-in-a-Box stored is asked for, and its column tells Mail-in-a-Box which code was used last."""
    set_up(box)
    with pytest.raises(LoginRefusedError, match=MISSING):
        await log_in(box)
    with pytest.raises(LoginRefusedError, match=MISSING):
        await log_in(box, "  ")
    for wrong in (WRONG, "0", code(secret=OTHER_SECRET), code(-20)):
        with pytest.raises(LoginRefusedError, match=INVALID):
            await log_in(box, wrong)
    assert rows(box) == [("totp", SECRET, None, "phone")]
    given = code()
    assert (await log_in(box, f" {given[:3]} {given[3:]}")).email == BOSS
    assert rows(box) == [("totp", SECRET, given, "phone")]


async def test_the_password_comes_first(box: Box, admin: Client) -> None:
    """Without the password nobody hears of a second factor, and no code is used up."""
    set_up(box)
    for given in ("", code(), WRONG):
        with pytest.raises(LoginRefusedError, match=r"^Incorrect email address or password"):
            await log_in(box, given, password="wrong password")
    assert (await log_in(box, code())).email == BOSS


async def test_a_code_is_good_once(box: Box, admin: Client) -> None:
    """Neither a code that was used nor one before it is taken again, whoever used it; a later one is."""
    set_up(box)
    earlier, now, later = code(-1), code(), code(1)
    await log_in(box, now)
    for given in (now, earlier):
        with pytest.raises(LoginRefusedError, match=INVALID):
            await log_in(box, given)
    await log_in(box, later)
    box.sql("UPDATE mfa SET mru_token = NULL")
    last = code(1)
    box.sql("UPDATE mfa SET mru_token = ?", last)
    with pytest.raises(LoginRefusedError, match=INVALID):
        await log_in(box, last)


async def test_a_remembered_password_needs_a_code_all_the_same(boxes: Boxes) -> None:
    """That the password was right a moment ago skips no code."""
    box = await boxes.open(login_cache_seconds=300)
    await box.add(BOSS, (ADMIN,))
    authenticator = box.runtime.authenticator()
    await authenticator.by_password(BOSS, PASSWORD)
    set_up(box)
    for _ in range(2):
        with pytest.raises(LoginRefusedError, match=MISSING):
            await authenticator.by_password(BOSS, PASSWORD)
    now = code()
    await authenticator.by_password(BOSS, PASSWORD, now)
    with pytest.raises(LoginRefusedError, match=INVALID):
        await authenticator.by_password(BOSS, PASSWORD, now)


async def test_two_processes_and_one_code(box: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests with the same code, all of which have found it unused, one gets in; also in several processes."""
    set_up(box)
    account = await box.service.account(BOSS)
    others = [Runtime(box.runtime.settings) for _ in range(2)]
    all_read = asyncio.Barrier(6)
    write = Database.write

    async def write_together(self: Database, function: object, *args: object) -> object:
        if function is second_factors.use:
            # None of them looks again from here on.
            await all_read.wait()
        return await write(self, function, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "write", write_together)
    given = code()
    checks = [
        runtime.second_factors.check(account, given) for runtime in (box.runtime, *others) for _ in range(2)
    ]
    try:
        found = await asyncio.gather(*checks, return_exceptions=True)
    finally:
        monkeypatch.undo()
        for other in others:
            other.close()
    assert sorted(str(result) for result in found) == ["None", *["invalid-totp-token"] * 5]


async def test_a_secret_that_is_stored_twice(box: Box, admin: Client) -> None:
    """Where Mail-in-a-Box has stored a secret twice, a code of it is good once all the same."""
    set_up(box)
    set_up(box, label="again")
    given = code()
    await log_in(box, given)
    with pytest.raises(LoginRefusedError, match=INVALID):
        await log_in(box, given)
    with pytest.raises(InvalidInputError, match="in use already"):
        await box.runtime.second_factors.enrol(BOSS, SECRET, code(1), "")


@pytest.mark.sqlite_only(reason="about the file that Postfix reads")
async def test_wrong_codes_lock_nothing(box: Box, admin: Client) -> None:
    """Guessing writes nothing into the file that Postfix reads; a log-in with a code writes once."""
    await box.runtime.second_factors.enrol(BOSS, SECRET, code(-1), "")

    def commits() -> int:
        # The file change counter: https://www.sqlite.org/fileformat2.html, section 1.3.7.
        return int.from_bytes(box.database.read_bytes()[24:28])

    await log_in(box, code())
    before = commits()
    for wrong in ("", WRONG, "000000", code(), "abcd-efgh-jkmn-pqrs"):
        with pytest.raises(LoginRefusedError):
            await log_in(box, wrong)
    assert commits() == before
    await log_in(box, code(1))
    assert commits() == before + 1


async def test_damaged_rows(box: Box, admin: Client) -> None:
    """A secret that is damaged, and a type that we do not know, let nobody in and break nothing."""
    set_up(box, secret="not base32 at all")
    box.sql("INSERT INTO mfa (user_id, type, secret) SELECT id, 'webauthn', ? FROM users", SECRET)
    for given in ("000000", code()):
        with pytest.raises(LoginRefusedError, match=INVALID):
            await log_in(box, given)
    set_up(box, secret=OTHER_SECRET)
    await log_in(box, code(secret=OTHER_SECRET))


@pytest.mark.parametrize(("drift", "good"), [(0, False), (3, True)])
async def test_allowed_drift_is_a_setting(boxes: Boxes, drift: int, good: bool) -> None:
    """How far clocks may differ is the host's to say."""
    box = await boxes.open(totp_drift_steps=drift)
    await box.add(BOSS, (ADMIN,))
    set_up(box)
    if good:
        await log_in(box, code(-2))
    else:
        with pytest.raises(LoginRefusedError, match=INVALID):
            await log_in(box, code(-2))


async def test_enrolment(box: Box, admin: Client) -> None:
    """What is set up here is stored as Mail-in-a-Box stores it; the first code is used up by that."""
    use = box.runtime.second_factors
    first = code(-1)
    codes = await use.enrol(BOSS, SECRET, first, "phone")
    assert rows(box) == [("totp", SECRET, first, "phone")]
    assert len(codes) == 10
    status = await use.status(BOSS)
    assert (status.codes, [factor.label for factor in status.factors]) == (10, ["phone"])
    with pytest.raises(LoginRefusedError, match=INVALID):
        await log_in(box, first)
    await log_in(box, code(1))
    assert await use.enrol(BOSS, OTHER_SECRET, code(secret=OTHER_SECRET), "") == []
    assert [row[3] for row in rows(box)] == ["phone", None]
    assert (await use.status(BOSS)).codes == 10


@pytest.mark.parametrize(
    ("secret", "given", "label", "message"),
    [
        ("", "now", "", "No secret provided"),
        ("short", "now", "", "32 characters base32"),
        (SECRET, WRONG, "", "Invalid token"),
        (SECRET, "", "", "Invalid token"),
        (SECRET, "now", "x" * 101, "at most 100 characters"),
        (SECRET, "now", "two\nlines", "no line breaks"),
        (SECRET, "now", "a\0b", "no line breaks"),
    ],
)
async def test_enrolment_that_is_refused(
    box: Box, admin: Client, secret: str, given: str, label: str, message: str
) -> None:
    """Whatever is wrong, nothing is stored and no recovery code made."""
    use = box.runtime.second_factors
    with pytest.raises(InvalidInputError, match=message):
        await use.enrol(BOSS, secret, code() if given == "now" else given, label)
    assert rows(box) == []
    assert box.state_sql("SELECT * FROM mailusers_recovery_code") == []
    with pytest.raises(UnknownUserError):
        await use.enrol("nobody@example.com", SECRET, code(), "")


async def test_recovery_codes(box: Box, admin: Client) -> None:
    """Each works once, as it was written down; what is stored does not tell them."""
    use = box.runtime.second_factors
    codes = await use.enrol(BOSS, SECRET, code(), "")
    stored = str(box.state_sql("SELECT * FROM mailusers_recovery_code"))
    assert not any(kept in stored or kept.replace("-", "") in stored for kept in codes)
    await log_in(box, codes[0])
    await log_in(box, codes[1].upper().replace("-", " "))
    for used in codes[:2]:
        with pytest.raises(LoginRefusedError, match=INVALID):
            await log_in(box, used)
    assert (await use.status(BOSS)).codes == 8
    anew = await use.new_codes(BOSS)
    with pytest.raises(LoginRefusedError, match=INVALID):
        await log_in(box, codes[2])
    await log_in(box, anew[0])
    noted = [kept for kept in await box.trail() if kept.type == "RecoveryCodeUsed"]
    assert [(kept.email, kept.actor) for kept in noted] == [(BOSS, BOSS)] * 3
    assert not any(kept in str(noted) for kept in (*codes, *anew))


async def test_one_recovery_code_in_two_processes(box: Box, admin: Client) -> None:
    """Of requests with the same recovery code one gets in."""
    (kept, *_) = await box.runtime.second_factors.enrol(BOSS, SECRET, code(), "")
    account = await box.service.account(BOSS)
    other = Runtime(box.runtime.settings)
    checks = [r.second_factors.check(account, kept) for r in (box.runtime, other) for _ in range(4)]
    found = await asyncio.gather(*checks, return_exceptions=True)
    other.close()
    assert [str(result) for result in found].count("None") == 1
    assert (await box.runtime.second_factors.status(BOSS)).codes == 9


async def test_recovery_codes_end_with_the_second_factor(box: Box, admin: Client, user: str) -> None:
    """They are of no use once it is gone, even if another program took it away and one is set up again."""
    use = box.runtime.second_factors
    codes = await use.enrol(BOSS, SECRET, code(), "")
    box.sql("DELETE FROM mfa")
    await log_in(box)
    set_up(box, secret=OTHER_SECRET)
    with pytest.raises(LoginRefusedError, match=INVALID):
        await log_in(box, codes[0])
    assert (await use.status(BOSS)).codes == 0
    assert len(await use.enrol(BOSS, SECRET, code(), "")) == 10
    assert await use.disable(BOSS) == 2
    assert box.state_sql("SELECT * FROM mailusers_recovery_code") == []
    with pytest.raises(InvalidInputError, match="without a second factor"):
        await use.new_codes(BOSS)


async def test_recovery_codes_go_on_with_another_second_factor(box: Box, admin: Client) -> None:
    """Taking the old phone away leaves the codes that were made with it good for the new one."""
    use = box.runtime.second_factors
    codes = await use.enrol(BOSS, SECRET, code(), "old")
    await use.enrol(BOSS, OTHER_SECRET, code(secret=OTHER_SECRET), "new")
    (old, _) = (await use.status(BOSS)).factors
    assert await use.disable(BOSS, old.id) == 1
    await log_in(box, codes[0])
    assert (await use.status(BOSS)).codes == 9


async def test_whom_an_address_is_given_next(box: Box, admin: Client, user: str) -> None:
    """An archived user's second factor and codes are nobody else's; undoing the archive brings both back."""
    use = box.runtime.second_factors
    codes = await use.enrol(USER, SECRET, code(), "")
    await box.service.archive(CONSOLE, USER)
    await box.service.undo_archive(CONSOLE, USER)
    await log_in(box, codes[0], USER)
    await box.service.archive(CONSOLE, USER)
    await box.add(USER)
    await log_in(box, "", USER)
    assert (await use.status(USER)).codes == 0


async def test_disable(box: Box, admin: Client, user: str) -> None:
    """One is removed by its id, only if it is the user's; without an id all are."""
    use = box.runtime.second_factors
    first, second, foreign = set_up(box), set_up(box, secret=OTHER_SECRET), set_up(box, USER)
    assert await use.disable(BOSS, foreign) == 0
    assert await use.disable(BOSS, first) == 1
    assert [row[1] for row in rows(box)] == [OTHER_SECRET]
    assert (second, await use.disable(BOSS), await use.disable(BOSS)) == (second, 1, 0)
    assert len(rows(box, USER)) == 1
    with pytest.raises(UnknownUserError):
        await use.disable("nobody@example.com")


@pytest.mark.parametrize("kind", [API, COOKIE])
async def test_sessions_end_with_a_change(box: Box, admin: Client, user: str, kind: str) -> None:
    """A second factor that comes or goes, whoever brings or takes it, ends the sessions of its user alone."""
    authenticator = box.runtime.authenticator()

    async def alive(key: str, email: str) -> bool:
        if kind == COOKIE:
            return await authenticator.by_cookie(key) is not None
        try:
            return (await authenticator.by_header(basic(email, key))).name == email
        except LoginRefusedError:
            return False

    other = await box.session_key(USER, kind)
    for statement in ("INSERT", "UPDATE mfa SET secret = 'x'", "DELETE FROM mfa"):
        key = await box.session_key(BOSS, kind)
        assert await alive(key, BOSS)
        if statement == "INSERT":
            set_up(box)
        else:
            box.sql(statement)
        assert not await alive(key, BOSS)
    key = await box.session_key(BOSS, kind)
    set_up(box, USER)
    assert await alive(key, BOSS)
    assert not await alive(other, USER)


async def test_using_a_code_ends_no_session(box: Box, admin: Client) -> None:
    """A session goes on when its user logs in elsewhere."""
    set_up(box)
    authenticator = box.runtime.authenticator()
    key = await authenticator.open_session(await log_in(box, code()), COOKIE)
    await log_in(box, code(1))
    assert await authenticator.by_cookie(key) is not None


async def test_the_session_in_which_it_was_changed(box: Box, admin: Client) -> None:
    """It goes on alone; and not if it had ended meanwhile because of a new password."""
    authenticator = box.runtime.authenticator()
    own, other = await box.session_key(BOSS, COOKIE), await box.session_key(BOSS, COOKIE)
    before = await box.service.account(BOSS)
    await box.runtime.second_factors.enrol(BOSS, SECRET, code(), "")
    await authenticator.keep_session(before, own)
    assert await authenticator.by_cookie(own) is not None
    assert await authenticator.by_cookie(other) is None
    before = await box.service.account(BOSS)
    await box.service.set_password(CONSOLE, BOSS, "another password")
    await box.runtime.second_factors.disable(BOSS)
    await authenticator.keep_session(before, own)
    assert await authenticator.by_cookie(own) is None


async def test_a_stronger_hash_keeps_the_sessions(box: Box, admin: Client) -> None:
    """A log-in that replaces a weak hash ends no session, with a second factor as without."""
    set_up(box)
    weak = "{SHA512-CRYPT}" + sha512_crypt.using(rounds=1000).hash(PASSWORD)
    box.sql("UPDATE users SET password = ? WHERE email = ?", weak, BOSS)
    key = await box.session_key(BOSS, COOKIE)
    await log_in(box, code())
    assert (await box.service.account(BOSS)).password_hash != weak
    assert await box.runtime.authenticator().by_cookie(key) is not None

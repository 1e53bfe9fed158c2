"""Hashing and verifying passwords, beside Dovecot's own tool."""

from __future__ import annotations

import asyncio
import subprocess
import threading

import pytest

from mailusers_plugin.errors import ConfigurationError, InvalidInputError, UnavailableError
from mailusers_plugin.password_schemes import HANDLERS, NEW_SCHEMES
from mailusers_plugin.passwords import Passwords, scheme_of

PASSWORD = "correct horse battery"
VERIFIED = [scheme for scheme in HANDLERS if scheme]
DIFFICULT = [
    "pässwörd mit ümläuten",
    "пароль пароль",
    "🐎🔋📎🐎🔋📎🐎🔋📎",
    " spaces around ",
    "colon:dollar$brace{SHA}",
    "quote'\"back\\slash`tick",
    "x" * 72,
    "e\u0301 and \u00e9 are two",
]


def doveadm_hash(scheme: str, password: str, *options: str) -> str:
    """Let Dovecot hash a password."""
    command = ["doveadm", "pw", "-s", scheme, *options, "-p", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def doveadm_verifies(stored: str, password: str) -> bool:
    """Let Dovecot verify a password."""
    command = ["doveadm", "pw", "-t", stored, "-p", password]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and "(verified)" in done.stdout


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    """For verifying; new hashes would be SHA512-CRYPT."""
    return Passwords("SHA512-CRYPT", threads=1)


@pytest.mark.parametrize("scheme", VERIFIED)
def test_hash_of_dovecot(passwords: Passwords, scheme: str) -> None:
    """Whatever Dovecot stored in a scheme is verified here, and a wrong password is not."""
    for password in (PASSWORD, DIFFICULT[0]):
        stored = doveadm_hash(scheme, password)
        assert stored.startswith(f"{{{scheme}}}")
        assert passwords.verify_now(password, stored).matches
        assert not passwords.verify_now(password + "!", stored).matches
        assert not passwords.verify_now("", stored).matches


@pytest.mark.parametrize("scheme", NEW_SCHEMES)
@pytest.mark.parametrize("password", [PASSWORD, *DIFFICULT])
def test_our_hash(scheme: str, password: str) -> None:
    """What is stored here is verified by Dovecot, in the scheme's own notation, and differs each time."""
    made = Passwords(scheme, threads=1)
    stored = made.hash_now(password)
    assert stored.startswith(f"{{{scheme}}}$")
    assert stored != made.hash_now(password)
    assert doveadm_verifies(stored, password)
    assert made.verify_now(password, stored).matches
    assert not doveadm_verifies(stored, password[:-1])
    assert not made.verify_now(password[:-1], stored).matches


@pytest.mark.parametrize("prefix", ["", "{CRYPT}", "{crypt}", "{sha512-crypt}"])
def test_other_prefixes(passwords: Passwords, prefix: str) -> None:
    """A SHA512 hash without a prefix or with that of crypt(3) is verified; prefixes ignore case."""
    bare = doveadm_hash("SHA512-CRYPT", PASSWORD).removeprefix("{SHA512-CRYPT}")
    assert bare.startswith("$6$")
    assert passwords.verify_now(PASSWORD, prefix + bare).matches
    assert not passwords.verify_now(PASSWORD + "!", prefix + bare).matches


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
@pytest.mark.parametrize("prefix", ["{BLF-CRYPT}", "{CRYPT}", "{blf-crypt}"])
def test_variants_of_bcrypt(passwords: Passwords, prefix: str, variant: str) -> None:
    """All letters of bcrypt are verified, with both prefixes that Dovecot takes."""
    stored = doveadm_hash("BLF-CRYPT", PASSWORD, "-r", "5").removeprefix("{BLF-CRYPT}")
    stored = f"{prefix}${variant}${stored.split('$', 2)[2]}"
    assert passwords.verify_now(PASSWORD, stored).matches
    assert not passwords.verify_now(PASSWORD + "!", stored).matches


def test_bcrypt_reads_72_bytes(passwords: Passwords) -> None:
    """A long password is verified as Dovecot does, by its first 72 bytes, and never accepted as a new one."""
    password = "ä" * 50
    stored = doveadm_hash("BLF-CRYPT", password, "-r", "5")
    assert passwords.verify_now(password, stored).matches
    assert doveadm_verifies(stored, password + "more")
    assert passwords.verify_now(password + "more", stored).matches
    bcrypt = Passwords("BLF-CRYPT", threads=1)
    bcrypt.check_new("ä" * 36)
    with pytest.raises(InvalidInputError, match=r"^Passwords must be at most 72 bytes on this server\.$"):
        bcrypt.check_new("ä" * 36 + "x")


def test_crypt_reads_511_bytes(passwords: Passwords) -> None:
    """A password that Dovecot's crypt(3) would not read is refused, rather than stored and never verified."""
    passwords.check_new("x" * 511)
    for password in ("x" * 512, "ä" * 256):
        with pytest.raises(InvalidInputError, match="at most 511 bytes"):
            passwords.check_new(password)
        assert doveadm_hash("SHA512-CRYPT", password) == "{SHA512-CRYPT}*0"


@pytest.mark.parametrize(("scheme", "size"), [("ARGON2ID", 1024), ("SHA512-CRYPT", 511)])
def test_long_password(scheme: str, size: int) -> None:
    """The longest password that a scheme takes is read to its end, here as in Dovecot."""
    made = Passwords(scheme, threads=1)
    password = "x" * size
    made.check_new(password)
    stored = made.hash_now(password)
    assert doveadm_verifies(stored, password)
    assert not made.verify_now(password[:-1], stored).matches


WHOLE = "{SHA512-CRYPT}$6$uzmAUfQmmYZ0Hu0X$" + "a" * 86
DAMAGED = [
    "",
    " ",
    "x",
    "*",
    "!",
    "{",
    "{}",
    "{}x",
    "{NO-SUCH}x",
    "{SHA512-CRYPT}",
    "{SHA512-CRYPT}$6$",
    "{SHA512-CRYPT}$6$salt",
    "{SHA512-CRYPT}$6$salt$",
    "{SHA512-CRYPT}$6$salt$short",
    "{SHA512-CRYPT}$5$salt$x",
    "{SHA512-CRYPT}*0",
    "{SHA512-CRYPT}*1",
    "{SHA512-CRYPT}$6$rounds=99999999999999999999$salt$x",
    WHOLE + "a",
    WHOLE.replace("a", "ä"),
    WHOLE + "\n",
    WHOLE + "\0",
    "{SHA512-CRYPT}{SHA512-CRYPT}" + WHOLE,
    "{CRYPT}",
    "{CRYPT}x",
    "{CRYPT}ab0123456789.",
    "{CRYPT}$2b$05$short",
    "{CRYPT}$y$j9T$x",
    "{BLF-CRYPT}",
    "{BLF-CRYPT}$2y$",
    "{BLF-CRYPT}$2y$99$" + "a" * 53,
    "{BLF-CRYPT}$2y$05$" + "!" * 53,
    "{BLF-CRYPT}$2y$05$ünicode",
    "{ARGON2ID}",
    "{ARGON2ID}$argon2id$",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$!!$!!",
    "{ARGON2ID}$argon2id$v=19$m=0,t=0,p=0$c2FsdHNhbHQ$aGFzaA",
    "{ARGON2ID}$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
    "{PBKDF2}",
    "{PBKDF2}$1$salt$0$" + "0" * 40,
    "{PBKDF2}$1$salt$999999999$" + "0" * 40,
    "{PBKDF2}$1$salt$10$xyz",
    "{SSHA}",
    "{SSHA}!!!!",
    "{SSHA}YQ==",
    "{SSHA512}ä",
    "{SHA}",
    "{SHA256}YQ==",
    "{MD5-CRYPT}$1$",
    "{SHA256-CRYPT}$5$",
]


@pytest.mark.parametrize("stored", DAMAGED)
def test_damaged_hash(passwords: Passwords, stored: str) -> None:
    """What is no hash never matches and never raises, not for the damage itself or for nothing either."""
    for password in (PASSWORD, "", stored, scheme_of(stored), "*0", "*1"):
        verdict = passwords.verify_now(password, stored)
        assert (verdict.matches, verdict.outdated) == (False, False)


def test_nought_never_matches(passwords: Passwords) -> None:
    """A password with a NUL does not match what a C program would read of it."""
    for stored in (doveadm_hash("SHA512-CRYPT", PASSWORD), "{PLAIN}" + PASSWORD):
        assert not passwords.verify_now(PASSWORD + "\0more", stored).matches


def test_surrogates_never_raise(passwords: Passwords) -> None:
    """A password that is no text does not match, and does not raise."""
    assert not passwords.verify_now("\udcff" * 8, doveadm_hash("SHA512-CRYPT", PASSWORD)).matches


def test_empty_plain_password(passwords: Passwords) -> None:
    """An empty stored password lets nobody in, though the empty password equals it."""
    assert not passwords.verify_now("x", "{PLAIN}").matches


OUTDATED = [
    ("SHA512-CRYPT", "{SHA512-CRYPT}$6$salt$x", False),
    ("SHA512-CRYPT", "$6$salt$x", False),
    ("SHA512-CRYPT", "{SHA512-CRYPT}$6$rounds=1000$salt$x", True),
    ("SHA512-CRYPT", "{SHA512-CRYPT}$6$rounds=656000$salt$x", False),
    ("SHA512-CRYPT", "{PLAIN}x", True),
    ("SHA512-CRYPT", "{SSHA512}x", True),
    ("SHA512-CRYPT", "{PBKDF2}x", True),
    ("SHA512-CRYPT", "{BLF-CRYPT}$2y$05$x", False),
    ("SHA512-CRYPT", "{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$x", False),
    ("ARGON2ID", "{SHA512-CRYPT}$6$salt$x", True),
    ("ARGON2ID", "$6$salt$x", True),
    ("ARGON2ID", "{BLF-CRYPT}$2y$12$x", True),
    ("ARGON2ID", "{ARGON2I}$argon2i$v=19$m=65536,t=3,p=1$x", True),
    ("ARGON2ID", "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$x", False),
    ("ARGON2ID", "{argon2id}$argon2id$v=19$m=19456,t=2,p=1$x", False),
    ("ARGON2ID", "{ARGON2ID}$argon2id$v=19$m=4096,t=3,p=1$x", True),
    ("ARGON2ID", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$x", False),
    ("BLF-CRYPT", "{BLF-CRYPT}$2y$05$x", True),
    ("BLF-CRYPT", "{BLF-CRYPT}$2y$14$x", False),
    ("BLF-CRYPT", "{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$x", False),
]


@pytest.mark.parametrize(("scheme", "stored", "outdated"), OUTDATED)
def test_outdated(scheme: str, stored: str, outdated: bool) -> None:
    """A weaker scheme or a lower cost is outdated; a stronger one is never replaced."""
    assert Passwords(scheme, threads=1).is_outdated(stored) is outdated


@pytest.mark.parametrize("scheme", NEW_SCHEMES)
def test_new_hash_is_not_outdated(scheme: str) -> None:
    """What was just made need not be made again."""
    made = Passwords(scheme, threads=1)
    verdict = made.verify_now(PASSWORD, made.hash_now(PASSWORD))
    assert (verdict.matches, verdict.outdated) == (True, False)


@pytest.mark.parametrize("scheme", ["", "auto", "PLAIN", "MD5-CRYPT", "sha512-crypt", "SSHA512"])
def test_impossible_scheme(scheme: str) -> None:
    """New passwords go into a strong scheme or nowhere; the error names those that there are."""
    with pytest.raises(ConfigurationError, match="use one of ARGON2ID, BLF-CRYPT, SHA512-CRYPT, or auto"):
        Passwords(scheme)


class Held(Passwords):
    """Whose hashes wait until they are let go."""

    def __init__(self, queue_limit: int, threads: int | None = 1) -> None:
        super().__init__("SHA512-CRYPT", threads=threads, queue_limit=queue_limit)
        self.let_go = threading.Event()
        self.begun: list[str] = []
        self.verified: list[str | None] = []

    def hash_now(self, password: str) -> str:
        """Wait, then hash."""
        self.begun.append("hash")
        self.let_go.wait()
        return super().hash_now(password)

    def verify_now(self, password: str, stored: str) -> object:  # type: ignore[override]
        """Remember what was verified."""
        self.verified.append(stored)
        return super().verify_now(password, stored)

    def _verify_decoy_now(self, password: str, stored: str | None) -> None:
        """Wait as well."""
        self.begun.append("verify")
        self.let_go.wait()
        super()._verify_decoy_now(password, stored)


async def test_queues_are_bounded() -> None:
    """When too many wait the next is told to come back at once, and afterwards there is room again."""
    held = Held(queue_limit=3)
    waiting = [asyncio.ensure_future(held.hash(PASSWORD)) for _ in range(3)]
    checks = [asyncio.ensure_future(held.verify_decoy(PASSWORD, "{PLAIN}x")) for _ in range(3)]
    await asyncio.sleep(0)
    for attempt in (
        held.hash(PASSWORD),
        held.verify(PASSWORD, "{PLAIN}x"),
        held.verify_decoy(PASSWORD, "{PLAIN}x"),
    ):
        with pytest.raises(UnavailableError, match="Too many passwords") as raised:
            await attempt
        assert raised.value.retry_after_seconds == 2
    held.let_go.set()
    assert len(set(await asyncio.gather(*waiting))) == 3
    await asyncio.gather(*checks)
    assert (await held.verify(PASSWORD, "{PLAIN}" + PASSWORD)).matches
    held.close()


async def test_a_flood_of_log_ins_leaves_room() -> None:
    """While as many log-ins wait as may, a new password waits for two of them at the most."""
    held = Held(queue_limit=50)
    checks = [asyncio.ensure_future(held.verify_decoy(PASSWORD, "{PLAIN}x")) for _ in range(50)]
    while not held.begun:
        await asyncio.sleep(0.001)
    made = asyncio.ensure_future(held.hash(PASSWORD))
    await asyncio.sleep(0)
    held.let_go.set()
    await asyncio.gather(made, *checks)
    assert held.begun.index("hash") <= 2
    assert len(held.begun) == 51
    held.close()


@pytest.mark.parametrize(("processors", "at_once"), [(1, 1), (2, 1), (4, 3)])
async def test_log_ins_leave_a_processor(
    monkeypatch: pytest.MonkeyPatch, processors: int, at_once: int
) -> None:
    """Log-ins are hashed on all processors but one, new passwords on all."""
    monkeypatch.setattr("mailusers_plugin.passwords.os.cpu_count", lambda: processors)
    held = Held(queue_limit=50, threads=None)
    checks = [asyncio.ensure_future(held.verify_decoy(PASSWORD, "{PLAIN}x")) for _ in range(10)]
    await asyncio.sleep(0.1)
    assert held.begun == ["verify"] * at_once
    made = [asyncio.ensure_future(held.hash(PASSWORD)) for _ in range(10)]
    await asyncio.sleep(0.1)
    assert held.begun[at_once:] == ["hash"] * (processors - at_once)
    held.let_go.set()
    await asyncio.gather(*checks, *made)
    assert len(held.begun) == 20
    held.close()


async def test_stopping_drops_what_waits() -> None:
    """Whoever waits for a hash when the server stops is let go; who comes later is told why not."""
    held = Held(queue_limit=3)
    first, second = (asyncio.ensure_future(held.hash(PASSWORD)) for _ in range(2))
    while not held.begun:
        await asyncio.sleep(0.001)
    held.close()
    with pytest.raises(asyncio.CancelledError):
        await second
    with pytest.raises(UnavailableError, match="stopping"):
        await held.hash(PASSWORD)
    held.let_go.set()
    assert (await first).startswith("{SHA512-CRYPT}")


async def test_decoy_does_the_work() -> None:
    """For an unknown address somebody's hash is verified, or one made for that where there is nobody."""
    held = Held(queue_limit=3)
    held.let_go.set()
    await held.verify_decoy(PASSWORD, "{PLAIN}somebody's")
    await held.verify_decoy(PASSWORD, None)
    await held.verify_decoy(PASSWORD, None)
    somebody, made, again = held.verified
    assert somebody == "{PLAIN}somebody's"
    assert made is not None and made.startswith("{SHA512-CRYPT}$6$")
    assert made == again
    held.close()

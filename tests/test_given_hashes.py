"""Which hashes of another system are taken over, and that whoever has one gets in with the old password."""

from __future__ import annotations

import base64
import hashlib
import subprocess

import bcrypt
import pytest
from passlib import hash as passlib_hash

from mailusers_plugin.errors import InvalidInputError
from mailusers_plugin.given_hashes import WEAK, check_hash
from mailusers_plugin.passwords import Passwords
from tests.support import PASSWORD

# With salts that are always the same, for the tests are named after what they are given.
ARGON2 = passlib_hash.argon2.using(type="ID", memory_cost=64, time_cost=2, salt=b"salt" * 4).hash(PASSWORD)
SHA512 = passlib_hash.sha512_crypt.using(rounds=5000, salt="salt").hash(PASSWORD)
BCRYPT = bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$abcdefghijklmnopqrstuu").decode()
SHA256 = passlib_hash.sha256_crypt.using(rounds=2000, salt="salt").hash(PASSWORD)
MD5 = passlib_hash.md5_crypt.using(salt="salt").hash(PASSWORD)
PBKDF2 = "$1$salt$1000$" + hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), b"salt", 1000).hex()


def digest(algorithm: str, salt: bytes = b"") -> str:
    """Return a hash of Dovecot's SHA and SSHA families."""
    raw = hashlib.new(algorithm, PASSWORD.encode() + salt, usedforsecurity=False).digest()
    return base64.b64encode(raw + salt).decode()


ARGON2I = passlib_hash.argon2.using(type="I", memory_cost=64, time_cost=3, salt=b"salt" * 4).hash(PASSWORD)

TAKEN = [
    (f"{{ARGON2ID}}{ARGON2}", f"{{ARGON2ID}}{ARGON2}"),
    (f"{{argon2id}}{ARGON2}", f"{{ARGON2ID}}{ARGON2}"),
    (ARGON2, f"{{ARGON2ID}}{ARGON2}"),
    (ARGON2I, f"{{ARGON2I}}{ARGON2I}"),
    (f"{{SHA512-CRYPT}}{SHA512}", f"{{SHA512-CRYPT}}{SHA512}"),
    (f"{{CRYPT}}{SHA512}", f"{{SHA512-CRYPT}}{SHA512}"),
    (SHA512, f"{{SHA512-CRYPT}}{SHA512}"),
    (SHA256, f"{{SHA256-CRYPT}}{SHA256}"),
    (f"{{BLF-CRYPT}}{BCRYPT}", f"{{BLF-CRYPT}}{BCRYPT}"),
    (BCRYPT.replace("$2b$", "$2y$"), "{BLF-CRYPT}" + BCRYPT.replace("$2b$", "$2y$")),
    (f"{{PBKDF2}}{PBKDF2}", f"{{PBKDF2}}{PBKDF2}"),
]
QUICK = [
    (MD5, f"{{MD5-CRYPT}}{MD5}"),
    (f"{{CRYPT}}{MD5}", f"{{MD5-CRYPT}}{MD5}"),
    *(
        (f"{{{scheme}}}{text}", f"{{{scheme}}}{text}")
        for scheme, text in (
            ("SSHA", digest("sha1", b"salt")),
            ("SSHA256", digest("sha256", b"salt")),
            ("SSHA512", digest("sha512", b"salt")),
            ("SHA", digest("sha1")),
            ("SHA1", digest("sha1")),
            ("SHA256", digest("sha256")),
            ("SHA512", digest("sha512")),
        )
    ),
]


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    """What verifies."""
    return Passwords("SHA512-CRYPT")


@pytest.mark.parametrize(("given", "stored"), TAKEN)
def test_taken_over(given: str, stored: str, passwords: Passwords) -> None:
    """A hash in a form of Dovecot's is stored with its scheme's name, and the old password goes with it."""
    assert check_hash(given, weak=False) == stored
    assert passwords.verify_now(PASSWORD, stored).matches


@pytest.mark.parametrize(("given", "stored"), QUICK)
def test_quick_to_guess(given: str, stored: str, passwords: Passwords) -> None:
    """What is quick to guess is taken only by somebody who says so."""
    with pytest.raises(InvalidInputError, match="quick to guess"):
        check_hash(given, weak=False)
    assert check_hash(given, weak=True) == stored
    assert passwords.verify_now(PASSWORD, stored).matches


@pytest.mark.parametrize("stored", sorted({stored for _, stored in TAKEN + QUICK}))
def test_dovecot_verifies_it(stored: str) -> None:
    """A real Dovecot takes the old password for it, and no other one."""
    for password, code in ((PASSWORD, 0), (PASSWORD + "x", 75)):
        command = ["doveadm", "-O", "pw", "-t", stored, "-p", password]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == code


def test_every_quick_scheme_was_tried() -> None:
    """No scheme is called weak without a test above."""
    assert {stored[1:].partition("}")[0] for _, stored in QUICK} == WEAK


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{PLAIN}open sesame", "password in clear"),
        ("{CLEARTEXT}open sesame", "password in clear"),
        ("open sesame", "no hash that can be taken over"),
        ("", "no hash"),
        ("{CRYPT}ab01FAX.bQRSU", "no hash"),
        ("{DIGEST-MD5}0123456789abcdef0123456789abcdef", "no hash"),
        ("{SSHA.HEX}00", "no hash"),
        ("{SHA512-CRYPT}" + SHA512[:-1], "damaged"),
        ("{SHA512-CRYPT}" + SHA512 + "\n", "damaged"),
        ("{SHA512-CRYPT}" + BCRYPT, "damaged"),
        ("{BLF-CRYPT}" + BCRYPT[:-1] + "ä", "damaged"),
        ("{ARGON2ID}" + ARGON2.replace("v=19", "v=16"), "damaged"),
        ("{SSHA}" + digest("sha1"), "damaged"),
        ("{SHA}" + digest("sha1", b"salt"), "damaged"),
        ("{SSHA}!!!!", "damaged"),
        ("{ARGON2ID}" + ARGON2.replace("m=64", "m=1048576"), "too long"),
        ("{ARGON2ID}" + ARGON2.replace("t=2", "t=900"), "too long"),
        ("{BLF-CRYPT}" + BCRYPT.replace("$04$", "$31$"), "too long"),
        ("$6$rounds=999999999$" + SHA512.removeprefix("$6$rounds=5000$").removeprefix("$6$"), "too long"),
        ("{PBKDF2}" + PBKDF2.replace("$1000$", "$99999999$"), "too long"),
        ("{PBKDF2}" + PBKDF2.replace("$1000$", "$0$"), "too long"),
    ],
)
def test_refused(given: str, said: str) -> None:
    """What Dovecot would not verify, or only in a minute, is refused, and nothing of it is repeated."""
    with pytest.raises(InvalidInputError, match=said) as refused:
        check_hash(given, weak=True)
    assert "sesame" not in refused.value.message
    assert "$" not in refused.value.message


def test_what_the_local_dovecot_does_not_know() -> None:
    """A scheme that the Dovecot of this server does not know is refused, for nobody could log in."""
    assert check_hash(SHA512, weak=False, known={"SHA512-CRYPT"})
    with pytest.raises(InvalidInputError, match="does not know the scheme ARGON2ID"):
        check_hash(ARGON2, weak=False, known={"SHA512-CRYPT"})

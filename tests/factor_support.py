"""What the tests of the second factor share: a secret, its codes, and the tables as another program sees them."""

from __future__ import annotations

import time

import pyotp

from tests.support import BOSS, Box

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OTHER_SECRET = "KRUGS4ZANFZSAYJAONSWG4TFOQQGSZDF"


def code(offset: int = 0, secret: str = SECRET) -> str:
    """Return the code of now, or of some steps of 30 seconds earlier or later.

    A code of -1 is still good if a step ends meanwhile only where more than one step of drift is allowed, and one of
    +1 in any case: use codes in this order.
    """
    return pyotp.TOTP(secret).generate_otp(int(time.time() // 30) + offset)


WRONG = "not a code"
"""One that never becomes right by chance."""


def set_up(box: Box, email: str = BOSS, secret: str = SECRET, label: str = "phone") -> int:
    """Set up a second factor as Mail-in-a-Box does, and return its id."""
    box.sql(
        "INSERT INTO mfa (user_id, type, secret, label) SELECT id, 'totp', ?, ? FROM users WHERE email = ?",
        secret,
        label,
        email,
    )
    ((number,),) = box.sql("SELECT max(id) FROM mfa")
    return int(number)


def rows(box: Box, email: str = BOSS) -> list[tuple[object, ...]]:
    """Return type, secret, last code and label of a user's second factors."""
    return box.sql(
        "SELECT m.type, m.secret, m.mru_token, m.label FROM mfa m JOIN users u ON u.id = m.user_id "
        "WHERE u.email = ? ORDER BY m.id",
        email,
    )

"""The second factor: checking its codes, setting it up, recovery codes, removing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailusers_plugin.auth import one_time_codes
from mailusers_plugin.errors import InvalidInputError, LoginRefusedError, UnknownUserError
from mailusers_plugin.models import Account, Factor
from mailusers_plugin.store import accounts, recovery_codes, second_factors
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_
from mailusers_plugin.trail import RECOVERY_CODE_USED, Trail
from mailusers_plugin.validation import check_known_address

MISSING_TOTP: Final = "missing-totp-token"
INVALID_TOTP: Final = "invalid-totp-token"
"""The contract's reasons: the password was right, and the code is missing or wrong."""
WRONG_FIRST_CODE: Final = N_("Invalid token.")
_MOST_LABEL: Final = 100


@dataclass(frozen=True, slots=True)
class FactorStatus:
    """What a user has.

    :ivar factors: the oldest first
    :ivar codes: how many recovery codes are left
    """

    factors: tuple[Factor, ...]
    codes: int


class SecondFactors:
    """Checks and changes second factors. Who may is for the caller to ask."""

    def __init__(self, database: Database, state: Database, trail: Trail, *, drift_steps: int) -> None:
        """Take what it works with.

        :param database: where the accounts and the second factors are
        :param state: where the recovery codes are
        :param trail: where it is noted that a recovery code was used
        :param drift_steps: how many steps of 30 seconds a code may be early or late
        """
        self._database = database
        self._state = state
        self._trail = trail
        self._drift_steps = drift_steps

    async def check(self, account: Account, given: str) -> None:
        """Check the code of a user whose password was right, and use it up; nothing where there is no second factor.

        :param account: as it was looked up
        :param given: a code by the clock or a recovery code, as somebody typed it
        :raises LoginRefusedError: with the contract's reason
        """
        if not account.factors_mark:
            return
        if not given.strip():
            raise LoginRefusedError(MISSING_TOTP)
        factors = await self._database.read(second_factors.of_user, account.email)
        if not await self._use(account.email, factors, given):
            raise LoginRefusedError(INVALID_TOTP)

    async def _use(self, email: str, factors: Sequence[Factor], given: str) -> bool:
        code = one_time_codes.totp_code(given)
        if code:
            factor = self._made_by(factors, code)
            # Written only now: a wrong code never locks the file that Postfix reads.
            return factor is not None and await self._database.write(second_factors.use, factor, code)
        code = one_time_codes.recovery_code(given)
        if not code:
            return False
        values = email, one_time_codes.hash_recovery_code(email, code), second_factors.bindings(factors)
        if not await self._state.read(recovery_codes.is_good, *values):
            return False
        if not await self._state.write(recovery_codes.use, *values):
            return False
        await self._trail.note(RECOVERY_CODE_USED, email=email, actor=email)
        return True

    def _made_by(self, factors: Sequence[Factor], code: str) -> Factor | None:
        """Return the factor that a code was made by."""
        for factor in factors:
            # Another program may have stored a secret twice. A code that was used with one is used up for both.
            used = [f.mru_token for f in factors if f.secret == factor.secret and f.mru_token]
            if factor.type == second_factors.TOTP and self._step(factor.secret, code, used) is not None:
                return factor
        return None

    def _step(self, secret: str, code: str, used: Sequence[str]) -> int | None:
        return one_time_codes.step_of(secret, code, self._drift_steps, used)

    async def status(self, email: str) -> FactorStatus:
        """Return what a user has.

        :raises UnknownUserError: if there is no such user
        """
        check_known_address(email)
        if await self._database.look_up(accounts.FIND, email) is None:
            raise UnknownUserError(email)
        factors = await self._database.read(second_factors.of_user, email)
        codes = await self._state.read(recovery_codes.count, email, second_factors.bindings(factors))
        return FactorStatus(tuple(factors), codes)

    def check_first_code(self, secret: str, given: str) -> str:
        """Check the first code of a secret that is not stored yet, by which somebody shows that an app has it.

        :returns: the code as it is stored
        :raises InvalidInputError: if it is not right
        """
        code = one_time_codes.totp_code(given)
        if not code or self._step(one_time_codes.check_secret(secret), code, ()) is None:
            raise InvalidInputError(WRONG_FIRST_CODE)
        return code

    async def enrol(
        self, email: str, secret: str, given: str, label: str, *, with_codes: bool = True
    ) -> list[str]:
        """Add a second factor; with the first one come recovery codes.

        :param given: the first code, which cannot be used to log in any more
        :param label: what the user calls it, may be empty
        :param with_codes: whether there is somebody to show them to
        :returns: new recovery codes to be shown once, none where there are some already
        :raises InvalidInputError: if the secret, the code or the label is not possible
        :raises UnknownUserError: if there is no such user
        """
        one_time_codes.check_secret(secret)
        check_label(label)
        code = self.check_first_code(secret, given)
        before = await self.status(email)
        codes = []
        if with_codes and not before.codes:
            # Before the factor, without which they are good for nothing: so it is never there without them.
            codes = await self._make_codes(email, secret)
        await self._database.write(second_factors.add, email, secret, code, label or None)
        return codes

    async def new_codes(self, email: str) -> list[str]:
        """Make new recovery codes; the old ones end.

        :returns: the codes, to be shown once
        :raises UnknownUserError: if there is no such user
        :raises InvalidInputError: if the user has no second factor
        """
        factors = (await self.status(email)).factors
        if not factors:
            raise InvalidInputError(N_("There are no recovery codes without a second factor."))
        return await self._make_codes(email, factors[0].secret)

    async def _make_codes(self, email: str, secret: str) -> list[str]:
        codes = one_time_codes.new_recovery_codes()
        hashes = [
            one_time_codes.hash_recovery_code(email, one_time_codes.recovery_code(code)) for code in codes
        ]
        bound_to = second_factors.bind(secret)
        await self._state.write(recovery_codes.replace, email, hashes, bound_to, datetime.now(UTC))
        return codes

    async def disable(self, email: str, number: int | None = None) -> int:
        """Remove one second factor or all; with the last one the recovery codes end.

        :param number: its id, ``None`` for all
        :returns: how many were removed
        :raises UnknownUserError: if there is no such user
        """
        check_known_address(email)
        gone = await self._database.write(second_factors.remove, email, number)
        left = await self._database.read(second_factors.of_user, email)
        if not left:
            await self._state.write(recovery_codes.drop, email)
        elif gone:
            gone_bindings = [second_factors.bind(secret) for secret in gone]
            left_binding = second_factors.bind(left[0].secret)
            await self._state.write(recovery_codes.rebind, email, gone_bindings, left_binding)
        return len(gone)


def check_label(label: str) -> None:
    """Check what somebody calls a second factor.

    :raises InvalidInputError: if it is too long, or no line of text
    """
    if len(label) > _MOST_LABEL or not label.isprintable():
        raise InvalidInputError(
            N_("A name has at most %(most)s characters and no line breaks."), most=_MOST_LABEL
        )

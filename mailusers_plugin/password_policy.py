"""What is asked of a new password: its length everywhere, and more where the settings say so."""

from __future__ import annotations

import re
from typing import Final

from mailusers_plugin.breached_passwords import BreachedPasswords
from mailusers_plugin.errors import UnavailableError, WeakPasswordError
from mailusers_plugin.password_strength import MORE_WORDS, Strength, StrengthMeter
from mailusers_plugin.settings import Settings
from mailusers_plugin.texts import N_
from mailusers_plugin.validation import MAX_EMAIL_LENGTH, check_password

_WORDS: Final = re.compile(r"[^\s@._+-]+")


def words_of(email: str) -> tuple[str, ...]:
    """Return what somebody who guesses would try first for a user: the address, its parts and their parts.

    :param email: as it was typed
    """
    email = email.strip()[:MAX_EMAIL_LENGTH]
    return tuple(dict.fromkeys((email, *email.split("@"), *_WORDS.findall(email))))


class PasswordPolicy:
    """The rules of one box.

    :ivar min_length: least length, in characters
    """

    def __init__(self, settings: Settings, meter: StrengthMeter) -> None:
        """Take the rules.

        :param meter: estimates beside the event loop
        """
        self.min_length = settings.password_min_length
        self._places = frozenset(settings.password_policy)
        self._min_score = settings.password_min_score
        self._refuses_common = settings.password_refuse_common
        self._is_answer_required = settings.password_breach_required
        self._meter = meter
        url = settings.password_breach_url
        self._breached = BreachedPasswords(url, settings.password_breach_timeout_seconds) if url else None

    def check_length(self, password: str) -> None:
        """Check what holds everywhere.

        :raises InvalidInputError: with what is wrong
        """
        check_password(password, self.min_length)

    async def check(self, place: str, password: str, email: str) -> Strength | None:
        """Check what is asked of passwords from some place beyond :meth:`check_length`.

        :param place: one of :data:`mailusers_plugin.settings_browser.PASSWORD_PLACES`; empty for none
        :param email: of the user who is to have it
        :returns: how strong it is, ``None`` where that was not asked
        :raises WeakPasswordError: with what is wrong and what would help
        :raises UnavailableError: if that cannot be found out now, and must be
        """
        if place not in self._places:
            return None
        strength = await self._check_strength(password, email)
        if self._breached is not None and await self._is_breached(self._breached, password):
            raise WeakPasswordError(
                N_(
                    "This password is known from a data breach, so it is among the first that are tried. Choose "
                    "another one, here and wherever else it is used."
                )
            )
        return strength

    async def _check_strength(self, password: str, email: str) -> Strength | None:
        if not (self._min_score or self._refuses_common):
            return None
        strength = await self._meter.measure(password, words_of(email))
        if self._refuses_common and strength.is_common:
            raise WeakPasswordError(
                N_(
                    "This is one of the most common passwords, which are tried first. Choose a few words that do not "
                    "belong together."
                )
            )
        if strength.score < self._min_score:
            raise WeakPasswordError(
                N_("This password is too easy to guess."), strength.advice or (MORE_WORDS,)
            )
        return strength

    async def _is_breached(self, breached: BreachedPasswords, password: str) -> bool:
        try:
            return await breached.knows(password)
        except UnavailableError:
            if self._is_answer_required:
                raise
            return False

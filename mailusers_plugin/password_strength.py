"""How hard a password is to guess. Nothing of it is kept or logged; what is refused, ``password_policy.py`` says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.texts import N_

MAX_CHARACTERS: Final = 72
"""So much of a password is looked at; the time grows with the square of the length."""
_MAX_WAITING: Final = 8
_MAX_QUEUED: Final = 64
"""So many may wait for what must be known, which takes up to 35 ms for each."""
_MAX_KNOWN: Final = 100

LEVELS: Final = (
    N_("Very easy to guess"),
    N_("Easy to guess"),
    N_("Could be better"),
    N_("Good"),
    N_("Very good"),
)
"""What the scores 0 to 4 are called."""

ADVICE: Final = frozenset(
    (
        N_("Use a few words, avoid common phrases."),
        N_("No need for symbols, digits, or uppercase letters."),
        N_("Add another word or two. Uncommon words are better."),
        N_("Straight rows of keys are easy to guess."),
        N_("Short keyboard patterns are easy to guess."),
        N_("Use a longer keyboard pattern with more turns."),
        N_('Repeats like "aaa" are easy to guess.'),
        N_('Repeats like "abcabcabc" are only slightly harder to guess than "abc".'),
        N_("Avoid repeated words and characters."),
        N_('Sequences like "abc" or "6543" are easy to guess.'),
        N_("Avoid sequences."),
        N_("Recent years are easy to guess."),
        N_("Avoid recent years."),
        N_("Avoid years that are associated with you."),
        N_("Dates are often easy to guess."),
        N_("Avoid dates and years that are associated with you."),
        N_("This is a top-10 common password."),
        N_("This is a top-100 common password."),
        N_("This is a very common password."),
        N_("This is similar to a commonly used password."),
        N_("A word by itself is easy to guess."),
        N_("Names and surnames by themselves are easy to guess."),
        N_("Common names and surnames are easy to guess."),
        N_("Capitalization doesn't help very much."),
        N_("All-uppercase is almost as easy to guess as all-lowercase."),
        N_("Reversed words aren't much harder to guess."),
        N_("Predictable substitutions like '@' instead of 'a' don't help very much."),
    )
)
"""All that the library says; the texts are here so that they are translated like our own."""
MORE_WORDS: Final = "Add another word or two. Uncommon words are better."
OF_ADDRESS: Final = N_("Parts of the address are easy to guess.")
"""What the library does not say of the words that it is told to look for."""


@dataclass(frozen=True, slots=True)
class Strength:
    """What is thought of a password.

    :ivar score: 0 (very easy to guess) to 4
    :ivar level: the same in words, in English
    :ivar advice: what makes it weak and what would help, in English; may be empty
    :ivar is_common: whether it is one of the 30 000 most common passwords
    """

    score: int
    level: str
    advice: tuple[str, ...]
    is_common: bool


# The library keeps the words of the call that runs in a table of its module.
_turn = threading.Lock()


class StrengthMeter:
    """Estimates in a thread of its own: all of the work is in the interpreter, so that more would gain nothing."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mailusers-strength")
        self._waiting = 0

    async def estimate(self, password: str, known: Collection[str] = ()) -> Strength | None:
        """Return what is thought of a password, ``None`` where too many wait for that already.

        :param password: as it was typed
        :param known: words that somebody who guesses would try first, such as the parts of the address
        """
        return None if self._waiting >= _MAX_WAITING else await self._measure(password, known)

    async def measure(self, password: str, known: Collection[str] = ()) -> Strength:
        """Return what is thought of a password, as :meth:`estimate`, for those who cannot do without it.

        :raises UnavailableError: if too many wait for that already
        """
        if self._waiting >= _MAX_QUEUED:
            raise UnavailableError(
                N_("Too many passwords are being checked at once. Try again in a moment."), 2
            )
        return await self._measure(password, known)

    async def _measure(self, password: str, known: Collection[str]) -> Strength:
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, estimate_now, password, tuple(known))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Finish what runs."""
        self._pool.shutdown()


def estimate_now(password: str, known: Collection[str] = ()) -> Strength:
    """Return what is thought of a password, in the calling thread."""
    # Loaded at the first use: its tables of words take a tenth of a second.
    from zxcvbn import zxcvbn

    words = [word[:_MAX_KNOWN] for word in known if word]
    with _turn:
        result = zxcvbn(password[:MAX_CHARACTERS], words, max_length=MAX_CHARACTERS)
    feedback = result["feedback"]
    said = [text for text in (feedback["warning"], *feedback["suggestions"]) if text in ADVICE]
    if said and any(match.get("dictionary_name") == "user_inputs" for match in result["sequence"]):
        said.insert(0, OF_ADDRESS)
    score = int(result["score"])
    return Strength(score, LEVELS[score], tuple(said), password.lower() in _common())


@cache
def _common() -> frozenset[str]:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])

"""What ends with an account or a privilege: sessions and API tokens.

They are over already, for each is bound to what has changed. So nobody has to wait until their rows are gone, and it
does no harm where the process dies before.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store import sessions, tokens
from mailusers_plugin.store.database import Database

_log = logging.getLogger("mailusers_plugin.service")


async def end_sessions(state: Database, email: str) -> None:
    """Delete a user's sessions.

    :param state: where they are
    """
    with suppress(UnavailableError):
        await state.write(sessions.end_all, email)


async def forget_tokens(state: Database, email: str) -> None:
    """Delete the API tokens of somebody who administrates no more.

    :param state: where they are
    """
    try:
        if await state.look_up(tokens.OWNED, email) is not None:
            await state.write(tokens.revoke_of, email)
    except UnavailableError as error:
        _log.warning("The API tokens of %s could not be deleted yet: %s", email, error)

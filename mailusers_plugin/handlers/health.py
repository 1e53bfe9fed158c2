"""For programs that watch the panel: whether it is alive, whether it is ready, and what it counts."""

from __future__ import annotations

from mailusers_plugin.errors import MailUsersError
from mailusers_plugin.handlers.api import APIHandler
from mailusers_plugin.handlers.base import public, requires
from mailusers_plugin.metrics import CONTENT_TYPE
from mailusers_plugin.permissions import READ

_RETRY_SECONDS = 5


class _Probe(APIHandler):
    """Answers while the box has no administrator, and while the background work cannot begin."""

    answers_during_set_up = True

    async def prepare(self) -> None:
        """Begin no work for a probe that could fail."""
        self.dependencies.requests.begin(self)


class HealthAPI(_Probe):
    """``GET /mail/users/health``: whether requests can be answered."""

    @public
    async def get(self) -> None:
        """Answer 200 or 503; with the reasons for an administrator, for they name folders and modules.

        Whoever wants to know no more than whether the process lives asks for ``/mail/users/health/live``.
        """
        report = await self.dependencies.health.report()
        found: dict[str, object] = {"status": "ready" if report.ready else "unavailable"}
        if await self._is_permitted():
            found["checks"] = [
                {
                    "name": check.name,
                    "ok": not check.reason,
                    "reason": check.reason,
                    "essential": check.essential,
                }
                for check in report.checks
            ]
        if not report.ready:
            self.set_status(503)
            self.set_header("Retry-After", str(_RETRY_SECONDS))
        self.answer_json(found)

    head = get

    async def _is_permitted(self) -> bool:
        if not any(name in self.request.headers for name in ("Authorization", "Cookie")):
            return False
        try:
            await self.permitted(READ)
        except MailUsersError:
            return False
        return True


class LiveAPI(_Probe):
    """``GET /mail/users/health/live``: that the process and its event loop answer."""

    @public
    async def get(self) -> None:
        """Answer, without a look at anything."""
        self.answer_json({"status": "alive"})

    head = get


class MetricsAPI(_Probe):
    """``GET /mail/users/metrics``: counts in Prometheus's text format."""

    @requires(READ)
    async def get(self) -> None:
        """Answer with all of them."""
        text = await self.dependencies.metrics.text()
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(text)

    head = get


ROUTES = [
    ("/mail/users/health", HealthAPI),
    ("/mail/users/health/live", LiveAPI),
    ("/mail/users/metrics", MetricsAPI),
]

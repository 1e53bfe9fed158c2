"""A panel to be measured: the plugin beside a bare handler, in one application without logging.

``python -m tests.benchmarks.server PORT STORAGE_ROOT [CORE]`` serves it; settings come from the environment.
"""

from __future__ import annotations

import asyncio
import os
import sys

from tornado.web import Application, RequestHandler

from mailusers_plugin import mount
from mailusers_plugin.panel import SWITCH_SECONDS

BARE = "/hello"


class Hello(RequestHandler):
    """A bare Tornado handler, as the baseline."""

    def get(self) -> None:
        """Say so."""
        self.finish("hello")


async def serve(port: int, storage: str) -> None:
    """Serve until ended."""
    app = Application([(BARE, Hello)])
    handle = mount(app, storage_root=storage)
    await handle.start()
    app.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    # As "mailusers serve" does, and docs/host.md advises.
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))

"""`python -m receiver`, but it kills itself with SIGKILL around its n-th request to the embedded engine.

Arguments: the number of the request, and `before` (the engine never got it) or `after` (it is on disk, but nobody got
the reply). Only requests that change something count; number 0 means never.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from orchestrator.engine.embedded.connection import EmbeddedConnection
from receiver.__main__ import main

READS = {"promise.get", "promise.register_listener", "task.heartbeat"}


def crash_at(number: int, moment: str) -> None:
    """Make this process die before or after that request."""
    ask = EmbeddedConnection.ask
    seen = 0

    async def counted(self: EmbeddedConnection, request: Any) -> dict[str, Any]:
        nonlocal seen

        if request["kind"] in READS:
            return await ask(self, request)

        seen += 1
        mine = seen

        if mine == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)

        answer = await ask(self, request)

        if mine == number:
            os.kill(os.getpid(), signal.SIGKILL)

        return answer

    EmbeddedConnection.ask = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    crash_at(int(sys.argv[1]), sys.argv[2])
    del sys.argv[1:]
    sys.exit(main())

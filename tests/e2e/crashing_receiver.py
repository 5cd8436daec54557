"""`python -m receiver`, but it kills itself with SIGKILL around its n-th request to the embedded engine.

Arguments: the number of the request, and `before` (the engine never got it) or `after` (it is on disk, but nobody got
the reply). Only requests that change something count; number 0 means never.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from orchestrator.engine.embedded.connection import EmbeddedConnection
from receiver.__main__ import main

READS = {"promise.get", "promise.register_listener", "task.heartbeat"}


def crash_at(number: int, moment: str) -> None:
    """Make this process die before or after that request."""
    send = EmbeddedConnection.send
    seen = 0

    async def counted(self: EmbeddedConnection, req: str, headers: dict[str, str] | None = None) -> str:
        nonlocal seen

        if json.loads(req)["kind"] in READS:
            return await send(self, req, headers)

        seen += 1
        mine = seen

        if mine == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)

        answer = await send(self, req, headers)

        if mine == number:
            os.kill(os.getpid(), signal.SIGKILL)

        return answer

    EmbeddedConnection.send = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    crash_at(int(sys.argv[1]), sys.argv[2])
    del sys.argv[1:]
    sys.exit(main())

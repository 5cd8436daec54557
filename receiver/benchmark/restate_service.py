"""The Restate service of the comparison: a workflow that waits for one awakeable. Run by the fetched interpreter.

`restate_service.py PORT FOLDER suspended|memory`. It does what `bench_wait` does in `servers`, and records its progress
in the same form; it imports nothing of ours, because its environment has only Restate's SDK. Ours has no Restate, so
that is imported late. `suspended` gives up an invocation as soon as it waits, `memory` keeps it for hours.
"""

from __future__ import annotations

import json
import sys
import time
from asyncio import Runner
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import restate

#: More than any other value, as Restate's documentation recommends for production.
_UNLIMITED = 2**31 - 1


def service(folder: Path, *, kept: bool) -> restate.Workflow:
    """Return the workflow. When a whole batch waits, and when all of it are past their wait, that is recorded."""
    import restate  # noqa: PLC0415 - not in our environment

    hours = timedelta(hours=12)
    workflow = restate.Workflow("bench", inactivity_timeout=hours if kept else timedelta(0), abort_timeout=hours)
    waiting: dict[str, str] = {}
    passed: set[str] = set()

    def record(what: str) -> None:
        with (folder / "progress").open("a") as file:
            file.write(f"{what} {time.time()}\n")

    @workflow.main()
    async def run(ctx: Any, request: dict[str, Any]) -> str:  # the SDK evaluates these annotations
        awakeable_id, answer = ctx.awakeable()

        if ctx.key() not in waiting:
            waiting[ctx.key()] = awakeable_id

            if len(waiting) == request["of"]:
                (folder / "waits").write_text(json.dumps(waiting))
                record("opened")

        await answer
        passed.add(ctx.key())

        if len(passed) == request["of"]:
            waiting.clear()
            passed.clear()
            record("passed")

        return "succeeded"

    return workflow


def main() -> None:
    """Serve until the process is killed."""
    import hypercorn.asyncio  # noqa: PLC0415 - as above
    import restate  # noqa: PLC0415
    import uvloop  # noqa: PLC0415

    port, folder, mode = sys.argv[1:]
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = _UNLIMITED
    config.keep_alive_max_requests = _UNLIMITED
    config.keep_alive_timeout = _UNLIMITED

    with Runner(loop_factory=uvloop.new_event_loop) as runner:
        app = restate.app([service(Path(folder), kept=mode == "memory")])
        runner.run(hypercorn.asyncio.serve(app, config))


if __name__ == "__main__":
    main()

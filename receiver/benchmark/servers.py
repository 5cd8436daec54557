"""What the benchmark compares: our own service, and other programs, each as a process of its own. Do not copy them.

`bare` reads JSON and returns JSON, `verified` also checks an itsdangerous signature: no service can be faster. `raw` is
what people start with: the SDK's in-process engine behind a handler that resolves any promise by its id, without a
token and without durability. `raw-receiver` and `raw-worker` do the same over Postgres, with default settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn
from itsdangerous import Signer
from pydantic import BaseModel
from resonate.connections import LocalConnection
from resonate.resonate import Resonate
from resonate.types import TaskData, Value
from resonate_pg import PostgresConnection
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator import Context, open_callback, workflow
from receiver.benchmark.load import fast_loop

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext
    from resonate_base.connections import Network
    from starlette.requests import Request

#: The files, in the working directory of the measured processes, to which they write the progress of their workflows,
#: and what a caller has to know of each wait.
PROGRESS: Final = "progress"
WAITS: Final = "waits"
_DAY: Final = timedelta(days=1)


class Progress:
    """Counts workflows in process, and records when all of a batch wait and when all are past their wait.

    So observing costs one entry in a table for each workflow, and one write for a whole batch. It counts one batch at a
    time.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, int | None] = {}
        self._passed: set[str] = set()

    def opened(self, root_id: str, of: int, opened_at: int | None = None) -> None:
        """Count a workflow of a batch of `of` whose wait is open; a replay does not count again.

        `opened_at` is what a caller has to know of its wait. For the whole batch it is written to the file `WAITS`.
        """
        if root_id not in self._waiting:
            self._waiting[root_id] = opened_at

            if len(self._waiting) == of:
                Path(WAITS).write_text(json.dumps(self._waiting))
                self._record("opened")

    def passed(self, root_id: str, of: int) -> None:
        """Count a workflow that is past its wait."""
        self._passed.add(root_id)

        if len(self._passed) == of:
            self._waiting.clear()
            self._passed.clear()
            self._record("passed")

    def _record(self, what: str) -> None:
        with Path(PROGRESS).open("a") as file:
            file.write(f"{what} {time.time()}\n")


_progress: Final = Progress()


class Batch(BaseModel):
    """The input of the measured workflow: the size of its batch."""

    of: int


class Nothing(BaseModel):
    """The input of the workflow that is listed."""


@workflow(timeout=_DAY)
async def bench_wait(ctx: Context, request: Batch) -> str:
    """Wait for one callback and return how it ended."""
    callback = await open_callback(ctx, "answer")
    _progress.opened(ctx.info.id, request.of, callback.address.opened_at)
    outcome = await callback
    _progress.passed(ctx.info.id, request.of)

    return outcome.kind


@workflow(timeout=_DAY)
async def bench_done(_: Context, __: Nothing) -> str:
    """Be over at once."""
    return "done"


async def raw_wait(ctx: SDKContext, of: int) -> str:
    """Do the same as `bench_wait` with the SDK alone."""
    future = ctx.promise()
    await future.id()
    _progress.opened(ctx.info.id, of)
    await future
    _progress.passed(ctx.info.id, of)

    return "resolved"


def bench_signer() -> Signer:
    """Return the signer of `verified`. It protects nothing."""
    return Signer("benchmark", salt="benchmark", sep=".", key_derivation="hmac", digest_method=hashlib.sha256)


def bare(signer: Signer | None = None) -> Starlette:
    """Return the smallest application that reads and returns JSON; with a signer, it also verifies a signature."""

    async def take(request: Request) -> Response:
        if signer is not None:
            signer.unsign(request.headers["authorization"].removeprefix("Bearer "))

        await request.json()

        return JSONResponse({"state": "settled", "duplicate": False})

    return Starlette(routes=[Route("/callbacks", take, methods=["POST"])])


def insecure(resonate: Resonate, target: str) -> Starlette:
    """Return the insecure example over this client: anybody who knows or guesses a promise's id can resolve it."""

    async def start(request: Request) -> Response:
        root_id = request.path_params["id"]
        tags = dict.fromkeys(("resonate:origin", "resonate:branch", "resonate:parent"), root_id)
        tags |= {"resonate:scope": "global", "resonate:target": target}
        deadline = int((time.time() + _DAY.total_seconds()) * 1000)
        task = TaskData(func="raw_wait", args=((await request.json())["of"],))
        await resonate.promises.create(root_id, deadline, Value(data=task), tags)

        return JSONResponse({"created": True})

    async def settle(request: Request) -> Response:
        record = await resonate.promises.resolve(request.path_params["id"], Value(data=await request.json()))

        return JSONResponse({"state": record.state})

    async def look(request: Request) -> Response:
        return JSONResponse({"state": (await resonate.promises.get(request.path_params["id"])).state})

    return Starlette(
        routes=[
            Route("/workflows/{id}", start, methods=["PUT"]),
            Route("/workflows/{id}", look, methods=["GET"]),
            Route("/callbacks/{id}", settle, methods=["POST"]),
        ]
    )


async def run_program(name: str, port: int, url: str) -> None:
    """Run the program of this name until it is killed."""
    match name:
        case "bare" | "verified":
            app = bare(bench_signer() if name == "verified" else None)
        case "raw":
            engine = LocalConnection()
            app = insecure(_worker(engine), engine.resolve_target("default"))
        case "raw-receiver":
            connection = PostgresConnection(url)
            app = insecure(Resonate(network=connection, sources=[]), connection.resolve_target("default"))
        case _:
            _worker(PostgresConnection(url))
            await asyncio.Event().wait()
            return

    config = uvicorn.Config(
        app, port=port, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    await uvicorn.Server(config).serve()


def _worker(network: Network) -> Resonate:
    # It is started only after the function is registered: otherwise it would drop the tasks that were waiting.
    resonate = Resonate(network=network, autostart=False)
    resonate.register(raw_wait)
    resonate.start()

    return resonate


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(run_program(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

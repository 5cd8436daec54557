"""What the benchmark compares: programs of their own, and the workflow that the service itself runs in it.

`bare` takes JSON and gives JSON; `verified` checks an itsdangerous signature as well: together they are the ceiling.
`raw` is the example people start from: the SDK's in-process engine behind a handler that resolves whatever promise it
is told to, with no token and nothing durable. `raw-receiver` and `raw-worker` are the same over Postgres, with the
SDK's and the connector's defaults. None of them is an example to copy.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from bench_load import fast_loop
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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.context import Context as SDKContext
    from resonate_base.connections import Network
    from starlette.requests import Request

#: The file, in the working directory of a measured process, in which it tells how far its workflows are.
PROGRESS: Final = "progress"

_DAY: Final = timedelta(days=1)


class Progress:
    """Counts workflows in process, and writes down when all of a batch are waiting and when all are past their wait.

    So what is observed costs an entry in a set, and one write for a whole batch. One batch at a time.
    """

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._full = False

    def opened(self, root_id: str, of: int) -> None:
        """Take note that a workflow of a batch of so many has opened its wait, for the first time or in a replay."""
        self._waiting.add(root_id)

        if len(self._waiting) == of and not self._full:
            self._full = True
            _tell("opened")

    def passed(self, root_id: str) -> None:
        """Take note that a workflow is past its wait."""
        self._waiting.discard(root_id)

        if not self._waiting:
            self._full = False
            _tell("passed")


_progress: Final = Progress()


class Batch(BaseModel):
    """What the measured workflow is started with: how many are started together."""

    of: int


@workflow(timeout=_DAY)
async def bench_wait(ctx: Context, request: Batch) -> str:
    """Wait for one callback and return how it ended."""
    callback = await open_callback(ctx, "answer")
    _progress.opened(ctx.info.id, request.of)
    outcome = await callback
    _progress.passed(ctx.info.id)

    return outcome.kind


async def raw_wait(ctx: SDKContext, of: int) -> str:
    """Do the same with the SDK alone."""
    future = ctx.promise()
    await future.id()
    _progress.opened(ctx.info.id, of)
    await future
    _progress.passed(ctx.info.id)

    return "resolved"


def bare(signer: Signer | None = None) -> Starlette:
    """Return the least there can be, JSON in and JSON out; with a signer behind a signature."""

    async def take(request: Request) -> Response:
        if signer is not None:
            signer.unsign(request.headers["authorization"].removeprefix("Bearer "))

        await request.json()

        return JSONResponse({"state": "settled", "duplicate": False})

    return Starlette(routes=[Route("/callbacks", take, methods=["POST"])])


def bench_signer() -> Signer:
    """Return what `verified` verifies with. It protects nothing."""
    return Signer("benchmark", salt="benchmark", sep=".", key_derivation="hmac", digest_method=hashlib.sha256)


def raw(resonate: Resonate, target: str) -> Starlette:
    """Return the insecure example over this client: whoever knows, or guesses, a promise's id resolves it."""

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

    return Starlette(
        routes=[Route("/workflows/{id}", start, methods=["PUT"]), Route("/callbacks/{id}", settle, methods=["POST"])]
    )


async def _serve_bare(port: int, _: str) -> None:
    await _serve(bare(), port)


async def _serve_verified(port: int, _: str) -> None:
    await _serve(bare(bench_signer()), port)


async def _serve_raw(port: int, _: str) -> None:
    engine = LocalConnection()
    await _serve(raw(_worker(engine), engine.resolve_target("default")), port)


async def _serve_raw_receiver(port: int, url: str) -> None:
    connection = PostgresConnection(url)
    await _serve(raw(Resonate(network=connection, sources=[]), connection.resolve_target("default")), port)


async def _run_raw_worker(_: int, url: str) -> None:
    _worker(PostgresConnection(url))
    await asyncio.Event().wait()


def _worker(network: Network) -> Resonate:
    # Not started before it knows the function: it would drop the tasks that were waiting.
    resonate = Resonate(network=network, autostart=False)
    resonate.register(raw_wait)
    resonate.start()

    return resonate


async def _serve(app: Starlette, port: int) -> None:
    config = uvicorn.Config(
        app, port=port, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    await uvicorn.Server(config).serve()


def _tell(what: str) -> None:
    with Path(PROGRESS).open("a") as file:
        file.write(f"{what} {time.time()}\n")


PROGRAMS: Final[dict[str, Callable[[int, str], Awaitable[Any]]]] = {
    "bare": _serve_bare,
    "verified": _serve_verified,
    "raw": _serve_raw,
    "raw-receiver": _serve_raw_receiver,
    "raw-worker": _run_raw_worker,
}


def main() -> None:
    """Run the program named first, on the port named second, over the engine named third, until it is killed."""
    name, port, *rest = sys.argv[1:]

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(_run(PROGRAMS[name], int(port), *rest))


async def _run(program: Callable[[int, str], Awaitable[Any]], port: int, url: str = "") -> None:
    await program(port, url)


if __name__ == "__main__":
    main()

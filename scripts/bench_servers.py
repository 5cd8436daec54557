"""What the benchmark compares: our own service, and programs that are no examples to copy; each a process of its own.

`bare` takes JSON and gives JSON, `verified` checks an itsdangerous signature as well: together they are the ceiling.
`raw` is what people start from: the SDK's in-process engine behind a handler that resolves whatever promise it is told
to, with no token and nothing durable. `raw-receiver` and `raw-worker` do the same over Postgres, all by default.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from bench_load import Load, fast_loop, request, run_load
from itsdangerous import Signer
from pydantic import BaseModel
from resonate.connections import LocalConnection
from resonate.resonate import Resonate
from resonate.types import TaskData, Value
from resonate_pg import PostgresConnection
from service import ROOT, Service, free_port, wait_until
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator import Context, open_callback, workflow
from orchestrator.callbacks.tokens import Claims, TokenSigner
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resonate.context import Context as SDKContext
    from resonate_base.connections import Network
    from starlette.requests import Request

#: What a job answers with: 201 bytes.
BODY: Final = '{"rows":1000,"note":"' + "x" * 178 + '"}'

_DAY: Final = timedelta(days=1)
#: Seconds for all workflows of a batch to get somewhere, and for the last ones to suspend once their waits are open.
_PATIENCE: Final = 240.0
_CALM: Final = 0.5


class Progress:
    """Counts workflows in process, and writes down when all of a batch wait and when all are past their wait.

    So what is observed costs an entry in a set, and one write for a whole batch. One batch at a time.
    """

    def __init__(self, file: Path = Path("progress")) -> None:
        self._file = file
        self._waiting: set[str] = set()
        self._full = False

    def opened(self, root_id: str, of: int) -> None:
        """Take note that a workflow of a batch of so many has opened its wait, for the first time or in a replay."""
        self._waiting.add(root_id)

        if len(self._waiting) == of and not self._full:
            self._full = True
            self._tell("opened")

    def passed(self, root_id: str) -> None:
        """Take note that a workflow is past its wait."""
        self._waiting.discard(root_id)

        if not self._waiting:
            self._full = False
            self._tell("passed")

    def _tell(self, what: str) -> None:
        with self._file.open("a") as file:
            file.write(f"{what} {time.time()}\n")


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


def bench_signer() -> Signer:
    """Return what `verified` verifies with. It protects nothing."""
    return Signer("benchmark", salt="benchmark", sep=".", key_derivation="hmac", digest_method=hashlib.sha256)


def bare(signer: Signer | None = None) -> Starlette:
    """Return the least there can be, JSON in and JSON out; with a signer behind a signature."""

    async def take(request: Request) -> Response:
        if signer is not None:
            signer.unsign(request.headers["authorization"].removeprefix("Bearer "))

        await request.json()

        return JSONResponse({"state": "settled", "duplicate": False})

    return Starlette(routes=[Route("/callbacks", take, methods=["POST"])])


def insecure(resonate: Resonate, target: str) -> Starlette:
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
    # Not started before it knows the function: it would drop the tasks that were waiting.
    resonate = Resonate(network=network, autostart=False)
    resonate.register(raw_wait)
    resonate.start()

    return resonate


class Program:
    """One of these programs as a process, on a port of its own."""

    def __init__(self, folder: Path, name: str, url: str = "") -> None:
        self.port = free_port()
        command = [sys.executable, __file__, name, str(self.port), url]
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}

        with (folder / "programs.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this very file
                command, cwd=folder, env=environment, stdout=log, stderr=log
            )

        if name != "raw-worker":
            wait_until(f"{name} listens", self._listens)

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class Subject:
    """Workflows that wait, in processes that run in `folder` and serve `port`."""

    #: What the answer to a callback that was applied holds.
    applied = '"resolved"'

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._progress = folder / "progress"

    def starting(self, one: str, of: int) -> str:
        """Return the request that starts a workflow, one of so many."""
        return request("PUT", f"/workflows/{one}", body=f'{{"of":{of}}}')

    def answering(self, one: str, body: str = BODY) -> str:
        """Return the callback that one workflow waits for."""
        return request("POST", f"/callbacks/{one}:1", body=body)

    def suspend(self, batch: Sequence[str]) -> None:
        """Start workflows and return when all of them wait."""
        self._progress.unlink(missing_ok=True)
        starts = [[self.starting(one, len(batch))] for one in batch]
        run_load(Load(port=self.port, chains=starts, statuses=(200, 201), expect='"created":true'))
        self._told("opened")
        time.sleep(_CALM)

    def settle(self, batch: Sequence[str]) -> tuple[float, float]:
        """Answer all of them; return callbacks answered, and workflows that got past their wait, in a second."""
        answers = [[self.answering(one)] for one in batch]
        report = run_load(Load(port=self.port, chains=answers, expect=self.applied))

        return report.rate, len(batch) / (self._told("passed") - report.began)

    def _told(self, what: str) -> float:
        """Return when the processes said that this has happened to the whole batch."""
        wait_until(f"all workflows have {what}", lambda: self._read(what) > 0, seconds=_PATIENCE)

        return self._read(what)

    def _read(self, what: str) -> float:
        lines = self._progress.read_text().splitlines() if self._progress.is_file() else []

        return next((float(line.split()[1]) for line in lines if line.startswith(what)), 0.0)


class Raw(Subject):
    """The SDK alone: on its in-process engine, or with a URL a receiver and a worker on that Postgres."""

    def __init__(self, folder: Path, url: str = "") -> None:
        names = ("raw-receiver", "raw-worker") if url else ("raw",)
        self._programs = [Program(folder, name, url) for name in names]
        super().__init__(folder, self._programs[0].port)

    def kill(self) -> None:
        """End the processes."""
        for program in self._programs:
            program.kill()


class Ours(Subject):
    """Our receiver, and a worker where the engine is remote."""

    applied = '"duplicate":false'

    def __init__(self, folder: Path, engine: str) -> None:
        self.service = Service(folder, engine, environment={"COUNTERSIGN_WORKFLOWS": "bench_servers"})
        self._signer = TokenSigner(load_settings(self.service.environment, folder).signing_keys)
        super().__init__(folder, self.service.port)

    def kill(self) -> None:
        """End the processes."""
        self.service.kill()

    def starting(self, one: str, of: int) -> str:
        path = f"/workflows/bench_wait/{one}"
        return request("PUT", path, token=self.service.api_key, body=f'{{"of":{of}}}')

    def answering(self, one: str, body: str = BODY) -> str:
        return request("POST", "/callbacks", token=self.token(one), body=body)

    def looking(self, one: str, prefer: str | None = None) -> str:
        """Return the request that shows how a workflow ended."""
        return request("GET", f"/workflows/bench_wait/{one}", token=self.service.api_key, prefer=prefer)

    def token(self, one: str) -> str:
        """Return the token of the callback that one workflow waits for."""
        claims = Claims(
            promise_id=f"bench_wait.{one}:1",
            callback="answer",
            audience="machine",
            subject="",
            outcomes=("succeeded", "failed"),
            expires_at=int(time.time()) + 3600,
        )
        return self._signer.mint(claims)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(run_program(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

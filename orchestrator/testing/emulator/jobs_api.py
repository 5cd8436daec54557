"""A Databricks workspace on loopback: the part of the Jobs API that the real databricks-sdk needs to run jobs.

    countersign emulator --port 0 --job 1=notebook --job 2=hold

prints its address as the first line and serves until SIGTERM. In a test, write
`with Emulator(jobs={1: Job()}) as emulator:` and use `emulator.url`, `emulator.token` and the methods of
`emulator.workspace`. Another process can do the same over HTTP, with JSON:

    GET    /emulator/state            every run and request; runs created and asked for per token; cancels per run
    PUT    /emulator/jobs/{job_id}    add or change a job: the fields of `Job`; DELETE deletes it
    POST   /emulator/runs/{run_id}    move a run, or the run of a task, without a process: {"life_cycle_state",
                                      "result_state", "message", "output", "error"}
    POST   /emulator/faults           make requests fail: the fields of `Fault`; DELETE removes all faults

It is as strict as Databricks where the behaviour of Databricks is known: idempotency tokens, undeclared parameters,
bearer tokens, error shapes. It refuses fields that it does not know. Databricks would ignore them, and a mistake would
pass unnoticed here. Where the documentation is silent, the text of an error beyond its code is a guess. With a state
file, runs outlive the emulator, but their processes do not: those runs come back as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.testing.emulator.administration import administration
from orchestrator.testing.emulator.refusals import ApiError, flag, number
from orchestrator.testing.emulator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request

    from orchestrator.testing.emulator.definitions import Job
    from orchestrator.testing.emulator.faults import Fault


def create_app(workspace: Workspace, token: str) -> Starlette:
    """Return the workspace over HTTP, for clients that present this bearer token."""

    def get(query: dict[str, Any]) -> dict[str, Any]:
        history = flag(query, "include_history")
        return workspace.get(number(query, "run_id"), include_history=history, page_token=query.get("page_token"))

    async def discovery(_: Request) -> Response:
        return JSONResponse({"error_code": "ENDPOINT_NOT_FOUND", "message": "No API found for this path"}, 404)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(workspace.stop)

    reads = {
        "runs/get": get,
        "runs/get-output": lambda query: workspace.get_output(number(query, "run_id")),
        "runs/list": workspace.list,
    }
    acts = {
        "run-now": workspace.run_now,
        "runs/cancel": workspace.cancel,
        "runs/delete": workspace.delete,
        "runs/repair": workspace.repair,
    }
    calls = [*((path, "GET", act) for path, act in reads.items()), *((path, "POST", act) for path, act in acts.items())]
    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/.well-known/databricks-config", discovery),
            *(
                Route(f"/api/2.2/jobs/{path}", _endpoint(workspace, token, path, act), methods=[method])
                for path, method, act in calls
            ),
            *administration(workspace),
        ],
    )


def _endpoint(
    workspace: Workspace, token: str, path: str, act: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request, fault: Fault | None, seen: dict[str, Any]) -> Response:
        try:
            _authorised(request, token)

            if fault is not None and fault.kind == "status":
                raise ApiError(fault.status, fault.error_code, fault.message, fault.retry_after)  # noqa: TRY301

            body = _parsed(await request.body()) if request.method == "POST" else dict(request.query_params)
            seen |= {name: body[name] for name in ("idempotency_token", "job_id", "run_id") if name in body}
            return JSONResponse(await run_in_threadpool(act, body))
        except ApiError as error:
            return JSONResponse(error.body, error.status, headers=error.headers)

    async def endpoint(request: Request) -> Response:
        await request.body()
        fault = workspace.fault(path)
        kind = fault.kind if fault else None
        seen: dict[str, Any] = {"path": path, "answer": None, "fault": kind}
        workspace.requests.append(seen)

        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)

        response = Response()

        if kind != "refused":
            response = await respond(request, fault, seen)
            seen["answer"] = response.status_code

        # Starlette needs a response, but nobody receives this one.
        if kind in {"lost", "refused"}:
            request.state.transport.abort()
            return response

        if fault is not None and kind == "status" and fault.body is not None:
            return PlainTextResponse(fault.body, fault.status)

        return PlainTextResponse(fault.message) if fault is not None and kind == "garbage" else response

    return endpoint


class Emulator:
    """A workspace that serves on loopback from a thread of this process, between `start` and `stop`."""

    def __init__(
        self,
        *,
        jobs: Mapping[int, Job] | None = None,
        token: str = "emulator-token",  # noqa: S107 - opens nothing but this emulator
        port: int = 0,
        startup: float = 0.0,
        state: Path | None = None,
    ) -> None:
        self.token = token
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.workspace = Workspace(jobs or {}, startup=startup, state=state, url=self.url)
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(self.workspace, token),
                http=_Abortable,
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self.serve, name="databricks-emulator", daemon=True)

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT (in the main thread) or `stop`."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Self:
        """Serve from a thread. The socket is listening already, so a client can connect at once."""
        self._thread.start()
        return self

    def end(self) -> None:
        """Make `serve` return, now or as soon as it is called. It kills the notebooks that still run first."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Stop serving, and kill the notebooks that still run."""
        self.end()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Abortable(H11Protocol):
    """Lets an endpoint close its connection without a response."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _authorised(request: Request, token: str) -> None:
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")

    if scheme != "Bearer":
        message = "Credential was not sent or was of an unsupported type for this API."
        raise ApiError(401, "401", message)

    if not secrets.compare_digest(presented.encode(), token.encode()):
        raise ApiError(403, "403", "Invalid access token.")


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None

    if not isinstance(body, dict):
        raise ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: expected an object")

    return body

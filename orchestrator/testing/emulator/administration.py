"""What another process does with a workspace over HTTP: look at it, change its jobs, move its runs, make calls fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orchestrator.testing.emulator.definitions import read_job
from orchestrator.testing.emulator.faults import Fault

if TYPE_CHECKING:
    from starlette.requests import Request

    from orchestrator.testing.emulator.workspace import Workspace


def administration(workspace: Workspace) -> list[Route]:
    """Return the routes below /emulator."""

    async def state(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(workspace.describe))

    async def put_job(request: Request) -> Response:
        workspace.add_job(request.path_params["job_id"], read_job(await request.json()))
        return Response(status_code=204)

    async def delete_job(request: Request) -> Response:
        workspace.remove_job(request.path_params["job_id"])
        return Response(status_code=204)

    async def move_run(request: Request) -> Response:
        moved = await request.json()
        await run_in_threadpool(lambda: workspace.move(request.path_params["run_id"], **moved))
        return Response(status_code=204)

    async def add_fault(request: Request) -> Response:
        workspace.fail_next(Fault(**await request.json()))
        return Response(status_code=204)

    async def no_faults(_: Request) -> Response:
        workspace.heal()
        return Response(status_code=204)

    return [
        Route("/emulator/state", state),
        Route("/emulator/jobs/{job_id:int}", put_job, methods=["PUT"]),
        Route("/emulator/jobs/{job_id:int}", delete_job, methods=["DELETE"]),
        Route("/emulator/runs/{run_id:int}", move_run, methods=["POST"]),
        Route("/emulator/faults", add_fault, methods=["POST"]),
        Route("/emulator/faults", no_faults, methods=["DELETE"]),
    ]

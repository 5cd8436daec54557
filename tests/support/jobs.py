"""A workflow that runs a job as its request says, and what tests ask about it in a trial."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, WorkflowExpired, WorkflowFailed, run_job, workflow
from orchestrator.callbacks.later_answers import read_later
from orchestrator.databricks.hints import request_poll

if TYPE_CHECKING:
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.engine import Engine
    from orchestrator.testing import Run, Trial

LOAD = 7


class Night(BaseModel):
    """How the job is answered."""

    answer: str
    attempts: int = 1
    deadline: float = 600
    watch_interval: float = 60
    output_of: str | None = None


@workflow()
async def night(ctx: Context, request: Night) -> Any:
    """Run a job and say all that it returned."""
    job = await run_job(
        ctx,
        "load",
        LOAD,
        parameters={"day": "monday"},
        answer=request.answer,  # type: ignore[arg-type]
        attempts=request.attempts,
        deadline=request.deadline,
        watch_interval=request.watch_interval,
        output_of=request.output_of,
    )

    return [job.result, job.attempt, job.answered_by, job.note]


async def failed(run: Run, kind: type[WorkflowFailed | WorkflowExpired] = WorkflowFailed) -> dict[str, Any]:
    with pytest.raises(kind) as raised:
        await run.result()

    return raised.value.error


async def kept(trial: Trial, run: Run, place: str = "1.1") -> Outcome | None:
    """Return the answer that came after the one that counts."""

    async def act(engine: Engine) -> Outcome | None:
        return await read_later(engine.promises, await engine.promises.get(f"{run.root_id}:{place}"))

    return await trial._world.do(act)


async def hint(trial: Trial, run_id: int) -> None:
    await trial._world.do(lambda engine: request_poll(engine, run_id, group="default"))
    await trial.advance(timedelta(0))


MINUTE = timedelta(minutes=1)

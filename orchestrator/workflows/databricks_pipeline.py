"""A workflow that runs a Databricks job, and says by mail how it ended.

It is `run_job` and a mail. Only the numbers of its steps are special: the job's steps are the workflow's own, as they
were when this workflow was all there was, so that pipelines that are open go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.databricks.order import JobOrder
from orchestrator.databricks.run_job import run_job_inline
from orchestrator.errors import WorkflowEnded
from orchestrator.mail.end_notice import notify_end
from orchestrator.mail.mailer import EmailAddress  # noqa: TC001 - pydantic looks it up at run time
from orchestrator.runs.cancel_record import cancel_requested
from orchestrator.runs.definition import workflow

if TYPE_CHECKING:
    from orchestrator.durable.context import Context


class PipelineRequest(JobOrder):
    """What to run and how long to wait for it; times in seconds, `deadline` for each attempt."""

    notify: EmailAddress | None = None


@workflow()
async def databricks_pipeline(ctx: Context, request: PipelineRequest) -> dict[str, Any]:
    """Run a Databricks job and wait for its answer. However the pipeline ends, `notify` gets a mail."""
    ctx = ctx.shielded

    try:
        job = await run_job_inline(ctx, "run", request)
    except WorkflowEnded as end:
        outcome, run_id = end.error.get("outcome", end.state), end.error.get("run_id")
        await notify_end(ctx, request.notify, str(outcome), run_id, str(end.error["message"]))
        raise
    except Exception:
        # Its text may quote anything: the log and the workflow's error name its type and place.
        ended_as = "cancelled" if await ctx.run(cancel_requested) else "failed"
        await notify_end(ctx, request.notify, ended_as, None, "see the workflow's error")
        raise

    await notify_end(ctx, request.notify, "succeeded", job.run_id)

    result = {"run_id": job.run_id, "outcome": "succeeded", "result": job.result}

    return result if job.note is None else result | {"note": job.note}

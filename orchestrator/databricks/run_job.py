"""`run_job`: a Databricks job as one step of a workflow.

The step is a part of the workflow's own code, whose steps have numbers of their own. So several jobs may run at once,
and in which order their runs end changes nothing in the workflow's record.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError
from resonate.error import PlatformError, Suspended
from resonate_base import ConnectorError

from orchestrator.callbacks.outcomes import body_of
from orchestrator.databricks.attempts import Attempts
from orchestrator.databricks.order import JobOrder
from orchestrator.durable.context import Context, context_of
from orchestrator.durable.steps import kind_of
from orchestrator.errors import EngineUnavailable, JobCancelled, JobExpired, JobFailed, Misused
from orchestrator.sdk_internals import id_of, task_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from resonate.context import Context as SDKContext
    from resonate.context import ResonateFuture

    from orchestrator.databricks.order import Answer

#: The part has no deadline of its own; the SDK caps this at the deadline of the workflow.
_UNLIMITED: Final = timedelta(days=36_500)

#: A callback's name has 64 characters at most, and the number of the attempt is added.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,60}", re.ASCII)

_ENDS: Final[Mapping[str, type[JobFailed]]] = {"expired": JobExpired, "cancelled": JobCancelled}


@dataclass(frozen=True)
class JobResult:
    """What a job returned. `run_id` is the Databricks run, and `attempt` its number, the first being 1.

    `answered_by` says whose word it is: that of the signed `callback`, of the `run` as the Jobs API shows it, or of an
    `operator` who answered by hand. `note` says what there is to say about a success that the run shows: which tasks
    did not succeed, or why there is no output.
    """

    run_id: int | None
    result: Any
    attempt: int
    answered_by: Literal["callback", "run", "operator"]
    note: str | None = None


def run_job(  # noqa: PLR0913 - each with a default that is right for a job
    ctx: SDKContext,
    name: str,
    job_id: int,
    *,
    parameters: Mapping[str, str] | None = None,
    deadline: timedelta | float = timedelta(days=1),
    watch_interval: timedelta | float = timedelta(seconds=60),
    attempts: int = 1,
    answer: Answer = "callback",
    output_of: str | None = None,
) -> Coroutine[Any, Any, JobResult]:
    """Run a Databricks job as a step of this workflow, and return what it returned.

    There is one run per attempt, whatever crashes. It is cancelled at the `deadline`, which is that of each attempt,
    when the workflow is cancelled, and when the workflow ends without having awaited this. A further attempt is made
    after a failure and after a run that died, at most `attempts` in all, with a pause before it that grows from a
    second to ten minutes. Times are timedeltas, or numbers of seconds. Several jobs may be awaited together under
    `asyncio.gather`, also under the same name.

    `answer` says whose word counts. With "callback" the job gets a link in the parameter `callback_url`, and a run that
    ends without using it has died. With "run" no parameter is added and no link exists: the run's end as the Jobs API
    shows it is the answer, and the result is what a notebook gave to `dbutils.notebook.exit`, as JSON where it is JSON,
    else as text, None where there is none. With "either" the first of both counts. Of a job with several tasks it is
    the exit value of the last one that gave any, or of the task whose key `output_of` names.

    The run is asked about every `watch_interval`, and at once where Databricks' notifications hint at its end. Whether
    a cancelled run has stopped is not waited for.

    Raises:
        JobFailed: no attempt succeeded.
        Misused: an argument is of another type or out of range; nothing is recorded.
    """
    flow = context_of(ctx, "run_job")
    order = _order_of(
        name,
        job_id=job_id,
        parameters={} if parameters is None else parameters,
        deadline=_seconds(deadline),
        watch_interval=_seconds(watch_interval),
        attempts=attempts,
        answer=answer,
    )

    if output_of is not None and answer == "callback":
        raise Misused(f"the job {name} is answered by its callback, so output_of has no meaning: set answer, too")

    return flow.calls.must_await(_ended(flow, name, order, output_of), "run_job(ctx, ...)")


async def _ended(flow: Context, name: str, order: JobOrder, output_of: str | None) -> JobResult:
    begun: list[Attempts] = []

    async def part(inner: SDKContext) -> dict[str, Any]:
        begun.append(Attempts(Context.over(inner), name, order, output_of=output_of))

        return await begun[-1].ended()

    unlimited = flow.options(timeout=_UNLIMITED)
    future = unlimited.run_part(name, part, tags={})
    flow.at_end(partial(_stop_unless_over, flow, begun, future), about=id_of(future))
    end = await future

    if end.get("by") == "workflow":
        # The workflow did not know this when it stopped the job, so in a replay all else comes first.
        await flow.under_way.nothing_else()

    return read_end(end)


async def run_job_inline(ctx: Context, name: str, order: JobOrder) -> JobResult:
    """Run a job as `run_job` does, with its steps among the workflow's own; so nothing else may run beside it.

    Raises:
        JobFailed: no attempt succeeded.
    """
    return read_end(await Attempts(ctx, name, order).ended())


def read_end(end: Mapping[str, Any]) -> JobResult:
    """Return the result of a job that ended like this.

    Raises:
        JobFailed: it did not succeed.
    """
    if end["outcome"] == "succeeded":
        return JobResult(end["run_id"], end["result"], end["attempt"], _answered_by(end["by"]), end.get("note"))

    raise _ENDS.get(end["outcome"], JobFailed)(
        end["message"], outcome=end["outcome"], run_id=end["run_id"], details=end.get("details")
    )


def _answered_by(by: str) -> Literal["callback", "run", "operator"]:
    match by:
        case "watcher":
            return "run"
        case "operator":
            return "operator"
        case _:
            return "callback"


async def _stop_unless_over(flow: Context, begun: list[Attempts], future: ResonateFuture[Any]) -> None:
    """Withdraw the wait of a job that still runs when the workflow's code has ended, and suspend until its run is over.

    Not a step: whether the job is over by now differs between replays.
    """
    task = task_of(future)
    await asyncio.wait([task])

    if not isinstance(task.exception(), Suspended):
        return

    callback = begun[-1].callback

    if callback is not None and not callback.over:
        reason = body_of("the workflow ended without this job")

        try:
            await callback.address.settle(flow, kind="cancelled", body=reason, by="workflow")
        except EngineUnavailable as error:
            # This is no step that the SDK tries again. Its signal makes it give the task back, and run it again later.
            raise PlatformError([ConnectorError(error)]) from error

    await future


def _order_of(name: object, **fields: object) -> JobOrder:
    if not isinstance(name, str):
        raise Misused(f"the name of a job is a text, not {kind_of(name)}")

    if _NAME.fullmatch(name) is None:
        raise Misused("the name of a job is 1 to 60 of A-Z a-z 0-9 . _ -")

    try:
        return JobOrder.model_validate(fields)
    except ValidationError as error:
        told = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_input=False))

        raise Misused(f"the job {name} cannot be run: {told}") from None


def _seconds(time: object) -> object:
    return time.total_seconds() if isinstance(time, timedelta) else time

"""Doing something about a wait later, such as a poll of a job or a reminder, in a small durable task of its own.

Each task may schedule the next one. So a wait can be attended to for weeks without a process of its own and without a
growing history in its workflow, and any worker that is left goes on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from resonate.retry import Exponential
from resonate.types import TaskData

from orchestrator.durable.opened_at import companion_id
from orchestrator.engine import Engine
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

#: A task that fails is tried again until it works: nobody else would notice that its wait is no longer attended to.
PERSISTENT: Final = Exponential(delay=1, factor=2, max_delay=60, max_retries=1_000_000)

_SLACK: Final = timedelta(days=1)


async def schedule(  # noqa: PLR0913 - one call, all of it named
    ctx: SDKContext,
    wait: PromiseRecord,
    suffix: str,
    *,
    function: str,
    argument: dict[str, Any],
    seconds: float,
    now: float | None = None,
) -> None:
    """Schedule a call of a registered function about this wait, `seconds` from now; for use in a step.

    `suffix` names the call among those about the wait. A second call with the same suffix schedules nothing. The call
    goes to this worker's own group, which is the group of the wait's workflow.

    Raises:
        EngineUnavailable: raised in a step, it makes the SDK try the step again.
    """
    engine = ctx.get_dependency(Engine)
    due_at = int(((engine.clock() if now is None else now) + seconds) * 1000)

    await create_task(
        engine,
        companion_id(wait, suffix),
        function=function,
        argument={**argument, "due_at": due_at},
        target=engine.own_address,
        timeout_at=max(wait.timeout_at, due_at) + int(_SLACK.total_seconds() * 1000),
        tags={TRANSIENT_TAG: "true"},
        due_at=due_at,
    )


async def when_due(ctx: SDKContext, task: dict[str, Any], step: Callable[..., Awaitable[str]], *args: Any) -> str:
    """Run the step of a scheduled call once it is due."""
    early = task["due_at"] / 1000 - ctx.get_dependency(Engine).clock()

    if early > 0:
        # This engine ignores the delay and delivers at once.
        await ctx.sleep(timedelta(seconds=early))

        return await ctx.options(retry_policy=PERSISTENT).run(step, *args)

    return await step(ctx, *args)


async def create_task(  # noqa: PLR0913 - one call, all of it named
    engine: Engine,
    promise_id: str,
    *,
    function: str,
    argument: object,
    target: str,
    timeout_at: int,
    tags: Mapping[str, str] | None = None,
    due_at: int | None = None,
    version: int = 1,
) -> PromiseRecord:
    """Create a root promise whose task runs a registered function, unless it exists, and return its record.

    Times are in milliseconds since the epoch. `due_at` asks the engine to deliver the task no earlier. One engine
    cannot do that and delivers at once, so the function must check the clock itself.

    Raises:
        EngineUnavailable: whether it exists now is unknown; repeating the call is safe.
    """
    all_tags = {**own_tags(promise_id), "resonate:target": target, **(tags or {})}

    if due_at is not None:
        all_tags["resonate:delay"] = str(min(due_at, timeout_at - 1))

    return await engine.promises.create(
        promise_id,
        timeout_at=timeout_at,
        param=TaskData(func=function, args=(argument,), version=version),
        tags=all_tags,
    )


def own_tags(promise_id: str) -> dict[str, str]:
    """Return the tags that make a promise a root."""
    return {
        "resonate:origin": promise_id,
        "resonate:branch": promise_id,
        "resonate:parent": promise_id,
        "resonate:scope": "global",
    }

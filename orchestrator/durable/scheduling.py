"""Something to be done later about a wait, as a small durable task of its own: a look at a job, a reminder.

Each task may arrange the next one. So attending to a wait for weeks costs no process and no growing history in its
workflow, and goes on wherever a worker is left.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from resonate.retry import Exponential

from orchestrator.callbacks.opened_at import companion_id
from orchestrator.engine import Engine
from orchestrator.runs.roots import TRANSIENT_TAG, create_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

#: A task that breaks is tried again until it works: nobody else would notice that a wait is not attended to any more.
PERSISTENT: Final = Exponential(delay=1, factor=2, max_delay=60, max_retries=1_000_000)

_SLACK: Final = timedelta(days=1)


async def arrange(  # noqa: PLR0913 - one call, all of it named
    ctx: SDKContext,
    wait: PromiseRecord,
    suffix: str,
    *,
    function: str,
    argument: dict[str, Any],
    seconds: float,
    now: float | None = None,
) -> None:
    """Arrange a call of a registered function, so many seconds from now, about this wait; for a step.

    `suffix` names the call among those about the wait: the same again arranges nothing more.

    Raises:
        EngineUnavailable: raised in a step, it lets the step be tried again.
    """
    engine = ctx.get_dependency(Engine)
    due_at = int(((time.time() if now is None else now) + seconds) * 1000)

    await create_task(
        engine,
        companion_id(wait, suffix),
        function=function,
        argument={**argument, "due_at": due_at},
        target=wait.tags["resonate:target"],
        timeout_at=max(wait.timeout_at, due_at) + int(_SLACK.total_seconds() * 1000),
        tags={TRANSIENT_TAG: "true"},
        due_at=due_at,
    )


async def when_due(ctx: SDKContext, task: dict[str, Any], step: Callable[..., Awaitable[str]], *args: Any) -> str:
    """Run the step of an arranged call, when it is due."""
    early = task["due_at"] / 1000 - time.time()

    if early > 0:
        # An engine that delivers at once, whatever was asked for.
        await ctx.sleep(timedelta(seconds=early))

        return await ctx.options(retry_policy=PERSISTENT).run(step, *args)

    return await step(ctx, *args)

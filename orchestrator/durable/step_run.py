"""One run of a step: its tries, what it returns, and its end by a cancel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.durable.fixed_signature import FixedSignature
from orchestrator.durable.step_traces import traced_step
from orchestrator.durable.steps import awaitable
from orchestrator.durable.tries import try_step
from orchestrator.errors import CodeChanged, WorkflowCancelled
from orchestrator.sdk_internals import keep_as_workflow, sleeper_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resonate.context import Context as SDKContext
    from resonate.retry import RetryPolicy

    from orchestrator.durable.call_context import CallContext
    from orchestrator.durable.steps import Step


class StepRun:
    """A step with its arguments, as the function that the SDK calls.

    `over` returns the context that the step gets; `pace` is how the SDK's options say that it is tried again.
    """

    # The SDK reads it for each call, and would otherwise work it out each time.
    __signature__ = FixedSignature.of("ctx")

    def __init__(  # noqa: PLR0913 - what a call of a step is of
        self,
        step: Step[..., Any],
        pace: RetryPolicy | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        over: Callable[[SDKContext], CallContext],
        shielded: bool,
    ) -> None:
        self.__name__ = step.name
        self._step = step
        self._policy = step.policy if pace is None else replace(step.policy, pace=pace)
        self._args = args
        self._kwargs = kwargs
        self._over = over
        self._shielded = shielded

    async def __call__(self, ctx: SDKContext) -> Any:
        """Run the step until it has succeeded or is given up, and return its result."""
        inner = self._over(ctx)

        if not self._step.stored:
            name = self._step.name
            inner.under_way.forbid(f"the step {name} has stored=False, so it can run no steps and open no waits")

        async def call() -> Any:
            result = await awaitable(self._step.name, self._step.body(inner, *self._args, **self._kwargs))

            if inner.changed is not None:
                # The step's own code may have caught the error.
                raise CodeChanged(inner.changed)

            inner.calls.check_awaited()

            if self._step.stored:
                inner.check_result(self._step, result)

            return result

        step = self._step

        async def tries() -> Any:
            return await try_step(inner, step.name, self._policy, step.body, call, recorded=step.stored, pause=pause)

        async def pause(seconds: float) -> None:
            await inner.interrupts.pause(inner.info.id, sleeper_of(inner)(seconds))

        try:
            with traced_step(inner, step.name):
                return await inner.interrupts.step(inner.info.id, tries, shielded=self._shielded or not step.stored)

        except WorkflowCancelled:
            # The SDK would try it again.
            keep_as_workflow(inner)
            raise

"""What workflow code gets as `ctx`: the SDK's context, with names for steps and waits that end at their deadline."""

from __future__ import annotations

import copy
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast, override

from resonate.context import Context as SDKContext
from resonate.error import Suspended

from orchestrator.durable.call_context import CallContext
from orchestrator.durable.effects import AskedStep, AskedWait, asked_step, asked_wait, shielding
from orchestrator.durable.group_steps import check_group_step
from orchestrator.durable.opened_at import MARK
from orchestrator.durable.step_run import StepRun
from orchestrator.durable.steps import as_step, kind_of
from orchestrator.durable.storable import check_storable
from orchestrator.engine import Engine
from orchestrator.errors import CodeChanged, Misused
from orchestrator.sdk_internals import id_of, unrecorded
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resonate.context import ResonateFuture

    from orchestrator.durable.group_steps import GroupStep
    from orchestrator.durable.steps import Step


class Context(CallContext):
    """What a workflow and its steps get as `ctx`: the SDK's context, with named steps and waits that end in time.

    A workflow uses `run` for a step, `call` for a step of another worker group, `sleep`, and `shielded` for what a
    cancel must not end. A step uses `get_dependency(Type)`, and `info.id` as an idempotency key: it is the same in each
    try and after each crash, and no other step of any workflow that the engine holds has it.
    """

    _is_shielded = False

    @property
    def shielded(self) -> Self:
        """This context, for steps that a cancel must not end, and for sleeps that it may cut short without a word.

        Use it for a step whose effect must be known afterwards. A cancel waits for the step to end, retries included.
        """
        new = copy.copy(self)
        new._is_shielded = True  # noqa: SLF001 - of the same class

        return new

    @override
    def options(self, *, timeout: timedelta | None = None, **others: Any) -> Self:
        """Return this context with other options of the SDK for what it begins.

        Raises:
            Misused: the timeout is no timedelta.
        """
        if not isinstance(timeout, timedelta | None):
            raise Misused(f"the timeout of ctx.options is a timedelta, not {kind_of(timeout)}")

        return cast("Self", super().options(timeout=timeout, **others))

    def run(self, fn: Any, *args: Any, **kwargs: Any) -> ResonateFuture[Any]:
        """Run a step and store its result. A replay gets the stored result.

        A crash before the result is stored repeats the step. A step that raises is tried again, as its `@step` says or,
        for a plain async function, with the defaults; the workflow then sees `StepFailed`.

        Raises:
            Misused: this is not a step, or it does not take these arguments; nothing is recorded.
        """
        self._check_may_begin()
        step = as_step(fn)
        step.check_arguments(*args, **kwargs)
        attempt = StepRun(step, self.opts.retry_policy, args, kwargs, over=Context.over, shielded=self._is_shielded)

        if not step.stored:
            if self._watchful.by_part:
                self._keep_place()

            future = unrecorded(self, step.name, attempt)

            return self._noted("run", step.name, future, recorded=False)

        mark = asked_step.set(AskedStep(name=step.name, any_record=step.any_record))

        try:
            future = super().run(attempt)
        finally:
            asked_step.reset(mark)

        return self._noted("run", step.name, future, partial(self._read_result, step))

    def _read_result(self, step: Step[..., Any], value: Any) -> Any:
        try:
            return step.read_result(value)
        except Misused as error:
            # It did fit when it was stored.
            self._watchful.changed.append(str(error))

            raise CodeChanged(str(error)) from None

    def call[**Parameters, Result](
        self, step: GroupStep[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> ResonateFuture[Result]:
        """Run a step in the worker group it belongs to, and store its result as plain JSON.

        The step runs at least once. While no worker of the group runs, the workflow is suspended and holds nothing.

        Raises:
            Misused: this is no group step, or it does not take these arguments; nothing is recorded.
            NotJson: an argument cannot be written as JSON.
        """
        check_group_step(step).check_arguments(*args, **kwargs)

        for number, value in enumerate((*args, *kwargs.values()), start=1):
            check_storable(value, f"argument {number} of {step.name}")

        future = self.options(target=step.group).rpc(step.name, *args, **kwargs)

        return self._noted("call", step.name, future, is_step=False)

    def run_part(
        self, name: str, part: Callable[[SDKContext], Awaitable[Any]], *, tags: Mapping[str, str]
    ) -> ResonateFuture[Any]:
        """Run a part of the workflow's own code, which must begin with a step, as a step of this name with these tags.

        Like the workflow itself it is not tried again, but replayed until it ends, and a wait that it has opened and
        not awaited is withdrawn then. Its steps are numbered by themselves, so several parts may run at once.
        """
        self._check_may_begin()

        async def fitting(ctx: SDKContext) -> Any:
            inner = Context.over(ctx)

            try:
                result = await _with_its_end(inner, part(inner))
            except CodeChanged:
                raise Suspended from None

            if inner.changed is not None:
                raise Suspended

            return result

        mark = asked_step.set(AskedStep(name=name, tags=tags))

        try:
            return self._watched(super().run(fitting))
        finally:
            asked_step.reset(mark)

    def sleep(self, duration: timedelta) -> ResonateFuture[None]:
        """Suspend the workflow for this long. It holds nothing in the meantime.

        A cancel of the workflow ends it early, with `WorkflowCancelled`. The end of the workflow's code ends it too.

        Raises:
            Misused: this is no timedelta.
        """
        self._check_may_begin()

        if not isinstance(duration, timedelta):
            raise Misused(f"ctx.sleep takes a timedelta, such as timedelta(seconds=5), not {kind_of(duration)}")

        mark = shielding.set(self._is_shielded)

        try:
            future = super().sleep(duration)
        finally:
            shielding.reset(mark)

        return self._watched(future, awaited=self.calls.sleep_begun(id_of(future)))

    def wait(
        self,
        name: str,
        *,
        deadline: timedelta,
        holding: Callable[[str], object] | None = None,
        noted: Mapping[str, str] | None = None,
    ) -> ResonateFuture[Any]:
        """Open a promise for somebody outside to settle, and return the future of its value: None after the deadline.

        `holding` takes the promise's id and returns what its record keeps; `noted` are further tags of it. The first
        call decides this permanently.
        """
        # It shares the branch of the workflow, so that a resumed workflow gets it with its task and need not ask again.
        tags = {"resonate:branch": self.info.branch_id, CALLBACK_TAG: name, **MARK, **(noted or {})}
        engine = self.get_dependency(Engine)
        asked = AskedWait(engine=engine, tags=tags, holding=holding, latest=self.info.timeout_at)
        mark = asked_wait.set(asked)

        try:
            return self.promise(deadline)
        finally:
            asked_wait.reset(mark)

    def promise(self, timeout: timedelta | None = None) -> ResonateFuture[Any]:
        """Open a promise for somebody who can write to the engine; a callback needs `open_callback`.

        Raises:
            Misused: the timeout is no timedelta.
        """
        self._check_may_begin()

        if not isinstance(timeout, timedelta | None):
            raise Misused(f"the timeout of ctx.promise is a timedelta, not {kind_of(timeout)}")

        return self._watched(super().promise(timeout))

    def rpc(self, fn: Any, *args: Any, **kwargs: Any) -> ResonateFuture[Any]:
        """Call a registered function by its name."""
        self._check_may_begin()

        return self._watched(super().rpc(fn, *args, **kwargs))


async def _with_its_end(ctx: Context, part: Awaitable[Any]) -> Any:
    try:
        result = await part
    except CodeChanged:
        raise
    except Exception:
        await ctx.run_end_actions()
        raise

    await ctx.run_end_actions()

    return result


def context_of(ctx: SDKContext, function: str) -> Context:
    """Return what was given to this function of ours as `ctx`.

    Raises:
        Misused: it is something else.
    """
    if not isinstance(ctx, SDKContext):
        raise Misused(f"{function} takes ctx as its first argument, not {kind_of(ctx)}")

    return Context.over(ctx)

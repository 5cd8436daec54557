"""What workflow code gets as `ctx`: the SDK's context, with names for steps and waits that end at their deadline.

Long because a step, a sleep and a wait are begun by the methods of one class, which the SDK gives.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, cast, override

from resonate.context import Context as SDKContext
from resonate.error import Suspended
from resonate.ids import join_id
from resonate.types import PromiseCreateReq, Value

from orchestrator.durable.calls import Calls, Place, place_of_call, shown
from orchestrator.durable.effects import AskedStep, AskedWait, Ended, WatchfulEffects, asked_step, asked_wait, shielding
from orchestrator.durable.fixed_signature import FixedSignature
from orchestrator.durable.group_steps import check_group_step
from orchestrator.durable.interrupts import Interrupts
from orchestrator.durable.keeping import kept_until_over
from orchestrator.durable.opened_at import MARK
from orchestrator.durable.parts import Parts, order_of
from orchestrator.durable.step_traces import traced_step
from orchestrator.durable.steps import as_step, awaitable, kind_of
from orchestrator.durable.storable import check_storable
from orchestrator.durable.tries import try_step
from orchestrator.durable.under_way import LATE, TURNS, UnderWay
from orchestrator.engine import Engine
from orchestrator.errors import CodeChanged, Misused, WorkflowCancelled
from orchestrator.sdk_internals import (
    PlacedContext,
    asked_of,
    await_only,
    effects_of,
    forget_suspended,
    id_of,
    keep_as_workflow,
    no_longer_awaited,
    replace_effects,
    sleeper_of,
    state_of,
    task_of,
    unrecorded,
    watched,
)
from orchestrator.stored_names import CALLBACK_TAG, PLACE_TAG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from resonate.context import ResonateFuture
    from resonate.retry import RetryPolicy
    from resonate.types import Info, PromiseRecord

    from orchestrator.durable.group_steps import GroupStep
    from orchestrator.durable.steps import Step

#: What the code that runs here may begin steps and waits with.
_running: ContextVar[WatchfulEffects | None] = ContextVar("countersign_running", default=None)

#: The function call, a workflow's or a step's, whose code runs here.
_calling: ContextVar[UnderWay | None] = ContextVar("countersign_calling", default=None)

_ANOTHER_CALL: Final = (
    "this is the ctx of another step, or of the workflow around it: use the ctx that the function itself was given"
)
_AWAITED_ELSEWHERE: Final = "a step awaits a wait of its workflow: await it in the workflow's own code"


class Context(PlacedContext):
    """What a workflow and its steps get as `ctx`: the SDK's context, with named steps and waits that end in time.

    A workflow uses `run` for a step, `call` for a step of another worker group, `sleep`, and `shielded` for what a
    cancel must not end. A step uses `get_dependency(Type)`, and `info.id` as an idempotency key: it is the same in each
    try and after each crash, and no other step of any workflow that the engine holds has it.
    """

    @classmethod
    def over(cls, ctx: SDKContext) -> Self:
        """Return a context of this class with the state of `ctx`, or `ctx` itself if it is one."""
        if isinstance(ctx, cls):
            return ctx

        effects = effects_of(ctx)

        if not isinstance(effects, WatchfulEffects):
            interrupts = Interrupts(ctx.get_dependency(Engine).process_time.seconds)
            watchful = WatchfulEffects(effects, interrupts)
            replace_effects(ctx, watchful)
            _running.set(watchful)

        new = cls(state_of(ctx), ctx.opts)
        _calling.set(new.under_way)

        return new

    def __init__(self, state: Any, opts: Any) -> None:
        super().__init__(state, opts)
        self._watchful: Final = cast("WatchfulEffects", effects_of(self))
        #: What of this workflow runs in this process.
        self.interrupts: Final = self._watchful.interrupts
        self._is_shielded = False
        # A context with other options is a shallow copy, so it shares these.
        self._at_end: Final[list[tuple[tuple[int, ...], int, Callable[[], Awaitable[None]]]]] = []
        self._added: Final = itertools.count()
        self.calls: Final = Calls()
        #: The id of each sleep, and where it was begun, None once it was awaited.
        self._sleeps: Final[dict[str, Place | None]] = {}
        self.under_way: Final = UnderWay()
        self._parts: Final = Parts()

    def number_by_part(self) -> None:
        """Number what parts of this workflow's code begin at once by themselves. Runs of earlier releases were not."""
        self._watchful.by_part = True

    @override
    def placed(self) -> str:
        """Return the id of what the current task begins; see `parts`."""
        return self._parts.place(self.following) if self._watchful.by_part else self.following()

    def at_end(self, action: Callable[[], Awaitable[None]], *, about: str = "") -> None:
        """Run `action`, in workflow code, when the workflow ends, after the actions that were added before it.

        `about` is the promise id of the step or wait that it is about. Parts that run at once add their actions in any
        order, so these run in the order of what they are about, after those that are about none.
        """
        place = order_of(about) if self._watchful.by_part else ()
        heapq.heappush(self._at_end, (place, next(self._added), action))

    async def run_end_actions(self) -> None:
        """Run the actions that `at_end` added, and let go of the sleeps that are not over."""
        self.under_way.is_ending = True

        while self._at_end:
            await heapq.heappop(self._at_end)[-1]()

        if self._sleeps:
            await self.flush_local_work()

            for each in self._sleeps:
                no_longer_awaited(self, each)

    def end(self) -> None:
        """Let go of what refers back to this, so that no cycle is left for the garbage collector."""
        self._at_end.clear()
        self.calls.end()
        self.under_way.forbid(LATE)
        forget_suspended(self)

    @override
    async def flush_local_work(self) -> None:
        """Wait until what this function call has begun in this process is over or suspended."""
        forget_suspended(self)
        await super().flush_local_work()

    @cached_property
    @override
    def info(self) -> Info:
        """What this function call is: its ids, its deadline. None of it changes."""
        return super().info

    @property
    def shielded(self) -> Self:
        """This context, for steps that a cancel must not end, and for sleeps that it may cut short without a word.

        Use it for a step whose effect must be known afterwards. A cancel waits for the step to end, retries included.
        """
        new = copy.copy(self)
        new._is_shielded = True  # noqa: SLF001 - of the same class

        return new

    @property
    def cancel_seen(self) -> bool:
        """Whether something that the workflow awaited was ended by a cancel, of the workflow or of that alone."""
        return self._watchful.cancel_seen

    def note_cancel(self) -> None:
        """Take note that the workflow's code knows of its cancel."""
        self._watchful.cancel_seen = self.interrupts.told = True

    @property
    def tampered(self) -> str | None:
        """The id of the first promise seen that does not hold what was written there, None if all do."""
        return next(iter(self._watchful.tampered), None)

    @property
    def changed(self) -> str | None:
        """How the record differs from what the code asked for first, None if it does not."""
        return next(iter(self._watchful.changed), None)

    async def sleep_aside(self, until: int) -> NoReturn:
        """Suspend the workflow until this time, in milliseconds since the epoch, and for nothing else.

        The sleep takes no place among the workflow's steps. Whatever is running is awaited first.
        """
        await self.flush_local_work()
        promise_id = aside_id(self.info.id, until)
        tags = {
            "resonate:scope": "global",
            "resonate:target": self.get_dependency(Engine).own_address,
            "resonate:branch": promise_id,
            "resonate:parent": self.info.id,
            "resonate:origin": self.info.origin_id,
            "resonate:timer": "true",
        }
        timeout_at = min(until, self.info.timeout_at)
        await self._watchful.create_promise(
            PromiseCreateReq(id=promise_id, timeout_at=timeout_at, param=Value(), tags=tags)
        )
        await_only(self, promise_id)

        raise Suspended

    @override
    def options(self, *, timeout: timedelta | None = None, **others: Any) -> Self:
        """Return this context with other options of the SDK for what it begins.

        Raises:
            Misused: the timeout is no timedelta.
        """
        if not isinstance(timeout, timedelta | None):
            raise Misused(f"the timeout of ctx.options is a timedelta, not {kind_of(timeout)}")

        return cast("Self", super().options(timeout=timeout, **others))

    async def await_nothing(self) -> None:
        """Let the workflow end although it has begun waits that are open. Whatever is running is awaited first."""
        await self.flush_local_work()
        await_only(self, None)

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
        attempt = _Attempt(step, self.opts.retry_policy, args, kwargs, shielded=self._is_shielded)

        if not step.stored:
            place = self._parts.place_unrecorded(self.following) if self._watchful.by_part else None
            future = unrecorded(self, step.name, attempt if place is None else partial(self._placing, place, attempt))

            return self._noted("run", step.name, future, recorded=False)

        mark = asked_step.set(AskedStep(name=step.name, any_record=step.any_record))

        try:
            future = super().run(attempt)
        finally:
            asked_step.reset(mark)

        return self._noted("run", step.name, future, partial(self._read_result, step))

    async def _placing(self, place: str, attempt: _Attempt, ctx: SDKContext) -> Any:
        """Run a step that is not recorded once the place that its part has begun with is."""
        info = self.info
        tags = {
            "resonate:scope": "local",
            "resonate:branch": info.branch_id,
            "resonate:parent": info.id,
            "resonate:origin": info.origin_id,
            PLACE_TAG: "kept",
        }
        await self._watchful.create_promise(
            PromiseCreateReq(id=place, timeout_at=info.timeout_at, param=Value(), tags=tags)
        )

        return await attempt(ctx)

    def rpc(self, fn: Any, *args: Any, **kwargs: Any) -> ResonateFuture[Any]:
        """Call a registered function by its name."""
        self._check_may_begin()

        return self._watched(super().rpc(fn, *args, **kwargs))

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

        self._sleeps[id_of(future)] = place_of_call()

        return self._watched(future, awaited=lambda: self._sleeps.update({id_of(future): None}))

    def promise(self, timeout: timedelta | None = None) -> ResonateFuture[Any]:
        """Open a promise for somebody who can write to the engine; a callback needs `open_callback`.

        Raises:
            Misused: the timeout is no timedelta.
        """
        self._check_may_begin()

        if not isinstance(timeout, timedelta | None):
            raise Misused(f"the timeout of ctx.promise is a timedelta, not {kind_of(timeout)}")

        return self._watched(super().promise(timeout))

    def _check_may_begin(self) -> None:
        """Return if the code that runs here may begin a step or a wait with this context.

        Raises:
            Misused: it may not: the context is that of another run, or the code was told to stop.
        """
        if _running.get() not in {None, self._watchful}:
            raise Misused(
                f"this is the ctx of another run, {self.info.origin_id}: use the ctx that the workflow itself was given"
            )

        if self._is_of_another_call:
            raise Misused(_ANOTHER_CALL)

        self.under_way.check()

    @property
    def _is_of_another_call(self) -> bool:
        """Whether the code that runs here belongs to another function call than this context."""
        return _calling.get() not in {None, self.under_way}

    async def _suspending(self, promise_id: str) -> PromiseRecord | None:
        """Return the record of what is awaited once it is over, None when the code is to be suspended until then."""
        if self._is_of_another_call:
            # The wait would be held until the step is over, and the step until the wait is.
            raise Misused(_AWAITED_ELSEWHERE)

        if (known := self.under_way.kept.answers.get(promise_id)) is not None:
            return known

        if promise_id in self._watchful.opened:
            engine = self.get_dependency(Engine)
            record = await kept_until_over(promise_id, engine, self.info, self.under_way, self.interrupts)

            if record is not None:
                no_longer_awaited(self, promise_id)
                answer = self.under_way.kept.answers[promise_id] = self._watchful.answered(record)

                return answer

        await self.under_way.suspending()

        return None

    def _watched(
        self,
        future: ResonateFuture[Any],
        *,
        shape: Callable[[Any], Any] | None = None,
        awaited: Callable[[], object] | None = None,
        recorded: bool = True,
        is_step: bool = False,
    ) -> ResonateFuture[Any]:
        self.under_way.add(task_of(future), asked=asked_of(future) if recorded else None)

        def ending() -> Awaitable[None] | None:
            if not self.under_way.has_parts:
                return None

            ended = self._watchful.ended.get(id_of(future), Ended())
            order = (ended.at, ended.number, order_of(id_of(future)) if recorded else ())

            if is_step:
                return self.under_way.step_over(order, recorded=ended.recorded)

            return None if self.under_way.is_alone else self.under_way.over(order)

        def is_awaited() -> None:
            if self._watchful.by_part and not self.under_way.is_alone:
                self.under_way.has_parts = True
                self._watchful.have_parts()

                if recorded:
                    self._parts.awaits(id_of(future))

            if awaited is not None:
                awaited()

        suspending = partial(self._suspending, id_of(future))

        return watched(future, shape=shape, awaited=is_awaited, suspending=suspending, ending=ending)

    def _noted(  # noqa: PLR0913 - what the future is of
        self,
        method: str,
        step: str,
        future: ResonateFuture[Any],
        shape: Callable[[Any], Any] | None = None,
        *,
        recorded: bool = True,
        is_step: bool = True,
    ) -> ResonateFuture[Any]:
        """Return the future of a step, which must be awaited, begun by this method."""
        awaited = self.calls.step_begun(method, step)

        return self._watched(future, shape=shape, awaited=awaited, recorded=recorded, is_step=is_step)

    def check_awaited(self) -> None:
        """Return if everything that this function call has started and must await was awaited.

        Raises:
            Misused: something was not, so nobody knows whether it failed; names it and the line.
        """
        forgotten = self.calls.forgotten()

        if forgotten is not None:
            raise Misused(forgotten)

    def check_slept(self) -> None:
        """Return if every sleep that this function call has started was awaited.

        Raises:
            Misused: one was not, so the code has gone on at once.
        """
        for place in self._sleeps.values():
            if place is not None:
                raise Misused(f"a sleep was started and never awaited: write await ctx.sleep(...){shown(place)}")

    async def check_finished(self) -> None:
        """Return if the workflow's code, which has returned, has finished what it began; waits may be left open.

        Raises:
            Misused: a step was not awaited, or a task of the code goes on.
        """
        self.check_awaited()
        self.under_way.end()

        if await self.under_way.goes_on():
            raise Misused(LATE)

    async def finish(self) -> bool:
        """Run the actions of the end and await what is running; return whether a task of the code still goes on."""
        await self.run_end_actions()
        was_busy = not self.under_way.idle
        await self.flush_local_work()

        return was_busy and await self.under_way.goes_on(TURNS)

    def _read_result(self, step: Step[..., Any], value: Any) -> Any:
        try:
            return step.read_result(value)
        except Misused as error:
            # It did fit when it was stored.
            self._watchful.changed.append(str(error))

            raise CodeChanged(str(error)) from None

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

    def check_result(self, step: Step[..., Any], result: object) -> None:
        """Return if the store can hold what this call of a step returned, so that a replay gets the same.

        Raises:
            NotJson, Misused: it cannot; names the step and the place.
        """
        check_storable(result, f"the result of {step.name}")
        step.check_result(result)
        self._watchful.checked.add(self.info.id)

    def opened_at(self, promise_id: str) -> int | None:
        """Return when this wait of the workflow was opened, as its record says. Await the future's `id()` first."""
        return self._watchful.opened[promise_id]

    @staticmethod
    async def first_over(futures: Sequence[ResonateFuture[Any]]) -> None:
        """Return when at least one of these waits is over; suspend the workflow until then.

        Which ones are over may differ when the workflow is replayed. Find that out in a step, and decide by its result.
        """
        tasks = [task_of(future) for future in futures]
        await asyncio.wait(tasks)
        under_way = _calling.get()

        # Each exception is retrieved, so that the loop does not report one that nobody awaits any more.
        waiting = [isinstance(task.exception(), Suspended) for task in tasks]
        answered = under_way is not None and any(id_of(future) in under_way.kept.answers for future in futures)

        if all(waiting) and not answered:
            if under_way is not None:
                # As for a single wait: whatever is known comes first.
                await under_way.suspending()

            await tasks[0]


class _Attempt:
    """A step with its arguments, as the function that the SDK calls."""

    # The SDK reads it for each call, and would otherwise work it out each time.
    __signature__ = FixedSignature.of("ctx")

    def __init__(
        self,
        step: Step[..., Any],
        pace: RetryPolicy | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        shielded: bool,
    ) -> None:
        self.__name__ = step.name
        self._step = step
        self._policy = step.policy if pace is None else replace(step.policy, pace=pace)
        self._args = args
        self._kwargs = kwargs
        self._shielded = shielded

    async def __call__(self, ctx: SDKContext) -> Any:
        inner = Context.over(ctx)

        if not self._step.stored:
            name = self._step.name
            inner.under_way.forbid(f"the step {name} has stored=False, so it can run no steps and open no waits")

        async def call() -> Any:
            result = await awaitable(self._step.name, self._step.body(inner, *self._args, **self._kwargs))

            if inner.changed is not None:
                # The step's own code may have caught the error.
                raise CodeChanged(inner.changed)

            inner.check_awaited()

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


def aside_id(workflow_id: str, until: int) -> str:
    """Return the id of the promise that `sleep_aside` waits for."""
    return join_id(workflow_id, f"until{until}")

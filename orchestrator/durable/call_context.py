"""One call of a workflow's or a step's code, as the SDK's context of it: what it has begun here, and how it ends."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Self, cast, override

from orchestrator.durable import running_code
from orchestrator.durable.calls import Calls
from orchestrator.durable.effects import Ended, WatchfulEffects
from orchestrator.durable.end_actions import EndActions
from orchestrator.durable.interrupts import Interrupts
from orchestrator.durable.keeping import kept_until_over
from orchestrator.durable.parts import Parts, order_of
from orchestrator.durable.storable import check_storable
from orchestrator.durable.turns import TURNS
from orchestrator.durable.under_way import LATE, UnderWay
from orchestrator.engine import Engine
from orchestrator.errors import Misused
from orchestrator.sdk_internals import (
    PlacedContext,
    asked_of,
    await_only,
    effects_of,
    forget_suspended,
    id_of,
    no_longer_awaited,
    replace_effects,
    state_of,
    task_of,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resonate.context import Context as SDKContext
    from resonate.context import ResonateFuture
    from resonate.types import Info, PromiseRecord

    from orchestrator.durable.steps import Step

_AWAITED_ELSEWHERE: Final = "a step awaits a wait of its workflow: await it in the workflow's own code"


class CallContext(PlacedContext):
    """The SDK's context of one function call, which knows what the call has begun and awaits, and ends it in order.

    `Context` adds what code begins steps and waits with.
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
            running_code.run_begins(watchful)

        new = cls(state_of(ctx), ctx.opts)
        running_code.call_begins(new.under_way)

        return new

    def __init__(self, state: Any, opts: Any) -> None:
        super().__init__(state, opts)
        self._watchful: Final = cast("WatchfulEffects", effects_of(self))
        #: What of this workflow runs in this process.
        self.interrupts: Final = self._watchful.interrupts
        # A context with other options is a shallow copy, so it shares these.
        self._end_actions: Final = EndActions()
        self.calls: Final = Calls()
        self.under_way: Final = UnderWay()
        self._parts: Final = Parts()

    def number_by_part(self) -> None:
        """Number what parts of this workflow's code begin at once by themselves. Runs of earlier releases were not."""
        self._watchful.by_part = True

    @override
    def placed(self) -> str:
        """Return the id of what the current task begins; see `parts`."""
        if not self._watchful.by_part:
            return self.following()

        place = self._parts.place(self.following)
        self._watchful.keep(self._parts.take_kept(), self.info)

        return place

    def _keep_place(self) -> None:
        """Have the current task number by itself what it begins from now on: it begins nothing now, but may go on."""
        self._parts.keep_place(self.following)
        self._watchful.keep(self._parts.take_kept(), self.info)

    @cached_property
    @override
    def info(self) -> Info:
        """What this function call is: its ids, its deadline. None of it changes."""
        return super().info

    # What is known of its workflow

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

    def opened_at(self, promise_id: str) -> int | None:
        """Return when this wait of the workflow was opened, as its record says. Await the future's `id()` first."""
        return self._watchful.opened[promise_id]

    # What it begins and awaits

    def _check_may_begin(self) -> None:
        """Return if the code that runs here may begin a step or a wait with this context.

        Raises:
            Misused: it may not: the context is that of another run or call, or the code was told to stop.
        """
        running_code.check_is_of(self._watchful, self.under_way, run_id=self.info.origin_id)
        self.under_way.check()

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
            if not (self._watchful.by_part and self._parts.run_at_once):
                return None

            ended = self._watchful.ended.get(id_of(future), Ended())
            order = (ended.at, ended.number, order_of(id_of(future)) if recorded else ())

            if is_step:
                return self.under_way.step_over(order, recorded=ended.recorded)

            return self.under_way.spaced() if self.under_way.is_alone else self.under_way.over(order)

        def is_awaited() -> None:
            if self._watchful.by_part and not self.under_way.is_alone:
                self._parts.run_at_once = True
                self._watchful.have_parts()
                self._keep_place()

            if awaited is not None:
                awaited()

        suspending = partial(self._suspending, id_of(future))

        return watched(future, shape=shape, awaited=is_awaited, suspending=suspending, ending=ending)

    async def _suspending(self, promise_id: str) -> PromiseRecord | None:
        """Return the record of what is awaited once it is over, None when the code is to be suspended until then."""
        if running_code.is_of_another_call(self.under_way):
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

    async def await_nothing(self) -> None:
        """Let the workflow end although it has begun waits that are open. Whatever is running is awaited first."""
        await self.flush_local_work()
        await_only(self, None)

    @override
    async def flush_local_work(self) -> None:
        """Wait until what this function call has begun in this process is over or suspended."""
        forget_suspended(self)
        await super().flush_local_work()

    # Its end

    def at_end(self, action: Callable[[], Awaitable[None]], *, about: str = "") -> None:
        """Run `action`, in workflow code, when the workflow ends, after the actions that were added before it.

        `about` is the promise id of the step or wait that it is about. Parts that run at once add their actions in any
        order, so these run in the order of what they are about, after those that are about none.
        """
        self._end_actions.add(action, order_of(about) if self._watchful.by_part else ())

    async def run_end_actions(self) -> None:
        """Run the actions that `at_end` added, and let go of the sleeps that are not over."""
        self.under_way.is_ending = True
        await self._end_actions.run()

        if self.calls.sleeps:
            await self.flush_local_work()

            for each in self.calls.sleeps:
                no_longer_awaited(self, each)

    def check_result(self, step: Step[..., Any], result: object) -> None:
        """Return if the store can hold what this call of a step returned, so that a replay gets the same.

        Raises:
            NotJson, Misused: it cannot; names the step and the place.
        """
        check_storable(result, f"the result of {step.name}")
        step.check_result(result)
        self._watchful.checked.add(self.info.id)

    async def check_finished(self) -> None:
        """Return if the workflow's code, which has returned, has finished what it began; waits may be left open.

        Raises:
            Misused: a step was not awaited, or a task of the code goes on.
        """
        self.calls.check_awaited()
        self.under_way.end()

        if await self.under_way.goes_on():
            raise Misused(LATE)

    async def finish(self) -> bool:
        """Run the actions of the end and await what is running; return whether a task of the code still goes on."""
        await self.run_end_actions()
        was_busy = not self.under_way.idle
        await self.flush_local_work()

        return was_busy and await self.under_way.goes_on(TURNS)

    def end(self) -> None:
        """Let go of what refers back to this, so that no cycle is left for the garbage collector."""
        self._end_actions.clear()
        self.calls.end()
        self.under_way.forbid(LATE)
        forget_suspended(self)

"""Opening a callback in a workflow, handing out its address, and awaiting its outcome.

The address that is handed out is not text: it becomes a link inside the step that hands it out, and a step returns
nothing secret. So no token is ever stored in the promise store.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from resonate.error import ApplicationError

from orchestrator.callbacks.address import Address
from orchestrator.callbacks.answerers import Answerers
from orchestrator.callbacks.choices import USUAL, choice_tags
from orchestrator.callbacks.outcomes import Outcome, body_of, is_envelope, read_outcome
from orchestrator.callbacks.question import Inquiry
from orchestrator.durable.context import Context, context_of
from orchestrator.durable.steps import kind_of
from orchestrator.engine import Engine
from orchestrator.errors import CountersignError, Misused, StoreTampered, WorkflowFailed
from orchestrator.sdk_internals import id_of, no_longer_awaited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence

    from resonate.context import Context as SDKContext
    from resonate.context import ResonateFuture

    from orchestrator.callbacks.claims import Audience
    from orchestrator.callbacks.question import Need, Question

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SHORTEST: Final = timedelta(seconds=1)


class Callback:
    """An open wait. `await callback` suspends the workflow until the wait is over and returns its `Outcome`."""

    def __init__(self, future: ResonateFuture[Any], address: Address, ctx: Context) -> None:
        self._future, self._ctx = future, ctx
        self.address: Final = address
        self.over = False

    @property
    def name(self) -> str:
        """The callback's name, as the workflow gave it."""
        return self.address.callback

    @property
    def promise_id(self) -> str:
        """The id of the durable promise behind it."""
        return self.address.promise_id

    @property
    def future(self) -> ResonateFuture[Any]:
        """The future of the promise's value."""
        return self._future

    def __await__(self) -> Generator[Any, None, Outcome]:
        """Return how the wait ended; an outcome of another callback fails the workflow instead."""
        return self._outcome().__await__()

    async def _outcome(self) -> Outcome:
        try:
            outcome = await self._read()
        except StoreTampered:
            # There is nothing to withdraw.
            self.over = True
            raise

        if outcome.by == "cancel":
            self._ctx.note_cancel()
        elif outcome.by == "workflow":
            # The workflow did not know this when it withdrew the wait, so in a replay all else comes first.
            await self._ctx.under_way.nothing_else()

        # Code that has ended without this answer withdraws the wait, in a replay too.
        self.over |= not self._ctx.under_way.is_ending

        if outcome.callback != self.name:
            raise WorkflowFailed(
                f"the answer is to the callback {outcome.callback!r}, but the workflow waits for {self.name!r}: "
                "its steps have changed since the link was handed out"
            )

        return outcome

    async def _read(self) -> Outcome:
        try:
            value = await self._future
        except (Misused, StoreTampered):
            raise
        except (ApplicationError, CountersignError):
            # Rejected. Only somebody with access to the engine can do that, and a rejection holds no answer.
            return Outcome(kind="cancelled", callback=self.name, by="engine")

        if value is None:
            return Outcome(kind="expired", callback=self.name, by="deadline")

        if not is_envelope(value, self.promise_id, self.address.opened_at):
            return Outcome(kind="cancelled", callback=self.name, by="engine")

        return read_outcome(value)


def open_callback(  # noqa: PLR0913 - each with a default that is right for a job
    ctx: Context,
    name: str,
    *,
    deadline: timedelta = timedelta(days=1),
    audience: Audience = "machine",
    subject: str = "",
    outcomes: tuple[str, ...] = USUAL,
) -> Coroutine[Any, Any, Callback]:
    """Open a wait for somebody outside to end, and return it: hand its `address` to a step, then await it.

    At the deadline, at least one second away and never later than the workflow's own, the wait ends as `expired`,
    whether or not any of our processes is running then. `name` distinguishes this wait from the workflow's others and
    is part of the token; `subject` is a label for who may answer. A callback that nobody awaits is withdrawn when its
    workflow ends.

    Raises:
        Misused (a ValueError): a name that is not 1 to 64 of `A-Za-z0-9._-`, a deadline under a second or that is no
            timedelta, or an argument of another type. Nothing is recorded.
    """
    flow = context_of(ctx, "open_callback")
    _check_who(audience, subject, outcomes)
    answerers = Answerers(audience=audience, subject=subject)
    opening = open_wait(flow, name, deadline, answerers=answerers, outcomes=outcomes)

    return flow.calls.must_await(opening, "open_callback(ctx, ...)")


async def open_inquiry(  # noqa: PLR0913 - a question and whom it is put to
    ctx: Context,
    name: str,
    question: Question,
    people: tuple[str, ...],
    *,
    need: Need,
    deadline: timedelta,
    place: tuple[int, int] | None = None,
) -> Callback:
    """Open a wait for a decision of these people. Its record holds the question; each person gets their own address.

    The first decision of anybody ends the wait, whatever `need` says: `need` and `place`, which wait of how many
    this is, are kept for the page to show.

    Raises:
        Misused: as for `open_callback`.
    """

    def inquiry(promise_id: str) -> object:
        return Inquiry(promise_id=promise_id, question=question, people=people, need=need, place=place).stored()

    return await open_wait(
        ctx,
        name,
        deadline,
        answerers=Answerers(audience="approver", subject=people[0], people=people),
        outcomes=tuple(question.decisions),
        holding=inquiry,
    )


async def open_wait(  # noqa: PLR0913 - the two ways above, put together
    ctx: Context,
    name: str,
    deadline: timedelta,
    *,
    answerers: Answerers,
    outcomes: tuple[str, ...],
    holding: Callable[[str], object] | None = None,
) -> Callback:
    """Open a wait; `holding` takes its promise's id and returns what its record keeps.

    Raises:
        Misused: as for `open_callback`.
    """
    _check(name, deadline)
    choices = choice_tags(outcomes) if holding is None else {}

    if holding is None and not answerers.is_usual:
        holding = answerers.stored

    noted = {**choices, **answerers.tags(ctx.get_dependency(Engine).people)}
    future = ctx.wait(name, deadline=deadline, holding=holding, noted=noted)

    async def address() -> Address:
        promise_id = await future.id()

        return Address(
            promise_id=promise_id,
            callback=name,
            audience=answerers.audience,
            subject=answerers.subject,
            outcomes=outcomes,
            opened_at=ctx.opened_at(promise_id),
        )

    opened: list[Callback] = []
    # Added before anything is awaited: code that is cancelled here, by a task group say, has opened the wait too.
    ctx.at_end(partial(_withdraw_unless_over, ctx, opened, address), about=id_of(future))
    opened.append(Callback(future, await address(), ctx))

    return opened[0]


def _check_who(audience: object, subject: object, outcomes: object) -> None:
    if audience not in {"machine", "approver"}:
        raise Misused('the audience of a callback is "machine" or "approver"')

    if not isinstance(subject, str):
        raise Misused(f"the subject of a callback is a text, not {kind_of(subject)}")

    several = isinstance(outcomes, list | tuple) and all(isinstance(each, str) for each in outcomes)

    if not several or not outcomes:
        raise Misused('the outcomes of a callback are texts, such as ("succeeded", "failed")')


def _check(name: object, deadline: object) -> None:
    if not isinstance(name, str):
        raise Misused(f"the name of a wait is a text, not {kind_of(name)}")

    if _NAME.fullmatch(name) is None:
        raise Misused("the name of a wait is 1 to 64 of A-Z a-z 0-9 . _ -")

    if not isinstance(deadline, timedelta):
        raise Misused(f"the deadline of {name} is a timedelta, such as timedelta(hours=1), not {kind_of(deadline)}")

    if deadline < _SHORTEST:
        raise Misused(f"the deadline of {name} must be at least 1 second")


async def _withdraw_unless_over(
    ctx: Context, opened: Sequence[Callback], address: Callable[[], Awaitable[Address]]
) -> None:
    if not any(callback.over for callback in opened):
        where = await address()
        await ctx.shielded.run(withdraw_callback, where)
        no_longer_awaited(ctx, where.promise_id)


async def withdraw_callback(
    ctx: SDKContext, address: Address, reason: str = "The workflow ended without this answer."
) -> None:
    """Withdraw a wait that its workflow no longer needs, as a step."""
    await address.settle(ctx, kind="cancelled", body=body_of(reason), by="workflow")

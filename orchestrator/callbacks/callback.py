"""Opening a callback in a workflow, handing out its address, and awaiting its outcome.

The address is not text: it becomes a link inside the step that hands it out, and a step returns nothing secret. So no
token is ever stored in the promise store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from resonate.error import ApplicationError

from orchestrator.callbacks.choices import USUAL, choice_tags
from orchestrator.callbacks.claims import PATHS, Claims
from orchestrator.callbacks.outcomes import Outcome, Settled, body_of, is_envelope, read_outcome, read_settled
from orchestrator.callbacks.question import Inquiry, digest_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.durable.opened_at import read_wait
from orchestrator.engine import Engine
from orchestrator.errors import CountersignError, StoreTampered, WorkflowFailed
from orchestrator.sdk_internals import no_longer_awaited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from resonate.context import Context as SDKContext
    from resonate.context import ResonateFuture
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Audience
    from orchestrator.callbacks.outcomes import By
    from orchestrator.callbacks.question import Need, Question
    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.durable.context import Context

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SHORTEST: Final = timedelta(seconds=1)


class Links:
    """Makes links from the signer and the public URL. Steps get it as a dependency."""

    def __init__(self, signer: TokenSigner, public_url: str) -> None:
        self.signer: Final = signer
        self._public_url = public_url

    def url(self, claims: Claims) -> str:
        """Return the link that carries a token of these claims."""
        return f"{self._public_url}{PATHS[claims.audience]}/{self.token(claims)}"

    def token(self, claims: Claims) -> str:
        """Return the token of these claims, the same one as in the link."""
        return self.signer.mint(claims)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where one wait can be answered, and how. A workflow hands it to the step that gives the link to the other side.

    `opened_at` is when the wait was opened, as its record says, in milliseconds since the epoch. It is None for a wait
    that was opened before links carried it, and in an address that an earlier release stored.
    """

    promise_id: str
    callback: str
    audience: Audience
    subject: str
    outcomes: tuple[str, ...]
    opened_at: int | None = None

    def for_person(self, person: str) -> Address:
        """Return the address at which this person answers the same wait."""
        return replace(self, subject=person)

    async def url(self, ctx: SDKContext) -> str:
        """Return the link, the same one every time. A step must hand it out at once and never return it.

        A wait that is over has a link too, but the response to it says that the wait is over.

        Raises:
            EngineUnavailable: raised in a step, it makes the SDK try the step again.
            UnknownPromise: as for `record`.
        """
        return ctx.get_dependency(Links).url(self.claims(await self.record(ctx)))

    async def token(self, ctx: SDKContext) -> str:
        """Return what the link carries, for a machine that sends `Authorization: Bearer TOKEN` to `/callbacks`.

        It is as secret as the link, and raises what `url` raises.
        """
        return ctx.get_dependency(Links).token(self.claims(await self.record(ctx)))

    async def record(self, ctx: SDKContext) -> PromiseRecord:
        """Return the record of the wait; for use in a step.

        Raises:
            EngineUnavailable: raised in a step, it makes the SDK try the step again.
            UnknownPromise: the engine does not hold this wait; it may hold a later one with the same id.
        """
        return await read_wait(ctx.get_dependency(Engine).promises, self.promise_id, self.opened_at)

    def claims(self, record: PromiseRecord) -> Claims:
        """Return what a token of this address says, given the record of its wait."""
        asks = Inquiry.read(record) is not None

        return Claims(
            promise_id=self.promise_id,
            callback=self.callback,
            audience=self.audience,
            subject=self.subject,
            outcomes=self.outcomes,
            expires_at=-(-record.timeout_at // 1000),
            opened_at=self.opened_at,
            question=record.id if asks else None,
            digest=digest_of(record) if asks else None,
        )

    async def settled(self, ctx: SDKContext) -> Settled | None:
        """Return how the wait ended, or None while it is open; for use in a step.

        Raises:
            EngineUnavailable, UnknownPromise: as for `record`.
        """
        return read_settled(await self.record(ctx), callback=self.callback)

    async def settle(self, ctx: SDKContext, *, kind: str, body: str | None, by: By) -> None:
        """Settle the wait without a token, unless it is over; for use in a step.

        Raises:
            EngineUnavailable, UnknownPromise: as for `record`.
        """
        await self.record(ctx)
        outcome = Outcome(kind=kind, callback=self.callback, by=by, body=body)

        await resolve(
            ctx.get_dependency(Engine).promises,
            self.promise_id,
            ikey=f"{by}:{kind}",
            outcome=outcome,
            opened=self.opened_at,
        )


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

        self.over = True

        if outcome.by == "cancel":
            self._ctx.note_cancel()
        elif outcome.by == "workflow":
            # The workflow did not know this when it withdrew the wait, so in a replay all else comes first.
            await self._ctx.under_way.nothing_else()

        if outcome.callback != self.name:
            raise WorkflowFailed(
                f"the answer is to the callback {outcome.callback!r}, but the workflow waits for {self.name!r}: "
                "its steps have changed since the link was handed out"
            )

        return outcome

    async def _read(self) -> Outcome:
        try:
            value = await self._future
        except StoreTampered:
            raise
        except (ApplicationError, CountersignError):
            # Rejected. Only somebody with access to the engine can do that, and a rejection holds no answer.
            return Outcome(kind="cancelled", callback=self.name, by="engine")

        if value is None:
            return Outcome(kind="expired", callback=self.name, by="deadline")

        if not is_envelope(value, self.promise_id, self.address.opened_at):
            return Outcome(kind="cancelled", callback=self.name, by="engine")

        return read_outcome(value)


async def open_callback(  # noqa: PLR0913 - each with a default that is right for a job
    ctx: Context,
    name: str,
    *,
    deadline: timedelta = timedelta(days=1),
    audience: Audience = "machine",
    subject: str = "",
    outcomes: tuple[str, ...] = USUAL,
) -> Callback:
    """Open a wait for somebody outside to end, and return it: hand its `address` to a step, then await it.

    At the deadline, at least one second away and never later than the workflow's own, the wait ends as `expired`,
    whether or not any of our processes is running then. `name` distinguishes this wait from the workflow's others and
    is part of the token; `subject` is a label for who may answer. A callback that nobody awaits is withdrawn when its
    workflow ends.

    Raises:
        ValueError: a name that is not 1 to 64 of `A-Za-z0-9._-`, or a deadline under a second.
    """
    return await _open(ctx, name, deadline, audience=audience, subject=subject, outcomes=outcomes)


async def open_inquiry(  # noqa: PLR0913 - a question and whom it is put to
    ctx: Context, name: str, question: Question, people: tuple[str, ...], *, need: Need, deadline: timedelta
) -> Callback:
    """Open a wait for a decision of these people. Its record holds the question; each person gets their own address.

    The first decision of anybody ends the wait, whatever `need` says: `need` is kept for the page to show.

    Raises:
        ValueError: as for `open_callback`.
    """

    def inquiry(promise_id: str) -> object:
        return Inquiry(promise_id=promise_id, question=question, people=people, need=need).stored()

    return await _open(
        ctx,
        name,
        deadline,
        audience="approver",
        subject=people[0],
        outcomes=tuple(question.decisions),
        holding=inquiry,
    )


async def _open(  # noqa: PLR0913 - the two ways above, put together
    ctx: Context,
    name: str,
    deadline: timedelta,
    *,
    audience: Audience,
    subject: str,
    outcomes: tuple[str, ...],
    holding: Callable[[str], object] | None = None,
) -> Callback:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"a callback's name is 1 to 64 of A-Z a-z 0-9 . _ -, not {name!r}")

    if deadline < _SHORTEST:
        raise ValueError(f"the callback {name!r} needs a deadline of at least 1 second")

    noted = choice_tags(outcomes) if holding is None else None
    future = ctx.wait(name, deadline=deadline, holding=holding, noted=noted)

    async def address() -> Address:
        promise_id = await future.id()

        return Address(
            promise_id=promise_id,
            callback=name,
            audience=audience,
            subject=subject,
            outcomes=outcomes,
            opened_at=ctx.opened_at(promise_id),
        )

    opened: list[Callback] = []
    # Added before anything is awaited: code that is cancelled here, by a task group say, has opened the wait too.
    ctx.at_end(partial(_withdraw_unless_over, ctx, opened, address))
    opened.append(Callback(future, await address(), ctx))

    return opened[0]


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

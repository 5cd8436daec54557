"""Where a wait can be answered: as a value in a workflow, as a link only inside the step that hands it out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from orchestrator.callbacks.claims import PATHS, Claims
from orchestrator.callbacks.outcomes import Outcome, read_settled
from orchestrator.callbacks.question import Inquiry, digest_of
from orchestrator.callbacks.settlement import resolve
from orchestrator.callbacks.terms import Terms
from orchestrator.durable.context import context_of
from orchestrator.durable.opened_at import read_wait
from orchestrator.engine import Engine
from orchestrator.errors import Misused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from resonate.context import Context as SDKContext
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Audience
    from orchestrator.callbacks.outcomes import By, Settled
    from orchestrator.callbacks.tokens import TokenSigner


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

    def url(self, ctx: SDKContext) -> Coroutine[Any, Any, str]:
        """Return the link, the same one every time. A step must hand it out at once and never return it.

        A wait that is over has a link too, but the response to it says that the wait is over.

        Raises:
            EngineUnavailable: raised in a step, it makes the SDK try the step again.
            UnknownPromise: as for `record`.
            Misused: no link may answer this wait.
        """
        return self._made(ctx, Links.url, "address.url(ctx)")

    def token(self, ctx: SDKContext) -> Coroutine[Any, Any, str]:
        """Return what the link carries, for a machine that sends `Authorization: Bearer TOKEN` to `/callbacks`.

        It is as secret as the link, and raises what `url` raises.
        """
        return self._made(ctx, Links.token, "address.token(ctx)")

    def _made(self, ctx: SDKContext, make: Callable[[Links, Claims], str], call: str) -> Coroutine[Any, Any, str]:
        async def made() -> str:
            return make(ctx.get_dependency(Links), self.claims(await self.record(ctx)))

        return context_of(ctx, call).calls.must_await(made(), call)

    async def record(self, ctx: SDKContext) -> PromiseRecord:
        """Return the record of the wait; for use in a step.

        Raises:
            EngineUnavailable: raised in a step, it makes the SDK try the step again.
            UnknownPromise: the engine does not hold this wait; it may hold a later one with the same id.
        """
        return await read_wait(ctx.get_dependency(Engine).promises, self.promise_id, self.opened_at)

    def claims(self, record: PromiseRecord) -> Claims:
        """Return what a token of this address says, given the record of its wait.

        Raises:
            Misused: no link may answer this wait.
        """
        if not Terms.read(record).link:
            raise Misused(f"no link may answer the wait {self.callback}")

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

"""Waiting for an outside system that is unavailable: how long, how often, and with which result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from resonate.error import ApplicationError

from orchestrator.durable.persisting import DONE, SLOWEST, Tried, pause, persist

if TYPE_CHECKING:
    from datetime import timedelta

AWAY: Tried = {"again": True, "why": "away"}
NEVER: Tried = {"again": False, "why": "no such address"}


class Context:
    """A workflow's context whose step ends as given, one try after the other, and whose sleeps are recorded."""

    def __init__(self, *results: Tried) -> None:
        self.results = list(results)
        self.slept: list[float] = []
        self.tried = 0

    @property
    def shielded(self) -> Self:
        return self

    async def run(self, step: Any, *args: Any) -> Tried:
        self.tried += 1
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]

    async def sleep(self, length: timedelta) -> None:
        self.slept.append(length.total_seconds())


async def a_step(_: Any) -> Tried:
    raise NotImplementedError


async def persisted(ctx: Any, tries: int | None = None) -> str | None:
    return await persist(ctx, a_step, tries=tries)


async def test_what_is_done_at_once_is_tried_once() -> None:
    ctx = Context(DONE)

    assert await persisted(ctx) is None
    assert (ctx.tried, ctx.slept) == (1, [])


async def test_pauses_double_up_to_five_minutes_until_it_is_done() -> None:
    ctx = Context(*[AWAY] * 10, DONE)

    assert await persisted(ctx) is None
    assert ctx.slept == [2, 4, 8, 16, 32, 64, 128, 256, SLOWEST, SLOWEST]


async def test_a_refusal_ends_it_with_the_reason() -> None:
    ctx = Context(AWAY, NEVER)

    assert await persisted(ctx) == "no such address"
    assert ctx.tried == 2


async def test_it_is_given_up_after_so_many_tries_with_the_last_reason() -> None:
    ctx = Context(AWAY)

    assert await persisted(ctx, tries=3) == "away"
    assert (ctx.tried, ctx.slept) == (3, [2, 4])


async def test_a_cancel_cuts_a_pause_short_without_an_error() -> None:
    class Cancelled(Context):
        async def sleep(self, length: timedelta) -> None:
            await super().sleep(length)
            raise ApplicationError("cancelled")

    ctx: Any = Cancelled(DONE)
    await pause(ctx, 5)

    assert ctx.slept == [5]

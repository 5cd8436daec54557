"""Calls with a limit on their time, where most are over at once."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator


async def within[T](seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """Await a call for at most so many seconds. A call that waits for nothing takes no timer.

    Raises:
        TimeoutError: it was not over in time, and was cancelled.
    """
    try:
        awaited = call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result

    async with asyncio.timeout(seconds):
        return await _rest(call, awaited)


@types.coroutine
def _rest[T](call: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Go on with a call that has begun to await something."""
    try:
        yield awaited
    except BaseException as error:  # noqa: BLE001 - it is the call's: a cancel, which it may catch
        try:
            awaited = call.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result

        return (yield from _rest(call, awaited))

    ended: T = yield from call

    return ended
